"""Shows how a staging goes: a bar on a terminal, else only that it waits."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..reader.stage import StageProgress


class StageBar:
    """A bar with bytes and speed; to be used as a context, and its `show` as the progress."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("stage"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("stage", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: StageProgress) -> None:
        """Move the bar, or say that another process comes first."""
        if progress.is_waiting:
            self._console.print("waiting for another process that stages there", highlight=False)
        else:
            self._bar.update(self._task, completed=progress.done_bytes, total=progress.all_bytes)

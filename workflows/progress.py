"""Shows how a run goes: nothing, or a live bar on a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from ..tasks.cut import ShardResult
from .planned import Plan


class Progress(Protocol):
    """What a run tells while it goes on."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """Say a line."""

    def begin(self, plan: Plan, kept: int) -> None:
        """Begin to cut; that many shards were finished before."""

    def advance(self, result: ShardResult) -> None:
        """Count a finished shard."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Say nothing."""

    def begin(self, plan: Plan, kept: int) -> None:
        """Show nothing."""

    def advance(self, result: ShardResult) -> None:
        """Show nothing."""


class Live:
    """A bar with shards, patches and megabytes per second, and the time left.

    Where the output is not a terminal, only lines are printed.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Bar(
            TextColumn("cut"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("shards  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._patches = 0
        self._patch_bytes = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._patches:
            self.say(f"cut {self._patches:,} patches ({self._rate()})")

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, plan: Plan, kept: int) -> None:
        """Show the bar."""
        self._began = time.monotonic()
        self._patch_bytes = plan.cost.patch_bytes // max(1, len(plan.rows))
        done = f", {kept:,} of them finished already" if kept else ""
        self.say(f"plan: {len(plan.rows):,} patches in {plan.n_shards:,} shards{done}")
        self._task = self._bar.add_task("cut", total=plan.n_shards, completed=kept, rate="")
        self._bar.start()

    def advance(self, result: ShardResult) -> None:
        """Move the bar on by a shard."""
        self._patches += len(result.valid)
        if self._task is not None:
            self._bar.update(self._task, advance=1, rate=self._rate())

    def _rate(self) -> str:
        seconds = max(1e-6, time.monotonic() - self._began)
        rate = self._patches / seconds
        return f"{rate:,.0f} patches/s  {rate * self._patch_bytes / 1e6:,.0f} MB/s"

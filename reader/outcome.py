"""What became of a job in a worker process: its value, or its error with the traceback there."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import Any

from .errors import WorkerError


class RemoteTraceback(Exception):
    """The traceback in a worker process, as text; the cause of the error that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Outcome:
    """The value of a job, or its error.

    Attributes
    ----------
    value
        What the function returned.
    error, trace
        What it raised, and the traceback as text.
    """

    value: Any = None
    error: BaseException | None = None
    trace: str = ""

    def result(self) -> Any:
        """Return the value, or raise the error, caused by a `RemoteTraceback`."""
        if self.error is None:
            return self.value
        try:
            raise self.error from (RemoteTraceback(self.trace) if self.trace else None)
        finally:
            # The error's traceback holds this frame: a cycle would keep alive all that the frames
            # above hold, until the garbage collector runs.
            del self


def failure(error: BaseException) -> Outcome:
    """Return the outcome of a job that raised; what cannot travel becomes a `WorkerError`."""
    trace = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = WorkerError(f"{type(error).__qualname__}: {error}")
    if not isinstance(error, Exception):  # SystemExit would end the consumer without a word
        error = WorkerError(f"a worker's function raised {type(error).__qualname__}: {error}")
    return Outcome(error=error, trace=trace)

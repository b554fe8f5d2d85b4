"""One worker process: how it is started, what it is sent, how it ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import pickletools
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .channel import Channel
from .errors import WorkerError

#: Libraries with threads of their own get one each in a worker, unless the user has said otherwise.
_ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    "OPENCV_FOR_THREADS_NUM",
)


@dataclass(eq=False)
class WorkerProcess:
    """A worker, as its crew sees it.

    Attributes
    ----------
    process, channel
        Itself, and the way to it.
    jobs
        Numbers of the jobs that it was sent and has not answered, in the order of its work.
    is_ready
        Whether it has said that it can work.
    given
        How many jobs it was sent.
    known
        What a crew's `encode` notes of it.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    jobs: deque[int] = field(default_factory=deque)
    is_ready: bool = False
    given: int = 0
    known: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, pickled: bytes, limit: int) -> WorkerProcess:
        """Start a worker that will run a function, see `pickled_function`.

        Parameters
        ----------
        limit
            How many segments of shared memory each side keeps.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # -P: nothing in the current folder may stand in for what the worker imports.
        command = [sys.executable, "-P", "-m", "patchmill.reader.worker"]
        with theirs:
            try:
                process = subprocess.Popen(
                    [*command, *map(str, (theirs.fileno(), os.getpid(), limit))],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=_environment(),
                    process_group=0,  # Ctrl-C reaches the consumer alone
                )
            except BaseException:
                ours.close()
                raise
        worker = cls(process, Channel(ours, limit))
        with contextlib.suppress(OSError):  # it died at once: who waits for it finds that out
            worker.channel.send((sys.path, pickled))
        return worker

    def wait(self, timeout_s: float) -> int:
        """Return the exit status, after a kill where it takes longer."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def ending(self, code: int) -> str:
        """Say in words how it ended."""
        worker = f"worker process {self.process.pid}"
        if code >= 0:
            return f"{worker} ended with status {code}"
        try:
            return f"{worker} was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"{worker} was killed by signal {-code}"


def _environment() -> dict[str, str]:
    path = [str(Path(folder).absolute()) for folder in sys.path]  # "" is the current folder
    one = {name: "1" for name in _ONE_THREAD if name not in os.environ}
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(path)}


def pickled_function(function: Callable[..., Any]) -> bytes:
    """Pickle what workers shall run, or say in one sentence why that cannot be.

    Raises
    ------
    WorkerError
        For what lies in the script itself, a notebook or a function: workers cannot import it.
    """
    remedy = "put it into a module of its own, which workers can import, or use threads"
    try:
        pickled = pickle.dumps(function, 5)
    except Exception as error:
        raise WorkerError(
            f"a worker process cannot be sent its work ({error}); {remedy}"
        ) from error
    texts = [argument for _, argument, _ in pickletools.genops(pickled) if argument is not None]
    for module, name in itertools.pairwise(texts):
        if module == "__main__":
            raise WorkerError(
                f"{name!r} lies in the script that was started, or in a notebook, which worker "
                f"processes do not run; {remedy}"
            )
    return pickled

"""A cluster of worker processes on this machine, with its dashboard on localhost."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, Worker, WorkerPlugin

#: What a worker process holds before it does anything: the interpreter and its imports.
WORKER_BYTES = 200_000_000
#: One thread each inside a task: the cores belong to the tasks.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}


class ClusterError(RuntimeError):
    """A cluster that does not start; says what to do."""


class _QuietWorker(WorkerPlugin):
    """Has a worker leave the talking to the driver.

    Ctrl-C reaches all processes of a terminal, and the driver ends its workers itself; a task's
    error reaches the driver, which says in one sentence what it means.
    """

    name = "patchmill-quiet-worker"

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
        logging.getLogger("distributed.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a worker's message says more than the driver does, or that the run has ended."""
    known = ("Compute Failed", "Failed to communicate with scheduler during heartbeat")
    return not record.getMessage().startswith(known)


def leave_if_imported_by_worker() -> None:
    """End the process quietly, where it is a worker that only imports the user's script.

    A worker process imports the script that started it. Without a main guard it comes to the line
    that starts workers; the process that did so says what to do.
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextmanager
def local_cluster(
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | int = "auto",
    dashboard: str = "127.0.0.1:8787",
) -> Iterator[Client]:
    """Start worker processes, and end them when the context is left, in whatever way.

    Parameters
    ----------
    workers
        Processes; by default one per core that this process may use.
    threads
        Of each; by default 1.
    memory_limit
        Of each, in bytes or such as "4 GB"; "auto" is its share of the machine's memory.
    dashboard
        Where Dask's dashboard listens; if the port is taken, another one is.

    Raises
    ------
    ClusterError
        Where the processes do not start: in a script without a main guard, for one.
    """
    if memory_limit != "auto" and parse_bytes(memory_limit) < WORKER_BYTES:
        raise ClusterError(
            f"a worker with {memory_limit} of memory cannot even start; give each at least "
            f"{WORKER_BYTES // 10**6} MB (--memory-limit), and what `patchmill plan` says beside"
        )
    workers = workers or CPU_COUNT
    config = {
        # No pixels stay in Dask: there is nothing to spill, and nothing that a pause would free.
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.pause": False,
        "distributed.scheduler.allowed-failures": 10,
        "distributed.dashboard.link": "http://{host}:{port}/status",
        "distributed.nanny.pre-spawn-environ": _ONE_THREAD,
        "distributed.comm.timeouts.tcp": "30s",
        # Dask looks at what a worker does every 10 ms, which costs a tenth of the cutting.
        "distributed.worker.profile.interval": "100ms",
    }
    with (
        dask.config.set(config),
        _start(
            n_workers=workers,
            threads_per_worker=threads or 1,
            memory_limit=memory_limit,
            dashboard_address=_free_address(dashboard),
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(_QuietWorker())
        yield client


def _start(**options: Any) -> LocalCluster:
    """Start the processes, or say in one sentence why they do not."""
    try:
        return LocalCluster(processes=True, host="127.0.0.1", **options)
    except RuntimeError as error:
        raise ClusterError(
            f"the worker processes ended while they started ({error}); in a script, put the call "
            'under `if __name__ == "__main__":`, because worker processes import the script'
        ) from None


def _free_address(address: str) -> str:
    """Return the address, or one with a port that the system chooses where that is taken.

    Dask would find another port, too, but warns and leaves a socket open.
    """
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address

"""A cluster of worker processes on this machine, with its dashboard on localhost."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

#: One thread each inside a task: the cores belong to the tasks.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}


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
    RuntimeError
        In a script that starts work without a main guard.
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        # A worker that imports the user's script has come to the line that starts workers.
        raise SystemExit(
            "patchmill starts worker processes, which import your script: "
            'put the call under `if __name__ == "__main__":`'
        )
    workers = workers or CPU_COUNT
    config = {
        "distributed.worker.memory.spill": False,  # no pixels stay in Dask: nothing to spill
        "distributed.worker.memory.target": False,
        "distributed.scheduler.allowed-failures": 10,
        "distributed.dashboard.link": "http://{host}:{port}/status",
        "distributed.nanny.pre-spawn-environ": _ONE_THREAD,
        "distributed.comm.timeouts.tcp": "30s",
    }
    with (
        dask.config.set(config),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads or 1,
            memory_limit=memory_limit,
            processes=True,
            host="127.0.0.1",
            dashboard_address=_free_address(dashboard),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


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

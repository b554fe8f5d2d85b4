"""The local cluster: on localhost alone, and nothing of it is left."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
import warnings
from pathlib import Path

import psutil
import pytest
from distributed import performance_report

from patchmill.cluster import local_cluster


def listening(port: int) -> set[str]:
    """The addresses on which this process and its children listen to a port."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }


def all_listening() -> set[str]:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def pid() -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


@pytest.fixture
def nothing_left():
    """Assert that no process and no thread outlives the test."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    deadline = time.monotonic() + 20

    def left() -> list[psutil.Process]:
        children = psutil.Process().children(recursive=True)
        # The resource tracker of multiprocessing ends with this process.
        return [
            child
            for child in children
            if child.pid not in before and "resource_tracker" not in " ".join(child.cmdline())
        ]

    while left():
        assert time.monotonic() < deadline, [child.cmdline() for child in left()]
        time.sleep(0.05)
    assert not [t.name for t in threading.enumerate() if "Dask" in t.name and not t.daemon]


def test_workers_are_processes_that_end_with_the_context(nothing_left):
    with local_cluster(workers=2, threads=1) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
        pids = set(client.run(pid).values())
        assert len(pids) == 2
        assert os.getpid() not in pids
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        assert set(client.run(environment, "OMP_NUM_THREADS").values()) == {"1"}
    assert not any(psutil.pid_exists(each) for each in pids)


def test_they_end_after_an_exception_too(nothing_left):
    pids: set[int] = set()

    def fail():
        with local_cluster(workers=1) as client:
            pids.update(client.run(pid).values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pids
    assert not any(psutil.pid_exists(each) for each in pids)


def test_everything_listens_on_localhost_alone(nothing_left):
    before = all_listening()
    with local_cluster(workers=1, dashboard="127.0.0.1:0") as client:
        link = client.dashboard_link
        port = int(link.rpartition(":")[2].partition("/")[0])
        assert link == f"http://127.0.0.1:{port}/status"
        assert listening(port) == {"127.0.0.1"}
        assert all_listening() - before <= {"127.0.0.1"}
        with urllib.request.urlopen(link, timeout=30) as page:
            assert page.status == 200


def test_a_port_that_is_taken_gives_another_without_a_warning(nothing_left):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with local_cluster(workers=1, dashboard=f"127.0.0.1:{port}") as client:
                found = int(client.dashboard_link.rpartition(":")[2].partition("/")[0])
        assert found != port


def test_two_clusters_at_once(nothing_left):
    with local_cluster(workers=1) as one, local_cluster(workers=1) as other:
        assert one.dashboard_link != other.dashboard_link
        assert one.submit(pid).result(timeout=30) != other.submit(pid).result(timeout=30)


def test_threads_and_memory_are_as_asked(nothing_left):
    with local_cluster(workers=1, threads=3, memory_limit="1 GB") as client:
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["nthreads"] == 3
        assert worker["memory_limit"] == 10**9


def test_dasks_report(tmp_path, nothing_left):
    report = tmp_path / "report.html"
    with local_cluster(workers=1) as client, performance_report(filename=str(report)):
        client.submit(pid, key="cut-0").result(timeout=30)
    assert "cut" in report.read_text()


def test_a_worker_that_dies_is_replaced_and_its_task_run_again(nothing_left, tmp_path):
    with local_cluster(workers=1) as client:
        first = client.submit(pid, pure=False).result(timeout=30)
        future = client.submit(die_once, str(tmp_path / "died"))
        assert future.result(timeout=60) != first


def die_once(flag: str) -> int:
    """Kill the worker the first time, and say who is there the second."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), 9)
    return os.getpid()

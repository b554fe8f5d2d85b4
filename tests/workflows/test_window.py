"""However many tasks there are, a bounded number of them is on the cluster."""

from __future__ import annotations

from collections import deque

import pytest

from patchmill.workflows.window import MIN_WINDOW, run_windowed, window_size


def double(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


def test_each_once_and_never_more_than_the_window(client):
    submitted: list[int] = []
    finished: list[int] = []

    def arguments(item):
        submitted.append(item)
        assert len(submitted) - len(finished) <= MIN_WINDOW
        return (item,)

    for item, future in run_windowed(client, "double", double, deque(range(300)), arguments):
        assert future.result() == 2 * item
        finished.append(item)
    assert window_size(client) == MIN_WINDOW
    assert sorted(finished) == submitted == list(range(300))


def test_what_is_queued_while_it_runs_is_done_too(client):
    queue = deque([1, 2, 3])
    found = []
    for item, future in run_windowed(client, "double", double, queue, lambda item: (item,)):
        found.append(future.result())
        if item < 100:
            queue.append(item + 100)
    assert sorted(found) == [2, 4, 6, 202, 204, 206]


def test_a_task_that_fails_is_handed_over_like_others(client):
    failed = []
    for item, future in run_windowed(
        client, "double", double, deque([1, -2, 3]), lambda item: (item,)
    ):
        if future.status == "error":
            failed.append(item)
            with pytest.raises(ValueError, match="-2"):
                future.result()
    assert failed == [-2]


def test_a_run_that_is_left_early_takes_its_tasks_off_the_cluster(client, eventually):
    before = set(client.futures)  # tracebacks of failed tasks may hold their futures for a while
    tasks = run_windowed(client, "double", double, deque(range(500)), lambda item: (item,))
    next(tasks)
    tasks.close()
    eventually(lambda: set(client.futures) <= before, "no future is held", deadline=20)

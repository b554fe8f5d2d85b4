"""The results of a pool's call, all at once and later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .pool_results import Results


class AsyncResult:
    """All results of a call, later; what `map_async` returns."""

    def __init__(self) -> None:
        self._future: Future[list[Any]] = Future()

    def get(self, timeout: float | None = None) -> list[Any]:
        """Return the results in the order of their items, or raise the first error.

        Raises
        ------
        TimeoutError
            Where they are not there within `timeout` seconds.
        """
        return self._future.result(timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the results are there, or for `timeout` seconds."""
        # Not for the future itself, whose error would be raised here.
        done = threading.Event()
        self._future.add_done_callback(lambda _: done.set())
        done.wait(timeout)

    def ready(self) -> bool:
        """Return whether the results, or an error, are there."""
        return self._future.done()

    def successful(self) -> bool:
        """Return whether there was no error; a ValueError where that is not known yet."""
        if not self.ready():
            raise ValueError("the results are not there yet; wait for them")
        return self._future.exception() is None

    def collect(
        self,
        results: Results,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        """Collect the results, call back, and only then say that they are there."""
        try:
            values = list(results)
        except BaseException as error:
            results.close()
            try:
                if error_callback is not None:
                    error_callback(error)
            finally:
                self._future.set_exception(error)
        else:
            try:
                if callback is not None:
                    callback(values)
            finally:
                self._future.set_result(values)

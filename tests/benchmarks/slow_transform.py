"""A transform that worker processes can import."""

import time


def busy(sample, rng):
    """2 ms of Python that holds its lock."""
    stop = time.perf_counter() + 0.002
    while time.perf_counter() < stop:
        pass
    return sample

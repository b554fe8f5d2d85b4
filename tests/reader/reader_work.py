"""What worker processes run in the tests; a module that they can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np


def noisy(sample, rng):
    """Change all fields alike, with random numbers."""
    return {
        name: array + rng.integers(0, 1000, dtype=np.int64).astype(array.dtype)
        for name, array in sample.items()
    }


def as_float(sample, rng):
    return {"image": sample["image"].astype(np.float32) / 7, "draw": rng.random(3)}


def shuffle_channels(batch, rng):
    """Return new arrays of another shape and dtype."""
    order = rng.permutation(batch["image"].shape[1])
    return {"image": batch["image"][:, order, ::2].astype(np.float32), "order": order}


def in_place(batch, rng):
    batch["image"] += rng.integers(0, 9, dtype=np.uint16)
    return batch


def failing(sample, rng):
    if sample["image"].sum() == 0:
        raise ZeroDivisionError("all black")
    return sample


def deadly(sample, rng):
    if sample["image"].sum() == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return sample


def exiting(sample, rng):
    raise SystemExit(3)


def returns_lambda(samples):
    return {"image": lambda: None}


class DiesOnce:
    """Kills its process at a black patch, unless a file says that this was done already."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, sample, rng):
        if sample["image"].sum() == 0:
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                return sample
            os.kill(os.getpid(), signal.SIGKILL)
        return sample


def which_process(sample, rng):
    return {"pid": np.int64(os.getpid())}


def slow(sample, rng):
    time.sleep(30)
    return sample


def busy(sample, rng):
    """2 ms of pure Python that holds the GIL."""
    stop = time.perf_counter() + 0.002
    while time.perf_counter() < stop:
        pass
    return sample


def read_text(path, rng):
    """Read a sample from a path: what `Loader` over a list of paths does."""
    return {"number": np.int64(Path(path).read_text())}


def ragged(sample, rng):
    """Return an image whose height depends on its content."""
    return {"image": sample["image"][:, : 1 + int(sample["image"][0, 0, 0]) % 5]}


def as_list(samples):
    return {"images": [sample["image"].copy() for sample in samples]}


class Squares:
    """A source with `read` and a length."""

    def __len__(self) -> int:
        return 23

    def read(self, rows):
        rows = np.asarray(rows)
        return {"square": rows**2, "image": np.ones((len(rows), 2, 3)) * rows[:, None, None]}

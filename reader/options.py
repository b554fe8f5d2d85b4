"""The options of a loader, by their types; what each means stands in `loader.Loader`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

#: Each field's array (batch, …), "index" int64 (batch,), "valid" bool (batch,).
Batch = dict[str, NDArray[Any]]
Backend = Literal["thread", "process"]
Shuffle = bool | Literal["block"]
#: One sample, a dict of arrays or what the source has, and its generator, to a sample.
Transform = Callable[[Any, np.random.Generator], Any]
BatchTransform = Callable[[Batch, np.random.Generator], Batch]
Collate = Callable[[Sequence[Any]], Batch]


class LoaderOptions(TypedDict, total=False):
    """The keyword arguments of `Loader`, for `View.loader` and `Store.loader`."""

    shuffle: Shuffle
    shuffle_window: int | None
    seed: int
    num_workers: int
    backend: Backend
    prefetch: int | None
    prefetch_bytes: int | None
    transform: Transform | None
    batch_transform: BatchTransform | None
    collate: Collate | None
    crop: tuple[int, int] | None
    random_crop: bool
    drop_last: bool
    fields: Sequence[str] | None
    rank: int | Literal["auto"]
    world_size: int | None
    weights: Any
    balance: str | None
    samples_per_epoch: int | None
    most_per_image: int | None
    on_corrupt: Literal["raise", "substitute"]

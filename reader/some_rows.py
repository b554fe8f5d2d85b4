"""Statistics of any rows, from what the stores keep of splits, images and single patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import IncompleteStoreError, StoreError
from .lookup import Rows
from .selection import Parts, places_of
from .statistics import MEASURES, Statistics, merge_parts, merge_statistics, no_statistics

if TYPE_CHECKING:
    from .store import Store

#: Rows whose columns are in memory at a time.
_ROWS_AT_ONCE = 1 << 18


def rows_statistics(parts: Parts, rows: Rows, channels: int) -> Statistics:
    """Return the statistics of the pixels of some valid rows.

    Parameters
    ----------
    parts
        The stores, each with its first row.
    rows
        Ascending.
    channels
        Number of them.

    Raises
    ------
    IncompleteStoreError
        For rows of a store whose run has not finished.
    StoreError
        For some patches of an image in a store without the columns that this needs.
    """
    found = [no_statistics(channels)]
    for first, store in parts:
        total = next(iter(store.fields.values())).rows
        start, stop = places_of(rows, np.array([first, first + total])).tolist()
        own = rows[start:stop]
        own = range(own.start - first, own.stop - first) if isinstance(own, range) else own - first
        if len(own):
            found.append(_of_store(store, own))
    return merge_statistics(found)


def _of_store(store: Store, rows: Rows) -> Statistics:
    edges = np.array(list(store.splits.values()))
    here, whole = (np.diff(places_of(each, edges))[:, 0] for each in (rows, store.rows))
    splits = [name for name, number in zip(store.splits, here, strict=True) if number]
    missing = [name for name in splits if name not in store.statistics]
    if missing:
        raise IncompleteStoreError(
            f"{store.path} has no statistics of {', '.join(missing)}; "
            "they are written when its run finishes"
        )
    if ((here == 0) | (here == whole)).all():
        return merge_statistics(store.statistics[name] for name in splits)
    return _of_images(store, rows) or _of_patches(store, rows)


def _of_images(store: Store, rows: Rows) -> Statistics | None:
    """Return the statistics of whole images; None where the rows are not all of each image's."""
    kept = ("count", "mean", "deviations", "min", "max")
    if "image" not in store.index or any(name not in store.images for name in kept):
        return None
    image = store.index["image"]
    here, whole = (np.bincount(image[_index(each)]) for each in (rows, store.rows))
    chosen = np.flatnonzero(here)
    if (here[chosen] != whole[chosen]).any():
        return None
    count, mean, deviations, low, high = (store.images[name][chosen] for name in kept)
    std = np.sqrt(deviations / np.maximum(count, 1))
    return merge_parts({"count": count, "mean": mean, "std": std, "min": low, "max": high})


def _of_patches(store: Store, rows: Rows) -> Statistics:
    names = [f"{measure}_{channel}" for channel in store.channels for measure in MEASURES]
    missing = [name for name in ("image", "y", "x", *names) if name not in store.index]
    if missing or "shape" not in store.images:
        raise StoreError(
            f"{store.path} has no {', '.join(missing) or 'shape'} in its columns, which statistics "
            "of some patches of an image need; select whole splits or images"
        )
    blocks = (_of_block(store, start, chosen) for start, chosen in _blocks(rows))
    return merge_statistics(blocks)


def _blocks(rows: Rows) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the rows in blocks that lie close together: a block's first row, and the rows in it."""
    for start in range(int(rows[0]), int(rows[-1]) + 1, _ROWS_AT_ONCE):
        begin, end = places_of(rows, np.array([start, start + _ROWS_AT_ONCE])).tolist()
        if begin < end:
            yield start, np.asarray(rows[begin:end], np.int64) - start


def _of_block(store: Store, start: int, chosen: NDArray[np.int64]) -> Statistics:
    """Return the statistics of the rows start + chosen."""
    stop = start + int(chosen[-1]) + 1

    def column(name: str) -> NDArray[Any]:
        return store.index.part(name, start, stop)[chosen]

    measured = {
        measure: np.stack(
            [column(f"{measure}_{channel}").astype(np.float64) for channel in store.channels],
            axis=1,
        )
        for measure in MEASURES
    }
    level = column("level") if "level" in store.index else np.zeros(len(chosen), np.uint8)
    pixels = _held_pixels(
        store, store.images["shape"][column("image")], column("y"), column("x"), level
    )
    # A patch of nothing but NaN has no pixel that counts, and no mean.
    count = np.where(np.isnan(measured["mean"]), 0, pixels[:, np.newaxis])
    return merge_parts({"count": count, **measured})


def _held_pixels(
    store: Store,
    shape: NDArray[Any],
    y: NDArray[Any],
    x: NDArray[Any],
    level: NDArray[Any],
) -> NDArray[np.int64]:
    """Return how many pixels of its image each patch has; shape is (n, 5): t, c, z, y, x."""
    margin = store.attributes.get("margin_px", 0)
    sizes = dict(zip(store.axes, store.fields["image"].shape, strict=True))
    depth = math.prod(size for axis, size in sizes.items() if axis not in "cyx")
    pixels = np.full(len(y), depth, np.int64)
    for corner, length, axis in ((y, shape[:, 3], "y"), (x, shape[:, 4], "x")):
        size = sizes[axis] - 2 * margin
        # Corners are pixels of level 0, and so tell of padding there alone.
        pixels *= np.where(level == 0, np.clip(length - corner, 0, size), size)
    return pixels


def _index(rows: Rows) -> slice | NDArray[np.int64]:
    return slice(rows.start, rows.stop) if isinstance(rows, range) else rows

"""Statistics of any rows, from what the stores keep of splits, images and single patches."""

from __future__ import annotations

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
    measures = ("count", *MEASURES)
    names = [f"{measure}_{channel}" for channel in store.channels for measure in measures]
    if missing := [name for name in names if name not in store.index]:
        raise StoreError(
            f"{store.path} has no {', '.join(missing)} in its columns, which statistics of some "
            "patches of an image need; select whole splits or images"
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

    return merge_parts(
        {
            measure: np.stack(
                [
                    column(f"{measure}_{channel}").astype(
                        np.int64 if measure == "count" else np.float64
                    )
                    for channel in store.channels
                ],
                axis=1,
            )
            for measure in ("count", *MEASURES)
        }
    )


def _index(rows: Rows) -> slice | NDArray[np.int64]:
    return slice(rows.start, rows.stop) if isinstance(rows, range) else rows

"""The rows of splits and of groups, and those that a condition keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .lookup import Lookup, Rows

if TYPE_CHECKING:
    from .store import Store

#: A split, a group, or what says several of them, are named in an error up to this number.
_MOST_NAMED = 20

#: The stores that a store is made of, each with its first row.
Parts = Sequence[tuple[int, "Store"]]


def split_ranges(parts: Parts, names: Iterable[str]) -> list[range]:
    """Return the rows of some splits, void ones too, as ascending ranges."""
    wanted = set(names)
    ranges = [
        range(first + start, first + stop)
        for first, store in parts
        for name, (start, stop) in store.splits.items()
        if name in wanted
    ]
    return sorted((part for part in ranges if part), key=lambda part: part.start)


def shard_edges(parts: Parts) -> NDArray[np.int64]:
    """Return the rows at which a shard begins, ascending."""
    edges = []
    for first, store in parts:
        field = next(iter(store.fields.values()))
        edges.append(first + np.arange(0, field.rows, field.rows_per_shard, dtype=np.int64))
    return np.concatenate(edges)


def places_of(rows: Rows, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the ascending rows come before each of the wanted ones."""
    if isinstance(rows, range):
        return np.clip(wanted - rows.start, 0, len(rows))
    return np.searchsorted(rows, wanted).astype(np.int64, copy=False)


def rows_within(rows: Rows, ranges: Sequence[range]) -> Rows:
    """Return those rows that lie in any of the ascending ranges."""
    if not isinstance(rows, range):
        cuts = np.searchsorted(rows, [[part.start, part.stop] for part in ranges])
        return np.concatenate(
            [rows[:0], *(rows[start:stop] for start, stop in cuts.reshape(-1, 2))]
        )
    parts = [
        range(max(part.start, rows.start), min(part.stop, rows.stop)) for part in ranges if part
    ]
    parts = [part for part in parts if part]
    if not parts:
        return range(0)
    if all(one.stop == next_.start for one, next_ in pairwise(parts)):
        return range(parts[0].start, parts[-1].stop)
    return np.concatenate([np.arange(part.start, part.stop) for part in parts])


def rows_in_both(one: Rows, two: Rows) -> Rows:
    """Return the rows that are in both."""
    if isinstance(two, range):
        return rows_within(one, [two])
    if isinstance(one, range):
        return rows_within(two, [one])
    return np.intersect1d(one, two, assume_unique=True)


def rows_kept(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    """Return the rows that are kept, bool, shape (n,); a range where they follow each other."""
    if kept.all():
        return rows
    places = np.flatnonzero(kept).astype(np.int64, copy=False)
    chosen = places + rows.start if isinstance(rows, range) else rows[places]
    if isinstance(rows, range) and len(places) and places[-1] - places[0] + 1 == len(places):
        return range(int(chosen[0]), int(chosen[-1]) + 1)
    return chosen


def group_columns(parts: Parts) -> tuple[str, ...]:
    """Return the columns of `images` whose values make a group: the recipe's, or `id` without.

    Raises
    ------
    StoreError
        Where several stores are grouped by different columns.
    """
    found = {}
    for _, store in parts:
        images = store.attributes.get("recipe", {}).get("images", {})
        found[tuple(images.get("group") or ["id"])] = store.path
    if len(found) > 1:
        (one, here), (two, there) = list(found.items())[:2]
        raise StoreError(
            f"{here} is grouped by {', '.join(one)} and {there} by {', '.join(two)}; "
            "select their images by where="
        )
    return next(iter(found))


def in_groups(group: Any, names: tuple[str, ...], columns: Lookup) -> NDArray[np.bool_]:
    """Return for each position whether its image is of one of the groups.

    Parameters
    ----------
    group
        A group or several: the value of the column that makes the groups or, where there are
        several, a tuple of their values.
    names
        Those columns.
    columns
        Where they are.

    Raises
    ------
    ValueError
        For a group that no position has.
    """
    wanted = _listed(group, len(names))
    tables = [columns[name].table.tolist() for name in names]
    of_image = tables[0] if len(names) == 1 else list(zip(*tables, strict=True))
    here = np.unique(columns.images).tolist()
    known = dict.fromkeys(of_image[image] for image in here)
    unknown = [each for each in wanted if each not in known]
    if unknown or not wanted:
        found = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(
            f"group {found} is not among {_some(list(known))}; a group here is the value of "
            f"{', '.join(names)}" + (" together, as a tuple" if len(names) > 1 else "")
        )
    chosen = set(wanted)
    return np.array([value in chosen for value in of_image], bool)[columns.images]


def _listed(group: Any, values: int) -> list[Any]:
    is_one = isinstance(group, str) or (
        values > 1
        and isinstance(group, tuple)
        and len(group) > 0
        and all(isinstance(value, str) for value in group)
    )
    return [group] if is_one else [tuple(g) if isinstance(g, list) else g for g in group]


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return (shown + (f" and {more} more" if more > 0 else "")) or "none"

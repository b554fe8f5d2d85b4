"""Columns of a table as columns of an index: numbers as numbers, texts as small integers."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from .natural import natural_key
from .problems import Problem
from .values import name_fault

#: The columns of an index, or of candidates, that come from elsewhere.
INDEX_COLUMNS = (
    *("image", "t", "z", "y", "x", "level", "split", "valid", "foreground", "background"),
    *("kept", "reason"),
)
#: What stands before the name of a channel in columns of an index.
OF_CHANNELS = ("mean", "std", "min", "max", "focus")
#: Different texts in one column, at most.
MOST_NAMES = 1 << 16
# Zeros in front are a name's, not a number's.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?inf|nan")


def number_of(text: str) -> float | None:
    """Return the number that a cell holds, or None.

    Examples
    --------
    >>> number_of("12.5"), number_of("1e3"), number_of("007"), number_of("")
    (12.5, 1000.0, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def index_column(cells: Sequence[str]) -> tuple[NDArray[np.generic], tuple[str, ...] | None]:
    """Return the cells of a column as numbers, and what these mean where the cells are texts.

    Returns
    -------
    values
        int64 where every cell is a whole number; float64 where every one is a number or empty,
        which is NaN; else the number of each text, in the smallest unsigned type.
    names
        The texts in natural order, None where cells are numbers.

    Raises
    ------
    ValueError
        Where there are more different texts than a column may name.

    Examples
    --------
    >>> index_column(["2", "10"])[0].tolist(), index_column(["2", ""])[0].tolist()
    ([2, 10], [2.0, nan])
    >>> index_column(["b", "a", "b"])
    (array([1, 0, 1], dtype=uint8), ('a', 'b'))
    """
    if cells and all(map(_WHOLE.fullmatch, cells)):
        return np.array([int(cell) for cell in cells], np.int64), None
    if any(cells) and all(not cell or _NUMBER.fullmatch(cell) for cell in cells):
        return np.array([float(cell or "nan") for cell in cells], np.float64), None
    names = tuple(sorted(set(cells), key=natural_key))
    if len(names) > MOST_NAMES:
        raise ValueError(f"holds {len(names)} different texts, and a column names {MOST_NAMES}")
    number = {name: n for n, name in enumerate(names)}
    dtype = np.min_scalar_type(max(0, len(names) - 1))
    return np.array([number[cell] for cell in cells], dtype), names


def index_name_problems(names: Sequence[str], channels: Collection[str]) -> list[Problem]:
    """Return what keeps names from being those of columns of the index."""
    # A column is a folder of the store, and not every file system tells a from A.
    taken = {name.casefold(): name for name in INDEX_COLUMNS}
    for channel in channels:
        taken |= {f"{what}_{channel}".casefold(): f"{what}_{channel}" for what in OF_CHANNELS}
    problems = []
    for name in names:
        fault = name_fault(name)
        if name.startswith("__") or name.casefold() == "zarr.json":
            fault = "is a name that zarr keeps for itself"
        if other := taken.get(name.casefold()):
            fault = f'has the name of the column "{other}" of index/'
        taken[name.casefold()] = name
        if fault:
            problems.append(Problem("", f'the column "{name}" {fault}; call it otherwise'))
    return problems

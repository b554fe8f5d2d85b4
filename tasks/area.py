"""Rescaling by area averaging, piece by piece: what covers an output pixel counts by how much.

An output pixel is the mean of the source pixels under it, each weighted by the area that both
share; so it is exact, has no ringing, and whole ratios give plain block means. The source comes in
parts, in any order: sums are added up in float64 and divided once. The arithmetic is elementwise
and in a fixed order, without BLAS, so that the same parts give the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .grid import reflect_index
from .scratch import scratch

#: Edges of output pixels that lie this close to a source pixel's edge, in source pixels, lie on it:
#: else the rounding of a zoom such as 1.1 makes a pixel touch another one, with a weight of 1e-15.
SNAP_PX = 1e-6


@dataclass(frozen=True, eq=False)
class Taps:
    """Which source pixels make each output pixel along one axis, and with what weight.

    Attributes
    ----------
    index
        int64, shape (n_out, k): source pixels; -1 where there is none.
    weight
        float64, shape (n_out, k): how much of the source pixel lies in the output pixel, in source
        pixels; 0 where there is none. The sum over k is the zoom, but for what lies beyond the
        image.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float64]


def area_taps(origin: float, zoom: float, n_out: int, length: int, reflect: bool) -> Taps:
    """Return the taps of a run of output pixels.

    Output pixel i covers origin + i · zoom to origin + (i + 1) · zoom; source pixel j covers
    j to j + 1.

    Parameters
    ----------
    origin
        Where the first output pixel begins, in source pixels; negative before the image.
    zoom
        Source pixels in one output pixel; at least 1.
    n_out
        How many output pixels.
    length
        Of the image along this axis, in source pixels.
    reflect
        Whether what lies beyond the image is mirrored, as `reflect_index` does; else it has no tap.

    Raises
    ------
    ValueError
        For a zoom below 1: this makes no image larger.

    Examples
    --------
    >>> taps = area_taps(0.0, 1.5, 2, 3, reflect=False)
    >>> taps.index
    array([[0, 1],
           [1, 2]])
    >>> taps.weight
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    if not zoom >= 1:
        raise ValueError(f"zoom is {zoom}; an area filter makes images smaller: give 1 or more")
    edges = origin + zoom * np.arange(n_out + 1)
    whole = np.rint(edges)
    edges = np.where(np.abs(edges - whole) < SNAP_PX, whole, edges)
    begin, end = edges[:-1, None], edges[1:, None]
    first = np.floor(begin).astype(np.int64)
    most = int((np.ceil(end).astype(np.int64) - first).max(initial=1))
    index = first + np.arange(most)
    weight = np.maximum(np.minimum(end, index + 1) - np.maximum(begin, index), 0)
    if reflect and n_out:
        low = int(index.min())
        index = reflect_index(low, int(index.max()) + 1 - low, length)[index - low]
    else:
        weight[(index < 0) | (index >= length)] = 0
    index[weight == 0] = -1
    return Taps(index, weight)


def span(taps: Taps) -> tuple[int, int]:
    """Return the first and one past the last source pixel that is needed; (0, 0) for none.

    Examples
    --------
    >>> span(area_taps(-2.0, 2.0, 3, 10, reflect=False))
    (0, 4)
    """
    held = taps.index[taps.index >= 0]
    return (int(held.min()), int(held.max()) + 1) if held.size else (0, 0)


def add_area(
    acc: NDArray[np.float64],
    part: NDArray[Any],
    y0: int,
    x0: int,
    rows: Taps,
    columns: Taps,
    weight: float = 1.0,
) -> None:
    """Add what a part of the source contributes to the sums of the output.

    Once every source pixel of the taps has come, in one part or another, the sums are complete.
    Whole pixels with whole weights are added exactly, as long as sums stay below 2**53, so that
    the parts do not matter; others differ by the rounding of float64. NaN and infinity reach the
    output pixels that they lie under, and no others.

    Parameters
    ----------
    acc
        float64, shape (c, n_y, n_x): the sums; changed in place.
    part
        Shape (c, height, width), any integer or float dtype. Taps outside it are left to others.
    y0, x0
        The source pixel that its first one is.
    rows, columns
        Taps along y and x; n_y and n_x of them.
    weight
        Of all of it: that of a plane, where z is rescaled too. Of a plane with weight 0, do not
        add it.
    """
    down = _part_taps(rows, y0, part.shape[1])
    across = _part_taps(columns, x0, part.shape[2])
    if down is None or across is None:
        return
    height, width = down.length, across.length
    # With a row and a column of zeros at the end, for the taps that other parts bring.
    source = scratch("area_source", (height + 1, width + 1), part.dtype)
    tall = scratch("area_tall", (len(down.index), width + 1), np.float64)
    small = scratch("area_small", (len(down.index), len(across.index)), np.float64)
    source[height] = 0
    source[:, width] = 0
    windows = part[:, down.first : down.first + height, across.first : across.first + width]
    for window, target in zip(windows, acc[:, down.out, across.out], strict=True):
        source[:height, :width] = window
        _sum_rows(source, down, tall)
        _sum_columns(tall, across, small)
        if weight != 1:
            np.multiply(small, weight, out=small)
        np.add(target, small, out=target)


def finish(acc: NDArray[np.float64], total_weight: float, dtype: DTypeLike) -> NDArray[Any]:
    """Return the means: the sums divided once; integers rounded half to even, and kept in range.

    Parameters
    ----------
    acc
        float64: complete sums, of any shape.
    total_weight
        Of all taps of an output pixel: the product of the zooms along all axes.
    dtype
        Of the result.

    Examples
    --------
    >>> finish(np.array([1.0, 3.0, -2.0, 2000.0]), 2.0, np.uint8)
    array([  0,   2,   0, 255], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    means = acc / total_weight
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        # float64 rounds the largest 64-bit integers up, out of their range.
        largest = float(info.max)
        largest = largest if int(largest) <= info.max else float(np.nextafter(largest, 0))
        means = np.clip(np.rint(means), float(info.min), largest)
    return means.astype(dtype)


@dataclass(frozen=True, eq=False)
class _PartTaps:
    """The taps of a part along one axis, for the run of output pixels that it touches.

    `out` are those; `first` and `length` say which of the part's pixels they need. `index` counts
    from there; it is `length` for a tap that is in no part or in another one, and the weight 1.
    """

    out: slice
    first: int
    length: int
    index: NDArray[np.int64]
    weight: NDArray[np.float64]


def _part_taps(taps: Taps, start: int, length: int) -> _PartTaps | None:
    """Return the taps of a part that begins at a source pixel; None where it has none."""
    inside = (taps.index >= start) & (taps.index < start + length)
    touched = np.flatnonzero(inside.any(axis=1))
    if not touched.size:
        return None
    out = slice(int(touched[0]), int(touched[-1]) + 1)
    inside, index = inside[out], taps.index[out]
    first, last = int(index[inside].min()), int(index[inside].max())
    needed = last + 1 - first
    return _PartTaps(
        out,
        first - start,
        needed,
        np.where(inside, index - first, needed),
        np.where(inside, taps.weight[out], 1.0),
    )


def _sum_rows(source: NDArray[Any], taps: _PartTaps, out: NDArray[np.float64]) -> None:
    """Set `out` to weighted sums of rows, the k-th taps of all of them at once."""
    out[...] = 0
    for index, weight in zip(taps.index.T, taps.weight.T, strict=True):
        taken = source.take(index, 0)
        out += taken if (weight == 1).all() else taken * weight[:, None]


def _sum_columns(source: NDArray[np.float64], taps: _PartTaps, out: NDArray[np.float64]) -> None:
    """Set `out` to weighted sums of columns."""
    out[...] = 0
    for index, weight in zip(taps.index.T, taps.weight.T, strict=True):
        taken = source.take(index, 1)
        out += taken if (weight == 1).all() else taken * weight

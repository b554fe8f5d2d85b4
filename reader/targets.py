"""The arrays that reading fills, checked once per call: shapes, corners of windows, rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .field import Field


def check_target(
    field: Field, count: int, out: NDArray[Any], corners: NDArray[np.int64] | None
) -> None:
    """Check an array that `count` patches of a field, or windows of them, are to fill.

    Raises
    ------
    ValueError
        For a wrong shape or dtype, memory that is not in C order or cannot be written, and for
        windows that do not lie within the patch.
    """
    if corners is None:
        shape: tuple[int, ...] = (count, *field.shape)
        is_fit = out.shape == shape
        wanted = str(shape)
    else:
        lead, (height, width) = field.shape[:-2], field.shape[-2:]
        is_fit = (
            len(field.shape) >= 2
            and out.shape[:-2] == (count, *lead)
            and 1 <= out.shape[-2] <= height
            and 1 <= out.shape[-1] <= width
        )
        wanted = f"{(count, *lead)} and windows of at most {height} x {width}"
    is_fit = is_fit and out.dtype == field.dtype
    if not (is_fit and out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(
            f"the array for {field.name!r} is {out.dtype} of shape {out.shape}; "
            f"give one of {field.dtype} and {wanted}, writable and in C order"
        )
    if corners is not None:
        _check_corners(field, count, out.shape[-2:], corners)


def check_rows(rows: NDArray[np.int64], most: int) -> None:
    """Check rows of a store: int64, one axis, each from 0 to `most` - 1."""
    if rows.ndim != 1 or rows.dtype != np.int64:
        raise ValueError(f"rows are {rows.dtype} of shape {rows.shape}; give int64 of one axis")
    if len(rows) and not (rows.min() >= 0 and rows.max() < most):
        raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in the store's {most}")


def is_whole(field: Field, out: NDArray[Any]) -> bool:
    """Say whether the windows of checked targets are whole patches."""
    return out.shape[1:] == field.shape


def _check_corners(
    field: Field, count: int, window: tuple[int, ...], corners: NDArray[np.int64]
) -> None:
    if corners.shape != (count, 2) or corners.dtype != np.int64:
        raise ValueError(
            f"corners are {corners.dtype} of shape {corners.shape}; give int64 of {(count, 2)}: "
            "y and x of each window's top-left pixel in its patch"
        )
    most = np.subtract(field.shape[-2:], window)
    outside = ((corners < 0) | (corners > most)).any(axis=1)
    if outside.any():
        y, x = corners[outside][0].tolist()
        raise ValueError(
            f"a window of {window[0]} x {window[1]} at ({y}, {x}) leaves the patches of "
            f"{field.name!r}, {field.shape[-2]} x {field.shape[-1]}"
        )

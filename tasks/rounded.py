"""From float32 to what is stored: rounded once, half to even, and saturated once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import SourceError
from .step import Pixels


def rounded(
    pixels: Pixels, own: Sequence[slice], out: NDArray[Any], path: str
) -> NDArray[np.int64]:
    """Round pixels into the store's type.

    Parameters
    ----------
    pixels
        float32, shape (c, z, y, x).
    own
        Slices (z, y, x): what is counted.
    out
        Of the same shape and the store's type; overwritten. Floats are not rounded.
    path
        Of the image, for the error.

    Returns
    -------
    clipped
        int64, shape (c, 2): how many of each channel's own pixels lay below the type's range,
        and above it.

    Raises
    ------
    SourceError
        Where a pixel is no number, which integers cannot hold.
    """
    if out.dtype.kind == "f":
        with np.errstate(over="ignore"):  # float16 has infinity for what it cannot hold
            out[...] = pixels
        return np.zeros((len(pixels), 2), np.int64)
    limits = np.iinfo(out.dtype)
    # float32 cannot hold the limits of wider integers, nor float64 those of 64 bit.
    values = pixels if out.dtype.itemsize <= 2 else pixels.astype(np.float64)
    values = np.rint(values)
    counted = values[:, *own]
    clipped = np.stack(
        [(counted < limits.min).sum(axis=(1, 2, 3)), (counted > limits.max).sum(axis=(1, 2, 3))],
        axis=1,
    )
    largest = float(limits.max)
    if int(largest) > limits.max:
        largest = float(np.nextafter(largest, 0))
    np.clip(values, float(limits.min), largest, out=values)
    if np.isnan(values).any():
        raise SourceError(
            f"{path}: has pixels that are no number after the steps, and {out.dtype} has no room "
            'for them; mend it, leave it out, or write store.dtype = "float32"'
        )
    out[...] = values
    return clipped.astype(np.int64)

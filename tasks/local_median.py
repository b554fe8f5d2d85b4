"""The median of each pixel's square neighbourhood, of float32 and any odd size.

OpenCV's is by far the fastest and takes float32 for 3 and 5 alone; beyond, NumPy's selection is
several times faster than SciPy's rank filter. All of them select a value that is there, so they
agree to the last bit.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .missing import missing_of

Planes = NDArray[np.float32]

#: Sizes that OpenCV has for float32.
_FAST = (3, 5)
#: Neighbourhoods that are looked at together where some of their pixels are missing.
_TOGETHER = 4096


def local_median(planes: Planes, size: int) -> Planes:
    """Return the median of size x size pixels around each.

    Parameters
    ----------
    planes
        float32, shape (n, y, x), C order; each plane is for itself.
    size
        Odd, in pixels; at most the planes' height and width.

    Returns
    -------
    medians
        Of the same shape, new. What lies within size // 2 of an edge is arbitrary. Pixels that are
        no finite number stay what they are, and count in no median: it is of the others, the mean
        of the two middle ones where these are even in number.
    """
    missing = missing_of(planes)
    if missing is None:
        return _select(planes, size)
    medians = _select(np.where(missing, np.float32(0), planes), size)
    box = np.ones((size, size), np.uint8)
    near = np.stack([cv2.dilate(plane, box) for plane in missing.astype(np.uint8)]) > 0
    half = size // 2
    holed = np.where(missing, np.float32(np.nan), planes)
    holed = np.pad(holed, ((0, 0), (half, half), (half, half)), constant_values=np.nan)
    windows = sliding_window_view(holed, (size, size), axis=(1, 2))
    places = np.argwhere(near & ~missing)
    for begin in range(0, len(places), _TOGETHER):
        at = tuple(places[begin : begin + _TOGETHER].T)
        medians[at] = np.nanmedian(windows[at], axis=(1, 2))
    medians[missing] = planes[missing]
    return medians


def _select(planes: Planes, size: int) -> Planes:
    medians = planes.copy()
    if size in _FAST:
        for plane, median in zip(planes, medians, strict=True):
            cv2.medianBlur(plane, size, median)
    elif size > 1:
        half, middle = size // 2, size * size // 2
        for plane, median in zip(planes, medians, strict=True):
            # Row by row: all neighbourhoods of a plane at once would take size² its memory.
            for y in range(half, plane.shape[0] - half):
                row = sliding_window_view(plane[y - half : y + half + 1], size, axis=1)
                around = row.transpose(1, 0, 2).reshape(-1, size * size)
                median[y, half : half + len(around)] = np.partition(around, middle)[:, middle]
    return medians

"""Mends a mask: gaps closed, small objects left out, small holes filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

#: Pixels that touch at corners, too, are of one object.
_CORNERS = np.ones((3, 3), bool)


def mend(
    mask: NDArray[np.bool_], closing: float, min_area: float, max_hole: float
) -> NDArray[np.bool_]:
    """Return a mask whose gaps are closed, then without small objects, then without small holes.

    Objects touch at edges and at corners, holes at edges alone; a hole lies within an object. What
    is beyond the mask is neither object nor hole: closing changes nothing because of it, and an
    object at the edge is as large as what is seen of it.

    Parameters
    ----------
    mask
        bool, shape (y, x).
    closing
        Radius in pixels of the disc that gaps are closed with; below 1 nothing is closed.
    min_area
        Objects of fewer pixels are left out.
    max_hole
        Holes of up to that many pixels are filled.

    Examples
    --------
    >>> mend(np.array([[1, 0, 1, 0, 0, 0, 0, 1]], bool), 1, 2, 0).astype(int)
    array([[1, 1, 1, 0, 0, 0, 0, 0]])
    """
    if closing >= 1 and mask.any():
        mask = distance_transform_edt(~mask) <= closing
        # Distances to what is not there are not defined.
        mask = mask if mask.all() else distance_transform_edt(mask) > closing
    if min_area > 1:
        labels, _ = label(mask, _CORNERS)
        kept = np.bincount(labels.ravel()) >= min_area
        kept[0] = False
        mask = kept[labels]
    if max_hole >= 1:
        labels, _ = label(~mask)
        filled = np.bincount(labels.ravel()) <= max_hole
        filled[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
        filled[0] = True
        mask = filled[labels]
    return mask

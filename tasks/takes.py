"""What becomes of the parts that are read: copied into boxes, or the largest of all planes kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .read import Channels, Take


def copying(targets: list[NDArray[Any]], boxes: NDArray[np.int64]) -> Take:
    """Return what copies parts into the targets of boxes, each of shape (c, z, y, x)."""
    firsts = boxes[:, 2::2].tolist()

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        z0, y0, x0 = firsts[box]
        top, left, (_, height, width) = y - y0, x - x0, part.shape
        targets[box][channels, z - z0, top : top + height, left : left + width] = part

    return take


def keeping_largest(targets: list[NDArray[Any]], boxes: NDArray[np.int64], over_z: bool) -> Take:
    """Return what keeps the largest value of all times, and of all z where `over_z`.

    A target has then one plane.
    """
    firsts = boxes[:, ::2].tolist()

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        t0, z0, y0, x0 = firsts[box]
        top, left, (_, height, width) = y - y0, x - x0, part.shape
        plane = 0 if over_z else z - z0
        target = targets[box][:, plane, top : top + height, left : left + width]
        is_first = t == t0 and (z == z0 or not over_z)
        target[channels] = part if is_first else np.maximum(target[channels], part)

    return take

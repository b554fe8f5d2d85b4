"""Where the windows of patches lie in an image, and how much of each is the image's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .resolution import Resolution

if TYPE_CHECKING:
    from .patches import PatchSpec
    from .source import ImageSource


def window_starts(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> NDArray[np.int64]:
    """Return the first pixel of each window and its border at the level, int64, shape (n, 3)."""
    resolution, margin = source.kind.resolution, (0, patch.margin_px, patch.margin_px)
    return np.stack(
        [resolution.positions(axis, corners[:, 1 + axis]) - margin[axis] for axis in range(3)], 1
    )


def own_spans(
    corners: NDArray[np.int64], size: Sequence[int], resolution: Resolution
) -> NDArray[np.int64]:
    """Return which pixels of each window lie inside the image, int64, shape (n, 3, 2).

    For z, y and x the first one and one past the last, counted from the window's first.

    Parameters
    ----------
    corners
        int64, shape (n, 3): z, y and x, in level-0 pixels; negative for one that begins before
        the image.
    size
        (z, y, x) of the window, in pixels of the patch.
    resolution
        At which the image is cut.
    """
    positions = np.stack([resolution.positions(axis, corners[:, axis]) for axis in range(3)], 1)
    first = np.maximum(-positions, 0)
    stop = np.minimum(np.array(resolution.size) - positions, np.array(size))
    return np.stack([first, stop], axis=2)


def own_pixels(patch: NDArray[Any], margin_px: int, spans: NDArray[np.int64]) -> NDArray[Any]:
    """Return what of a stored patch is neither border nor padding, a view.

    Parameters
    ----------
    patch
        Shape (c, y, x) or (c, z, y, x).
    margin_px
        Width of its border.
    spans
        int64, shape (3, 2), as `own_spans` returns them.
    """
    z, y, x = own_slices(margin_px, spans)
    window = patch[..., y, x]
    return window[:, z] if window.ndim == 4 else window


def own_slices(margin_px: int, spans: NDArray[np.int64]) -> tuple[slice, slice, slice]:
    """Return the same as slices of z, y and x of a window with a border in y and x."""
    z, y, x = spans.tolist()
    return (
        slice(*z),
        slice(margin_px + y[0], margin_px + y[1]),
        slice(margin_px + x[0], margin_px + x[1]),
    )

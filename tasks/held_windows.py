"""Which pixels of a window are the image's, and which of the image's those are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .windows import window_starts

if TYPE_CHECKING:
    from .patches import PatchSpec
    from .source import ImageSource

#: Slices along z, y and x.
Place = tuple[slice, slice, slice]


def held_windows(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> Iterator[tuple[Place, Place]]:
    """Yield for each window, border included, what of it lies in the image.

    Parameters
    ----------
    source, corners, patch
        As in `patchmill.tasks.patches.cut_patches`.

    Yields
    ------
    own
        Slices of the window; empty ones where nothing of it lies in the image.
    place
        The same pixels in the image, counted in pixels of the patch.
    """
    for starts in window_starts(source, corners, patch).tolist():
        own, place = [], []
        for start, size, length in zip(
            starts, patch.stored_size, source.kind.resolution.size, strict=True
        ):
            first, last = max(start, 0), max(min(start + size, length), max(start, 0))
            own.append(slice(first - start, last - start))
            place.append(slice(first, last))
        yield (own[0], own[1], own[2]), (place[0], place[1], place[2])

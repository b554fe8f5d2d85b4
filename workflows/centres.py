"""Windows around centres: where they begin, and what becomes of those too near the edge.

The pixel that a centre lies in is number size // 2 of its window along each axis: of a window of 5
the third, of a window of 4 the third, with two pixels before it and one behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import axis_starts
from ..tasks.resolution import Resolution
from .candidates import EDGE, Candidates, Columns, candidates_at
from .images import SurveyedImage
from .patches_section import PatchesRecipe

#: The time of a centre that stands for every time.
EVERY_TIME = -1


@dataclass(frozen=True, eq=False)
class Centres:
    """Where patches of one image shall have their centres.

    Attributes
    ----------
    t
        int64, shape (n,): the time; `EVERY_TIME` where it is not said.
    z
        float64, shape (n,): in planes of level 0; NaN where it is not said.
    y, x
        float64, shape (n,): in pixels of level 0; whole numbers are centres of pixels.
    columns
        What else is known of each.
    reason
        uint8, shape (n,): why it was rejected already, as in `Candidates`.
    """

    t: NDArray[np.int64]
    z: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    reason: NDArray[np.uint8]
    columns: Columns = field(default_factory=dict)


def centred_starts(
    centres: NDArray[np.float64], axis: int, resolution: Resolution, size: int, edge: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where windows around centres begin along one axis, and which of them are kept.

    Parameters
    ----------
    centres
        float64, shape (n,): in pixels of level 0, inside the image.
    axis
        0 is z, 1 is y, 2 is x.
    resolution
        At which the image is cut.
    size
        Of a window, in pixels of the patch.
    edge
        What becomes of a window that sticks out: "drop" rejects it, "pad" keeps it, "shift" moves
        it back inside (and rejects it where the image is smaller than the window).

    Returns
    -------
    starts
        int64, shape (n,): the first pixel of each window, in pixels of the patch; negative before
        the image.
    kept
        bool, shape (n,).
    """
    length = resolution.size[axis]
    pixel = np.floor((centres + 0.5) / resolution.scale[axis] + 1e-6).astype(np.int64)
    # What does not fill a pixel of the patch at the end is left out of the image.
    starts = np.clip(pixel, 0, length - 1) - size // 2
    if edge == "pad":
        return starts, np.ones(len(starts), bool)
    if edge == "shift" and size <= length:
        starts = np.clip(starts, 0, length - size)
    return starts, (starts >= 0) & (starts + size <= length)


def centred(image: SurveyedImage, patches: PatchesRecipe, centres: Centres) -> Candidates:
    """Return the candidates around the centres in one image: by time, then in their order.

    A centre of no time is one of every time that is cut, one of no plane is one of every plane
    (of a patch with an axis z: of every position that a grid has along it). Where planes are
    projected, or the one in focus is cut, its plane says nothing. Centres of times and planes that
    are not cut are left out.
    """
    resolution, size = image.source.kind.resolution, patches.size_zyx
    flat = bool(patches.project_z) or image.focus is not None
    z_of_all, kept_of_all = axis_starts(
        1 if flat else resolution.size[0], size[0], patches.stride_zyx[0], patches.edge
    )
    chosen, times, z, z_kept = [], [], [], []
    for number, time in enumerate(image.times):
        own = np.full(len(centres.t), bool(patches.project_t)) | (centres.t == time)
        own |= centres.t == EVERY_TIME
        if isinstance(patches.z, int):
            own &= np.isnan(centres.z) | (np.floor(centres.z + 0.5) == patches.z)
        of_time = np.flatnonzero(own)
        every = np.isnan(centres.z[of_time]) | flat
        often = np.where(every, len(z_of_all), 1)
        row = np.repeat(of_time, often)
        starts, inside = centred_starts(
            np.nan_to_num(centres.z[row]), 0, resolution, size[0], patches.edge
        )
        nth = np.arange(len(row)) - np.repeat(np.cumsum(often) - often, often)
        of_all = np.repeat(every, often)
        starts[of_all], inside[of_all] = z_of_all[nth[of_all]], kept_of_all[nth[of_all]]
        chosen.append(row)
        times.append(np.full(len(row), number))
        z.append(starts)
        z_kept.append(inside)
    row, kept = np.concatenate(chosen), np.concatenate(z_kept)
    positions = [np.concatenate(z)]
    for axis, values in ((1, centres.y), (2, centres.x)):
        starts, inside = centred_starts(values[row], axis, resolution, size[axis], patches.edge)
        positions.append(starts)
        kept &= inside
    reason = centres.reason[row]
    reason = np.where((reason == 0) & ~kept, EDGE, reason).astype(np.uint8)
    columns = {name: values[row] for name, values in centres.columns.items()}
    return candidates_at(image, np.concatenate(times), positions, reason, columns)

"""What a plan costs before it runs: bytes, files, decoding and the memory of a worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tasks.annotation import AnnotationField
from ..tasks.patches import PatchSpec
from ..tasks.source import ImageKind
from .images import SurveyedImage
from .peak import Stepping, peak_bytes
from .rows import Rows
from .spans import level_span

#: Segments that are smaller than this part of a patch are counted by the dozen.
COUNTED_PER_PATCH = 4


@dataclass(frozen=True)
class Cost:
    """The price of a plan.

    Attributes
    ----------
    patch_bytes
        Of all patches, uncompressed.
    decoded_bytes
        That all tasks together read or decode, over all channels.
    needed_bytes
        The same, if each segment under a patch were decoded once in the whole run.
    peak_bytes
        That a thread of a worker holds at once, at most, above its imports.
    """

    patch_bytes: int
    decoded_bytes: int
    needed_bytes: int
    peak_bytes: int


def cost_of(
    images: Sequence[SurveyedImage],
    rows: Rows,
    patch: PatchSpec,
    fields: Sequence[AnnotationField] = (),
    steps: Stepping | None = None,
) -> Cost:
    """Work out the price of the rows; parameters as in `peak_bytes`."""
    decoded, needed = _segments(images, rows, patch)
    return Cost(
        patch_bytes=len(rows) * patch.nbytes,
        decoded_bytes=decoded,
        needed_bytes=needed,
        peak_bytes=peak_bytes([image.source for image in images], rows, patch, fields, steps),
    )


def _segments(images: Sequence[SurveyedImage], rows: Rows, patch: PatchSpec) -> tuple[int, int]:
    """Count the bytes of segments that are decoded, and of those that need be."""
    columns = rows.columns
    shard = np.arange(len(rows)) // patch.rows_per_shard
    order = np.argsort(columns["image"], kind="stable")
    edges = np.searchsorted(columns["image"][order], np.arange(len(images) + 1))
    decoded = needed = 0
    known: dict[tuple[int, bytes], int] = {}
    for number, image in enumerate(images):
        own = order[edges[number] : edges[number + 1]]
        if not own.size:
            continue
        kind = image.source.kind
        places = np.stack([columns[axis][own].astype(np.int64) for axis in "tzyx"])
        if shard[own[0]] == shard[own[-1]]:
            # Many small images of one kind: what one costs, all cost.
            key = (id(kind), places.tobytes())
            if key not in known:
                known[key], _ = _image_segments(places, shard[own], patch, image)
            once = often = known[key]
        else:
            once, often = _image_segments(places, shard[own], patch, image)
        needed += once
        decoded += often
    return decoded, needed


def _image_segments(
    places: NDArray[np.int64], shard: NDArray[np.int64], patch: PatchSpec, image: SurveyedImage
) -> tuple[int, int]:
    """Count the bytes under the patches of one image: each segment once, and once per shard.

    Parameters
    ----------
    places
        Shape (4, n): t, and z, y and x of the windows in level-0 pixels.
    shard
        Shape (n,): of each patch, ascending.
    """
    kind = image.source.kind
    at, row = _touched(places[1:], patch, kind)
    if patch.project_t:
        times = np.zeros(len(shard), np.int64)
        repeats = -(-len(kind.planes) // kind.segment[0])
    else:
        times, repeats = places[0] // kind.segment[0], 1
    count = int(at.max()) + 1
    at = at + times[row] * count
    count *= int(times.max()) + 1
    together = -(-image.shape[1] // kind.segment[1]) * repeats
    height, width = _coarse(kind, patch)
    nbytes = math.prod(kind.segment[:3]) * height * width * kind.dtype.itemsize * together
    once = len(np.unique(at))
    often = len(np.unique(at + (shard[row] - shard.min()) * count))
    return once * nbytes, often * nbytes


def _coarse(kind: ImageKind, patch: PatchSpec) -> tuple[int, int]:
    """Return (height, width) of segments to count in: small ones are counted by the dozen."""
    lengths = []
    for axis in (1, 2):
        segment, length = kind.segment[2 + axis], kind.resolution.shape[axis]
        wanted = int(patch.stored_size[axis] * kind.resolution.zoom[axis]) // COUNTED_PER_PATCH
        lengths.append(min(-(-wanted // segment) * segment, length) or segment)
    return lengths[0], lengths[1]


def _touched(
    corners: NDArray[np.int64], patch: PatchSpec, kind: ImageKind
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the number of every segment that each patch touches, and the patch."""
    resolution = kind.resolution
    segment = (kind.segment[2], *_coarse(kind, patch))
    first, count = [], []
    for axis, own in enumerate(corners):
        if axis == 0 and (patch.project_z or len(kind.planes[0, 0]) == 1):
            low, high = np.zeros_like(own), np.full_like(own, resolution.shape[0])
        else:
            low, high = level_span(
                own,
                axis,
                resolution,
                patch.read_size,
                patch.margin_px + patch.halo_px,
                patch.pad == "reflect" or patch.halo_px > 0,
            )
        first.append(low // segment[axis])
        count.append((high - 1) // segment[axis] - first[-1] + 1)
    down, across = (-(-resolution.shape[axis] // segment[axis]) for axis in (1, 2))
    numbers, of_row = [], []
    for step in np.ndindex(*(int(n.max()) for n in count)):
        touches = [n > s for n, s in zip(count, step, strict=True)]
        row = np.flatnonzero(touches[0] & touches[1] & touches[2])
        z, y, x = (f[row] + s for f, s in zip(first, step, strict=True))
        numbers.append((z * down + y) * across + x)
        of_row.append(row)
    return np.concatenate(numbers), np.concatenate(of_row)

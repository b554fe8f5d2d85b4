"""Where the pixels of statistics come from: regions on a fixed grid, and which of them are drawn.

Regions are of the size of a patch, side by side from the image's corner on, over all planes that
are cut; so no source pixel is in two of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..reader.randomness import uniform
from ..tasks.patches import PatchSpec
from ..tasks.resolution import Resolution
from ..tasks.source import ImageSource, ImageSteps
from ..tasks.step import halo_of
from .blocks import windows_split
from .chance import REGIONS, image_generator, image_word
from .sampling import Sampling, splits_of
from .spans import full_span, level_span
from .step_recipe import Binding

#: With `foreground`, how many regions are looked at for each that is wanted.
LOOKS = 64


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of an image that are measured.

    Attributes
    ----------
    source, patch
        The pixels that enter the step, and what a region of them is.
    corners
        int64, shape (n, 4): t, and z, y and x in level-0 pixels.
    halves
        uint8, shape (n,): 0 and 1 by turns.
    of
        How many regions there are to draw from.
    wanted
        How many to take of those that have foreground, in order; None for all.
    """

    source: ImageSource
    patch: PatchSpec
    corners: NDArray[np.int64]
    halves: NDArray[np.uint8]
    of: int
    wanted: int | None

    @property
    def is_every(self) -> bool:
        """Whether all there are will be measured, so that there is no sampling error."""
        return len(self.corners) == self.of and (self.wanted is None or self.wanted >= self.of)

    @property
    def nbytes(self) -> int:
        """Bytes of pixels that are read for them, without what steps need around them."""
        kind, resolution = self.source.kind, self.source.kind.resolution
        planes = resolution.shape[0] if self.patch.project_z else 1
        planes *= len(kind.planes) if self.patch.project_t else 1
        zoom = math.prod(resolution.zoom if not self.patch.project_z else resolution.zoom[1:])
        pixels = math.prod(self.patch.size) * self.patch.channels * planes * zoom
        count = len(self.corners) if self.wanted is None else min(self.wanted, len(self.corners))
        return round(count * pixels) * kind.dtype.itemsize


def draw_regions(binding: Binding, sampling: Sampling, image: int) -> Regions:
    """Return the regions of an image that statistics come from, by the recipe's seed and its id."""
    source, patch = entering(binding, image)
    resolution = source.kind.resolution
    shape = (
        1 if patch.project_t else len(source.kind.planes),
        *(
            -(-length // size)
            for length, size in zip(_size(resolution, patch), patch.size, strict=True)
        ),
    )
    places = _allowed(binding, sampling, image, source, patch, (shape[2], shape[3]))
    of = shape[0] * shape[1] * len(places)
    wanted, looked_at = sampling.regions, of
    if wanted is not None:
        looked_at = min(of, wanted * LOOKS if sampling.foreground else wanted)
    first = image_word(source.id)  # one region of each image: some are even, some odd
    if wanted is None:
        numbers = np.arange(of, dtype=np.int64)
    else:
        numbers = _drawn(image_generator(binding.recipe.seed, source.id, REGIONS), looked_at, of)
        if not sampling.foreground:
            numbers.sort()  # neighbours share segments
    plane, place = np.divmod(numbers, max(1, len(places)))
    t, z = np.divmod(plane, shape[1])
    y, x = np.divmod(places[place] if of else place, shape[3])
    corners = [
        resolution.corners(axis, at.astype(np.int64) * patch.size[axis])
        for axis, at in enumerate((z, y, x))
    ]
    return Regions(
        source=source,
        patch=patch,
        corners=np.stack([t, *corners], axis=1).astype(np.int64),
        halves=((np.arange(len(numbers)) + first % 2) % 2).astype(np.uint8),
        of=of,
        wanted=wanted if sampling.foreground else None,
    )


def entering(binding: Binding, image: int) -> tuple[ImageSource, PatchSpec]:
    """Return an image whose windows are what enters the step, and what a region of it is."""
    source, patch = binding.images[image].source, binding.patch
    patch = replace(patch, margin_px=0, pad="reflect", dtype=np.dtype(np.float32), output_size=None)
    if binding.before_geometry:
        # Pixels of the level, as they are before they are projected and rescaled.
        own = source.kind.resolution
        z, y, x = (scale / zoom for scale, zoom in zip(own.scale, own.zoom, strict=True))
        level = Resolution(own.level, own.shape, (1.0, 1.0, 1.0), (z, y, x))
        steps = ImageSteps(after=source.steps.before)
        source = replace(source, kind=replace(source.kind, resolution=level), steps=steps)
        patch = replace(patch, project_z="", project_t="")
    lengths = _size(source.kind.resolution, patch)
    z, y, x = (min(size, n) for size, n in zip(patch.size, lengths, strict=True))
    return source, replace(patch, size=(z, y, x))


def _size(resolution: Resolution, patch: PatchSpec) -> tuple[int, int, int]:
    z, y, x = resolution.size
    return 1 if patch.project_z else z, y, x


def _allowed(
    binding: Binding,
    sampling: Sampling,
    image: int,
    source: ImageSource,
    patch: PatchSpec,
    shape: tuple[int, int],
) -> NDArray[np.intp]:
    """Return the numbers of the places (y, x) that statistics may come from.

    Where splits are of blocks, those that lie in blocks of the right split with all that earlier
    steps read around them.
    """
    splits = splits_of(binding, sampling)
    recipe = binding.recipe.split
    if splits is None or binding.blocks is None or recipe is None or recipe.blocks_px is None:
        return np.arange(math.prod(shape))
    resolution = source.kind.resolution
    spans = []
    for axis, count in enumerate(shape, 1):
        before = math.ceil(halo_of(source.steps.before) / resolution.zoom[axis])
        halo = halo_of(source.steps.after) + before
        size = patch.size[axis]
        corners = resolution.corners(axis, np.arange(count, dtype=np.int64) * size)
        stored = (1, size + 2 * halo, size + 2 * halo)
        span = level_span(corners, axis, resolution, stored, halo, reflect=True)
        spans.append(full_span(span, axis, resolution))
    (y0, y1), (x0, x1) = spans
    wanted = np.isin(binding.blocks[image], list(splits)).astype(np.int8)
    of = windows_split(wanted, recipe.blocks_px, y0[:, None], y1[:, None], x0[None], x1[None])
    return np.flatnonzero(of.ravel() == 1)


def _drawn(generator: np.random.Philox, wanted: int, of: int) -> NDArray[np.int64]:
    """Return different numbers below `of`, in random order.

    Source: Bentley and Floyd 1987, "Programming pearls: a sample of brilliance", Communications of
    the ACM 30:754, which takes as many random numbers as are wanted, however many there are.
    """
    raw = np.asarray(generator.random_raw(2 * wanted), np.uint64)
    chosen: set[int] = set()
    for last, share in zip(range(of - wanted, of), uniform(raw[:wanted]).tolist(), strict=True):
        number = int(share * (last + 1))
        chosen.add(last if number in chosen else number)
    order = np.argsort(raw[wanted:], kind="stable")
    return np.array(sorted(chosen), np.int64)[order]

"""Random positions in an image: as many as the recipe asks for, no two alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..reader.randomness import uniform
from .candidates import EDGE, KEPT, Candidates, candidates_at
from .chance import PLACES, image_generator
from .images import SurveyedImage
from .patches_section import PatchesRecipe


def random_candidates(image: SurveyedImage, patches: PatchesRecipe, seed: int) -> Candidates:
    """Return `patches.count` random positions of an image, in reading order.

    They are uniform over all times and planes that are cut, and over all places where the whole
    patch lies inside the image; where it has fewer places, all of them. The positions of a smaller
    count are among those of a larger one. Along an axis that is shorter than the patch, there is
    one place with `edge = "pad"`, which begins where the image does, else none: the image has then
    one candidate, which is rejected.
    """
    resolution = image.source.kind.resolution
    lengths = list(resolution.size)
    if patches.project_z:
        lengths[0] = 1
    places = [
        length - size + 1 if length >= size else int(patches.edge == "pad")
        for length, size in zip(lengths, patches.size_zyx, strict=True)
    ]
    shape = (len(image.times), *places)
    if not math.prod(shape):
        none = np.zeros(1, np.int64)
        return candidates_at(image, none, [none] * 3, np.array([EDGE], np.uint8))
    cells = _distinct(math.prod(shape), patches.count or 0, seed, image.id)
    times, *positions = np.unravel_index(cells, shape)
    return candidates_at(image, times, positions, np.full(len(cells), KEPT, np.uint8))


def _distinct(total: int, count: int, seed: int, image_id: str) -> NDArray[np.int64]:
    """Return different numbers below `total`, ascending: the first that the image's stream has."""
    if count >= total:
        return np.arange(total)
    generator = image_generator(seed, image_id, PLACES)
    found = np.empty(0, np.int64)
    while len(found) < count:
        drawn = (uniform(np.asarray(generator.random_raw(count))) * total).astype(np.int64)
        found = np.concatenate([found, drawn])
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]
    return np.sort(found[:count])

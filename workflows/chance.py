"""Random numbers of a run: from the recipe's seed and an image's id.

Not by its place in a list: an image more, or less, moves no number of another one.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ..reader.randomness import hashed, philox

#: One stream per use; the reader's own begin at 0.
PLACES, BACKGROUND, MOST, REGIONS, FIELDS = range(64, 69)
_WORD = 1 << 64


def image_word(image_id: str) -> int:
    """Return the 64 bits that stand for an image in keys of generators."""
    digest = hashlib.sha256(image_id.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "little")


def image_generator(seed: int, image_id: str, stream: int) -> np.random.Philox:
    """Return the generator of an image, at the start of a stream."""
    return philox(seed % _WORD, image_word(image_id), stream)


def window_numbers(
    seed: int, image_id: str, stream: int, corners: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return a random number for each window of an image, which depends on where it is alone.

    Parameters
    ----------
    seed
        Of the recipe.
    image_id
        Of the image.
    stream
        What the numbers are for.
    corners
        int64, shape (n, 4): t, z, y and x, each within 32 bits.

    Returns
    -------
    numpy.ndarray
        uint64, shape (n,).
    """
    t, z, y, x = corners.T
    numbers = hashed(seed % _WORD, image_word(image_id), stream, (y << 32) + x, (t << 32) + z)
    return numbers[:, 0]

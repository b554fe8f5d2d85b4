"""Whether a thresholded image shows something, or only its noise.

A threshold of an empty field lies in the noise, where each pixel is above it or not for itself;
things are larger than a pixel, so that their neighbours are above it, too. The test is how far
neighbours agree: the correlation of a mask with itself, one pixel to the right and one down (join
counts: Cliff and Ord, Spatial Autocorrelation, 1973). It does not depend on how bright or how
noisy an image is: 0 for noise that is independent from pixel to pixel, be it of photons or of the
camera; measured 0.5 to 0.99 for fields of cells, sparse ones too, and 0.3 to 0.9 for thumbnails of
such fields in which a cell is two or three pixels wide.

It is no test of how large or bright things are: a field that is unevenly lit, or noise that was
smoothed, has neighbours that agree. That is what minimum values are for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Neighbours that agree less than this are noise.
MIN_AGREEMENT = 0.2
#: Fewer pairs of neighbours are chance, whatever their share.
MIN_JOINS = 6


@dataclass(frozen=True)
class Joins:
    """How often neighbours are both above a threshold; sums of many masks are of all of them.

    Attributes
    ----------
    pixels, above
        Of the mask, and how many of them are set.
    pairs, joined
        Of neighbours, and of how many both are set.
    """

    pixels: int
    above: int
    pairs: int
    joined: int

    def __add__(self, other: Joins) -> Joins:
        return Joins(
            self.pixels + other.pixels,
            self.above + other.above,
            self.pairs + other.pairs,
            self.joined + other.joined,
        )

    @property
    def agreement(self) -> float:
        """The correlation of neighbours, 0 where there is no pair or all pixels are alike."""
        if not self.pairs or self.above in (0, self.pixels):
            return 0.0
        share = self.above / self.pixels
        return (self.joined / self.pairs - share**2) / (share * (1 - share))

    @property
    def has_contrast(self) -> bool:
        """Whether the mask is of things rather than of noise."""
        return self.joined >= MIN_JOINS and self.agreement >= MIN_AGREEMENT


NO_JOINS = Joins(0, 0, 0, 0)
#: Local deviations on both sides of a threshold that differ less than so many standard errors are
#: those of one noise. Measured: below 2 for noise, 12 and more for fields of cells.
MIN_SEPARATION = 6.0


def is_separated(
    values: NDArray[np.float64], counts: NDArray[np.int64], threshold: float, pixels: int
) -> bool:
    """Whether a threshold of local standard deviations tells things from noise.

    Windows that share pixels agree, noise or not, so that neighbours say nothing. But where there
    is noise alone, deviations of n pixels scatter by no more than 1 / sqrt(2 n) of themselves.

    Parameters
    ----------
    values, counts
        The histogram of the deviations.
    threshold
        That lies in it.
    pixels
        In a window.

    Examples
    --------
    >>> is_separated(np.array([9.0, 10.0, 11.0]), np.array([50, 99, 50]), 10.0, 25)
    False
    >>> is_separated(np.array([10.0, 90.0]), np.array([80, 20]), 50.0, 25)
    True
    """
    above = values > threshold
    if above.all() or not above.any():
        return False
    high, low = (float(np.average(values[own], weights=counts[own])) for own in (above, ~above))
    return high - low >= MIN_SEPARATION * low / math.sqrt(2 * pixels)


def joins_of(mask: NDArray[np.bool_]) -> Joins:
    """Count the neighbours in a mask.

    Parameters
    ----------
    mask
        bool, shape (y, x).

    Examples
    --------
    >>> joins_of(np.ones((2, 3), bool))
    Joins(pixels=6, above=6, pairs=7, joined=7)
    """
    right, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    return Joins(
        mask.size,
        int(np.count_nonzero(mask)),
        right.size + down.size,
        int(np.count_nonzero(right)) + int(np.count_nonzero(down)),
    )

"""A smooth profile of light over a field: the exponential of a polynomial in y and x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

#: Pixels of a profile that are made at once.
BAND_PX = 1 << 20


@dataclass(frozen=True)
class Profile:
    """How bright a field is at each of its pixels, up to a factor; plain values.

    The logarithm is a sum of products of Legendre polynomials. It is so for the light of lamps and
    vignettes, and a logarithm keeps the profile above 0 everywhere. Pixel k of n lies at
    (2k + 1) / n - 1; so blocks of pixels have the same formula as pixels.

    Attributes
    ----------
    shape
        (height, width) of the field in pixels.
    coefficients
        `coefficients[i][j]` is that of P_i(y) · P_j(x), for i + j up to the degree.
    """

    shape: tuple[int, int]
    coefficients: tuple[tuple[float, ...], ...]

    def values(self, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Return the profile on `shape` cells that cover the field, by default its pixels.

        Float32, with a mean of about 1. The arithmetic of a value does not depend on the others.
        """
        height, width = shape or self.shape
        degree = len(self.coefficients) - 1
        down, across = polynomials(height, degree), polynomials(width, degree)
        found = np.empty((height, width), np.float32)
        rows = max(1, BAND_PX // width)
        for start in range(0, height, rows):
            logarithm = np.zeros((min(rows, height - start), width))
            band = down[:, start : start + rows]
            for j, polynomial in enumerate(across):
                along = np.zeros(band.shape[1])
                for i in range(degree + 1 - j):
                    along += self.coefficients[i][j] * band[i]
                logarithm += along[:, None] * polynomial
            found[start : start + rows] = np.exp(logarithm)
        return found


def polynomials(length: int, degree: int) -> NDArray[np.float64]:
    """Return the Legendre polynomials up to a degree at the centres of cells along an axis.

    Returns
    -------
    values
        float64, shape (degree + 1, length).
    """
    at = (2 * np.arange(length) + 1) / length - 1
    return np.ascontiguousarray(legendre.legvander(at, degree).T)


def terms(degree: int) -> list[tuple[int, int]]:
    """Return (i, j) of each coefficient of a degree, row by row."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def profile_of(shape: tuple[int, int], values: NDArray[np.float64]) -> Profile:
    """Return the profile with these coefficients, in the order of `terms`."""
    degree = (math.isqrt(8 * len(values) + 1) - 3) // 2
    found, taken = [], 0
    for i in range(degree + 1):
        found.append(tuple(values[taken : taken + degree + 1 - i].tolist()))
        taken += degree + 1 - i
    return Profile(shape, tuple(found))

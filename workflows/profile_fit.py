"""Finds the profile of light that many fields share: robust, and smooth.

The model is that of CIDRE (Smith et al. 2015, Nature Methods 12:404) and BaSiC (Peng et al. 2017,
Nature Communications 8:14836): without the dark offset, a field is the profile times what is in the
field, so over many fields each place sees the same things, as bright as its light. It is solved as
a rank-one factorisation in the L1 norm by alternating weighted medians (Ke and Kanade 2005, CVPR,
p. 739), smoothed by a polynomial surface of the logarithm. Cells, debris and saturated pixels are
outliers of medians; fields that are nearly empty have little weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tasks.profile import Profile, polynomials, profile_of, terms

#: A field of which more than this share of blocks is saturated says nothing.
MOST_SATURATED = 0.25
#: A field with less than this share of the light that bright ones have is empty.
LEAST_LIGHT = 0.05
#: Rounds of medians, and the change of the logarithm at which they end.
ROUNDS, CHANGE = 20, 1e-4
#: Rounds in which blocks that lie off the surface lose their weight.
REWEIGHTINGS = 5

_Planes = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes
    ----------
    profile
        With a mean of 1.
    used, empty, saturated
        Fields that count, that are too dark, and that are too bright.
    residual
        Median of how far blocks lie off the surface, relative.
    """

    profile: Profile
    used: int
    empty: int
    saturated: int
    residual: float


def fit_profile(fields: _Planes, shape: tuple[int, int], degree: int) -> Fit | None:
    """Fit a profile to fields.

    Parameters
    ----------
    fields
        float64, shape (n, y, x): means of blocks of each field without its dark offset; infinite
        where pixels are saturated, NaN where there are none.
    shape
        (height, width) of a field in pixels.
    degree
        Of the polynomial.

    Returns
    -------
    fit
        None where no field has light, or hardly a block.
    """
    flat = fields.reshape(len(fields), -1)
    is_saturated = (flat == np.inf).mean(axis=1) > MOST_SATURATED
    design = _design(fields.shape[1:], degree)
    logarithm = np.zeros(flat.shape[1])
    for _ in range(ROUNDS):
        # Of a field: how bright it is, where the profile is 1.
        light = _median(flat / np.exp(logarithm))
        light[is_saturated | ~np.isfinite(light)] = 0
        weight = _weights(light)
        if not weight.any():
            return None
        counts = weight > 0
        relative = flat[counts] / light[counts, None]
        blocks = _weighted_median(np.ascontiguousarray(relative.T), weight[counts])
        fitted = _surface(blocks, design)
        if fitted is None:
            return None
        coefficients, residual = fitted
        coefficients[0] -= np.log(np.exp(_sum(design, coefficients)).mean())
        before, logarithm = logarithm, _sum(design, coefficients)
        if np.abs(logarithm - before).max() < CHANGE:
            break
    used = int(np.count_nonzero(weight))
    saturated = int(np.count_nonzero(is_saturated))
    profile = profile_of(shape, coefficients)
    return Fit(profile, used, len(flat) - used - saturated, saturated, residual)


def _weights(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what fields count: those that are bright enough all the same, dimmer ones less."""
    lit = light[light > 0]
    if not lit.size:
        return np.zeros(len(light))
    bright = float(np.percentile(lit, 75))
    return np.where(light < LEAST_LIGHT * bright, 0.0, np.minimum(light / bright, 1.0))


def _median(values: _Planes) -> NDArray[np.float64]:
    """Return the lower median of each row without its NaN; NaN where there is nothing else."""
    ordered = np.sort(values, axis=1)  # NaN comes last
    known = (~np.isnan(values)).sum(axis=1)
    at = np.maximum((known + 1) // 2 - 1, 0)
    return np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]


def _weighted_median(values: _Planes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower weighted median of each row without its NaN; NaN where there is no more."""
    order = np.argsort(values, axis=1, kind="stable")  # NaN comes last
    ordered = np.take_along_axis(values, order, axis=1)
    total = np.cumsum(np.where(np.isnan(ordered), 0, weights[order]), axis=1)
    at = np.minimum((total < total[:, -1:] / 2).sum(axis=1), values.shape[1] - 1)
    return np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]


def _design(shape: tuple[int, ...], degree: int) -> _Planes:
    """Return the products of polynomials at each block, shape (terms, y * x)."""
    down, across = polynomials(shape[0], degree), polynomials(shape[1], degree)
    return np.stack([np.outer(down[i], across[j]).ravel() for i, j in terms(degree)])


def _sum(design: _Planes, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not by BLAS, whose order of summation may depend on the number of threads.
    found: NDArray[np.float64] = np.einsum("kn,k->n", design, coefficients, optimize=False)
    return found


def _surface(
    blocks: NDArray[np.float64], design: _Planes
) -> tuple[NDArray[np.float64], float] | None:
    """Fit the logarithm of blocks; blocks far off it, such as of dust, count little (Huber)."""
    good = np.isfinite(blocks) & (blocks > 0)
    if np.count_nonzero(good) < max(len(design), len(blocks) // 2):
        return None
    own, wanted = design[:, good], np.log(blocks[good])
    weight = np.ones(len(wanted))
    for _ in range(REWEIGHTINGS):
        matrix = np.einsum("kn,ln,n->kl", own, own, weight, optimize=False)
        vector = np.einsum("kn,n,n->k", own, wanted, weight, optimize=False)
        coefficients = np.linalg.solve(matrix, vector)
        off = np.abs(wanted - _sum(own, coefficients))
        residual = float(np.median(off))
        weight = 1 / np.maximum(1, off / max(2 * residual, 1e-12))
    return coefficients, residual

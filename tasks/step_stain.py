"""Stain normalisation of RGB slides by Reinhard's method: means and deviations in the space lαβ.

The space is that of Ruderman, Cronin and Chiao 1998, "Statistics of cone responses to natural
images: implications for visual coding", JOSA A 15:2036, and the method that of Reinhard, Ashikhmin,
Gooch and Shirley 2001, "Color transfer between images", IEEE Computer Graphics and Applications
21(5):34, whose matrices these are. Logarithms are natural ones of pixels from 0 to 255, as in
HistomicsTK, so that reference values which were made for it serve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .step import Pixels, Window

#: One number for each of l, α and β.
Lab = tuple[float, float, float]

_RGB_TO_LMS = np.array(
    [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
)
_LMS_TO_LAB = np.array(
    [
        [1 / math.sqrt(3)] * 3,
        [1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)],
        [1 / math.sqrt(2), -1 / math.sqrt(2), 0],
    ]
)
_LMS_TO_RGB, _LAB_TO_LMS = np.linalg.inv(_RGB_TO_LMS), np.linalg.inv(_LMS_TO_LAB)
#: The range of pixels that the logarithm is taken of. Below 1, where it is 0, they count as 1.
_FULL = 255.0


def to_lab(pixels: Pixels, top: float) -> Pixels:
    """Return lαβ of RGB, both float32 of shape (3, …); `top` is the value of white."""
    lms = _mixed(_RGB_TO_LMS * (_FULL / top), pixels)
    np.maximum(lms, np.float32(1), out=lms)
    return _mixed(_LMS_TO_LAB, np.log(lms, out=lms))


def to_rgb(lab: Pixels, top: float) -> Pixels:
    """Return RGB of lαβ, see `to_lab`; colours that no RGB has lie below 0 or above `top`."""
    lms = _mixed(_LAB_TO_LMS, lab)
    return _mixed(_LMS_TO_RGB * (top / _FULL), np.exp(lms, out=lms))


def _mixed(matrix: NDArray[np.float64], channels: Pixels) -> Pixels:
    """Return channels mixed by a matrix (3, 3); not by BLAS, whose last bits depend on threads."""
    mixed = np.empty_like(channels)
    for own, weights in zip(mixed, matrix.astype(np.float32), strict=True):
        np.multiply(channels[0], weights[0], out=own)
        own += channels[1] * weights[1]
        own += channels[2] * weights[2]
    return mixed


@dataclass(frozen=True)
class ToLab:
    """RGB becomes lαβ, for statistics.

    Attributes
    ----------
    top
        The value of white, in counts.
    """

    top: float
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        return to_lab(pixels, self.top)


@dataclass(frozen=True)
class Reinhard:
    """Mean and deviation of l, α and β of an image become those of a reference.

    One without contrast (`std` of 0) becomes the mean of the reference.

    Attributes
    ----------
    mean, std
        Of the image, in lαβ.
    to_mean, to_std
        Of the reference.
    top
        The value of white, in counts.
    """

    mean: Sequence[float]
    std: Sequence[float]
    to_mean: Lab
    to_std: Lab
    top: float
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        lab = to_lab(pixels, self.top)
        numbers = zip(lab, self.mean, self.std, self.to_mean, self.to_std, strict=True)
        for own, mean, std, to_mean, to_std in numbers:
            own -= np.float32(mean)
            own *= np.float32(to_std / std if std > 0 else 0)
            own += np.float32(to_mean)
        return to_rgb(lab, self.top)


@dataclass(frozen=True)
class ToReference:
    """Makes the step of an image from its mean and deviation, see `step_scale.Mapping`.

    Attributes
    ----------
    to_mean, to_std, top
        As in `Reinhard`.
    """

    to_mean: Lab
    to_std: Lab
    top: float

    def bound(self, numbers: NDArray[np.float64]) -> Reinhard:
        """Return the step; `numbers` has shape (3, 2)."""
        mean, std = (tuple(own) for own in numbers.T.tolist())
        return Reinhard(mean, std, self.to_mean, self.to_std, self.top)

"""The step that finds hot and dead pixels of a camera, and replaces them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .local_mean import local_mean
from .local_median import local_median
from .step import Pixels, Window

#: Of a normal distribution, its standard deviation over its median absolute deviation.
_MAD_TO_SIGMA = 1.4826
#: The noise is a mean of as many medians along y and along x; half of their neighbourhood.
_MEDIANS, _AROUND = 9, 2
#: A hot pixel stands out by more than so many times what its neighbours differ. On a spot as narrow
#: as optics make them (a Gaussian of 0.85 pixels), the middle stands out by about twice that.
_SPREADS = 2


@dataclass(frozen=True)
class HotPixels:
    """Pixels that stand out of all their neighbours become the median of these.

    A pixel is hot, or dead, if it lies above the second brightest of its eight neighbours, or below
    the second darkest, by more than `threshold` times the noise and by more than twice what those
    two differ. The second, so that a pair of hot pixels is found too; and against its neighbours
    rather than their median alone, so that thin lines and small spots, which optics spread over
    several pixels, stay. A camera's defective lines are not found.

    The noise around a pixel is 1.4826 times the mean of 9 x 9 medians, each of the absolute
    residuals in 5 x 5 pixels; the residual of a pixel is what it differs from the median around it.
    For white normal noise that is about 0.9 of its standard deviation.

    Attributes
    ----------
    size_px
        Odd: of the square whose median is taken.
    threshold
        In widths of the noise.
    min_noise
        The noise is at least this much, in counts: in a dark plain of counted photons all
        medians are zero, and every photon would stand out.
    counts
        What takes the place of `threshold` times the noise, where given.
    """

    size_px: int
    threshold: float
    min_noise: float
    counts: float | None = None

    @property
    def halo_px(self) -> int:
        """Half of the square and, where the noise is measured, of all that it is made of."""
        half = self.size_px // 2
        return half if self.counts is not None else half + _AROUND + _MEDIANS // 2

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Replace hot pixels, see `Step`; such as are no finite number stay what they are."""
        planes = pixels.reshape(-1, *pixels.shape[2:])
        medians = local_median(planes, self.size_px)
        with np.errstate(invalid="ignore"):  # an infinite pixel is its own median
            residuals = np.abs(planes - medians)
        asked = self._asked(residuals)
        margin = (planes.shape[1] - asked.shape[1]) // 2
        inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
        plane, y, x = np.nonzero(residuals[inner] > asked)
        asked = asked[plane, y, x]
        y, x = y + margin, x + margin
        around = sliding_window_view(planes, (3, 3), axis=(1, 2))[plane, y - 1, x - 1]
        around = around.reshape(-1, 9)
        own, median = around[:, 4], medians[plane, y, x]
        beside = np.delete(around, 4, axis=1)
        # One that is missing stands for none of both sides.
        beside = np.where(np.isfinite(beside), beside, median[:, None])
        beside.sort(axis=1)
        low, high = beside[:, 1], beside[:, 6]
        out = np.maximum(own - high, low - own)
        is_hot = out > np.maximum(asked, _SPREADS * (high - low))
        planes[plane[is_hot], y[is_hot], x[is_hot]] = median[is_hot]
        return pixels

    def _asked(self, residuals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what a pixel must stand out by, for the pixels whose neighbourhood is there."""
        if self.counts is not None:
            inner = residuals[:, 1:-1, 1:-1]
            return np.full_like(inner, self.counts)
        weights = np.full(_MEDIANS // 2 + 1, 1 / _MEDIANS, np.float32)
        noise = local_mean(local_median(residuals, 2 * _AROUND + 1), weights)
        noise *= np.float32(_MAD_TO_SIGMA)
        np.maximum(noise, np.float32(self.min_noise), out=noise)
        noise *= np.float32(self.threshold)
        return noise

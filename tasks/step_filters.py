"""Steps that filter: median, Gaussian, inversion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .local_mean import local_mean
from .local_median import local_median
from .step import Pixels, Window

#: A Gaussian kernel ends at this many sigma, as SciPy's does.
TRUNCATE = 4.0


@dataclass(frozen=True)
class Median:
    """Each pixel becomes the median of a square around it.

    Attributes
    ----------
    size_px
        Odd.
    """

    size_px: int

    @property
    def halo_px(self) -> int:
        """Half of the square."""
        return self.size_px // 2

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Filter, see `Step`; for pixels that are no finite number see `local_median`."""
        planes = pixels.reshape(-1, *pixels.shape[2:])
        return local_median(planes, self.size_px).reshape(pixels.shape)


@dataclass(frozen=True)
class Gaussian:
    """Each pixel becomes the mean of those around it, weighted by a Gaussian.

    The kernel is sampled at whole pixels, ends at `TRUNCATE` sigma rounded to whole pixels, and is
    divided by its sum: SciPy's `gaussian_filter`, in float32.

    Attributes
    ----------
    sigma_px
        Above 0.
    """

    sigma_px: float

    @property
    def halo_px(self) -> int:
        """Half of the kernel."""
        return int(TRUNCATE * self.sigma_px + 0.5)

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Filter, see `Step`.

        Pixels that are no finite number stay what they are, and count in no mean: it is of the
        others, and weighted by these.
        """
        halo = self.halo_px
        weights = np.exp(-0.5 * (np.arange(halo + 1) / self.sigma_px) ** 2)
        weights = (weights / math.fsum([*weights, *weights[1:]])).astype(np.float32)
        planes = pixels.reshape(-1, *pixels.shape[2:])
        means = local_mean(planes, weights)
        inner = planes[:, halo : halo + means.shape[1], halo : halo + means.shape[2]]
        np.copyto(inner, means, where=np.isfinite(inner))
        return pixels


@dataclass(frozen=True)
class Invert:
    """Dark becomes bright: each pixel becomes `top` minus what it was.

    Attributes
    ----------
    top
        What becomes 0, in counts.
    """

    top: float

    @property
    def halo_px(self) -> int:
        """None."""
        return 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Invert, see `Step`."""
        return np.subtract(np.float32(self.top), pixels, out=pixels)

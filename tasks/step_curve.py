"""Steps that map every pixel by a curve, the same for all: gamma, clip, logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .step import Pixels, Window


@dataclass(frozen=True)
class Gamma:
    """Maps a range onto itself by a power: low + (high - low) ((v - low) / (high - low))**gamma.

    What lies beyond the range is put to its end first; a power of a negative number is none.

    Attributes
    ----------
    gamma
        Below 1 brightens what is dark, above 1 darkens it.
    low, high
        The range, in the units of the pixels that enter.
    """

    gamma: float
    low: float
    high: float
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        extent = np.float32(self.high - self.low)
        pixels -= np.float32(self.low)
        pixels /= extent
        np.clip(pixels, 0, 1, out=pixels)
        np.power(pixels, np.float32(self.gamma), out=pixels)
        pixels *= extent
        pixels += np.float32(self.low)
        return pixels


@dataclass(frozen=True)
class Clip:
    """Puts what lies below `low` to it, and what lies above `high` to that; None is no limit."""

    low: float | None
    high: float | None
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        return np.clip(pixels, self.low, self.high, out=pixels)


@dataclass(frozen=True)
class Log:
    """The logarithm of each pixel and an offset; pixels below 0 count as 0.

    Attributes
    ----------
    offset
        Above 0, in the units of the pixels that enter.
    base
        2, 10, or e.
    """

    offset: float
    base: float
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        np.maximum(pixels, 0, out=pixels)
        pixels += np.float32(self.offset)
        np.log(pixels, out=pixels)
        if self.base != np.e:
            pixels *= np.float32(1 / np.log(self.base))
        return pixels

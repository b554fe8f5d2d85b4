"""What may be measured of a channel's pixels: from a sketch of many, or from a patch's own.

Each is a frozen dataclass with the names of its numbers and two ways to the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .sketch import Sketch


class Measure(Protocol):
    """Numbers of a channel."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, in order."""
        ...

    def of_sketch(self, sketch: Sketch) -> NDArray[np.float64]:
        """Return the numbers of the pixels in a sketch, which must hold some."""
        ...

    def of_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the numbers of pixels, shape (n,), finite, at least one."""
        ...


@dataclass(frozen=True)
class Percentiles:
    """Percentiles, interpolated linearly.

    Attributes
    ----------
    percents
        0 to 100.
    names
        Of each.
    """

    percents: tuple[float, ...]
    names: tuple[str, ...]

    def of_sketch(self, sketch: Sketch) -> NDArray[np.float64]:
        """See `Measure`."""
        return sketch.percentiles(self.percents)

    def of_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Measure`."""
        # In float64: between two large counts float32 has no room for a share.
        found: NDArray[np.float64] = np.percentile(values.astype(np.float64), self.percents)
        return found


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest value."""

    names: tuple[str, ...] = ("low", "high")

    def of_sketch(self, sketch: Sketch) -> NDArray[np.float64]:
        """See `Measure`."""
        return np.array([sketch.low, sketch.high])

    def of_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Measure`."""
        return np.array([values.min(), values.max()], np.float64)


@dataclass(frozen=True)
class Largest:
    """Zero and the largest value."""

    names: tuple[str, ...] = ("low", "high")

    def of_sketch(self, sketch: Sketch) -> NDArray[np.float64]:
        """See `Measure`."""
        return np.array([0.0, sketch.high])

    def of_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Measure`."""
        return np.array([0.0, values.max()], np.float64)


@dataclass(frozen=True)
class MeanAndDeviation:
    """The mean and the standard deviation of the population (ddof = 0)."""

    names: tuple[str, ...] = ("mean", "std")

    def of_sketch(self, sketch: Sketch) -> NDArray[np.float64]:
        """See `Measure`."""
        return np.array([sketch.mean, sketch.std])

    def of_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Measure`."""
        mean = values.mean(dtype=np.float64)
        return np.array([mean, math.sqrt(np.square(values - mean).mean())])

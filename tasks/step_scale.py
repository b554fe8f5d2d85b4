"""Steps that map each channel by numbers of its own: to a range, or to a mean and a deviation.

The numbers come from a pass over many images before the run (`measure`), or from the patch's own
pixels (`OfPatch`). Scaling each patch or image by itself removes absolute intensity: a dim and a
bright one look alike afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .pixel_measures import Measure
from .source import SourceError
from .step import Pixels, Step, Window

#: One number per channel.
PerChannel = tuple[float, ...]


@dataclass(frozen=True)
class Scale:
    """Maps `low` to `to_low` and `high` to `to_high`, and what lies between linearly.

    A channel without contrast (`high` not above `low`) becomes `to_low` everywhere.

    Attributes
    ----------
    low, high
        For each channel, in the units of the pixels that enter.
    to_low, to_high
        What they become.
    clip
        Whether what lies beyond becomes `to_low` or `to_high` too.
    """

    low: PerChannel
    high: PerChannel
    to_low: float
    to_high: float
    clip: bool
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        for channel, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            own = pixels[channel]
            if not high > low:
                own[...] = self.to_low
                continue
            own -= np.float32(low)
            own *= np.float32((self.to_high - self.to_low) / (high - low))
            own += np.float32(self.to_low)
            if self.clip:
                np.clip(own, *sorted((self.to_low, self.to_high)), out=own)
        return pixels


@dataclass(frozen=True)
class ZScore:
    """Subtracts a mean and divides by a standard deviation.

    A channel without contrast (`std` of 0) becomes 0 everywhere.

    Attributes
    ----------
    mean, std
        For each channel, in the units of the pixels that enter.
    """

    mean: PerChannel
    std: PerChannel
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            own = pixels[channel]
            if not std > 0:
                own[...] = 0
                continue
            own -= np.float32(mean)
            own *= np.float32(1 / std)
        return pixels


@dataclass(frozen=True)
class Offset:
    """Subtracts a number from each channel and adds a pedestal.

    Attributes
    ----------
    value
        For each channel, in the units of the pixels that enter.
    pedestal
        Added to every channel.
    """

    value: PerChannel
    pedestal: float
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        for channel, value in enumerate(self.value):
            pixels[channel] -= np.float32(value - self.pedestal)
        return pixels


class Mapping(Protocol):
    """Makes a step from the numbers of its channels."""

    def bound(self, numbers: NDArray[np.float64]) -> Step:
        """Return the step; `numbers` has shape (c, k), as a `Measure` gives them."""
        ...


@dataclass(frozen=True)
class ToRange:
    """Makes `Scale`, of two numbers; the attributes are those of it."""

    to_low: float
    to_high: float
    clip: bool

    def bound(self, numbers: NDArray[np.float64]) -> Step:
        """See `Mapping`."""
        low, high = numbers.T.tolist()
        return Scale(tuple(low), tuple(high), self.to_low, self.to_high, self.clip)


@dataclass(frozen=True)
class ToStandard:
    """Makes `ZScore`, of a mean and a deviation."""

    def bound(self, numbers: NDArray[np.float64]) -> Step:
        """See `Mapping`."""
        mean, std = numbers.T.tolist()
        return ZScore(tuple(mean), tuple(std))


@dataclass(frozen=True)
class LessOffset:
    """Makes `Offset`, of one number."""

    pedestal: float

    def bound(self, numbers: NDArray[np.float64]) -> Step:
        """See `Mapping`."""
        (value,) = numbers.T.tolist()
        return Offset(tuple(value), self.pedestal)


@dataclass(frozen=True)
class OfPatch:
    """A mapping by numbers of the patch's own pixels, border and padding left out.

    Pixels that are NaN or infinite do not count; a channel that has no others is left as it is.
    """

    measure: Measure
    mapping: Mapping
    halo_px: int = 0
    is_of_patch: bool = True

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        for channel in range(len(pixels)):
            own = pixels[channel][window.own]
            values = own[np.isfinite(own)]
            if values.size:
                step = self.mapping.bound(self.measure.of_pixels(values)[None])
                pixels[channel : channel + 1] = step(pixels[channel : channel + 1], window)
        return pixels


@dataclass(frozen=True)
class Unscaled:
    """Stands for the step of an image of which nothing could be measured: it cannot be cut.

    Attributes
    ----------
    reason
        One sentence with the image's name.
    """

    reason: str
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Raise the reason.

        Raises
        ------
        SourceError
            Always.
        """
        raise SourceError(self.reason)

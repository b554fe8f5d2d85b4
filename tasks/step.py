"""What a step is: a function on the pixels of a window, which says how wide a border it needs.

A window is a patch and the border (`halo_px`) that all steps together need. What lies beyond the
image is its mirror image, as `reflect_index` says; so a step whose kernel is symmetric gives each
pixel the same value in a window as in the whole image. A step is a frozen dataclass of plain
values and small arrays, because it travels to the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

#: Shape (c, z, y, x), C order.
Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Window:
    """Where the pixels lie that a step gets, and which of them are the patch's own.

    Attributes
    ----------
    y, x
        Of its first pixel in the image, in pixels of the resolution at which the step works;
        negative before the image.
    shape
        (height, width) of the image, in the same pixels.
    own
        Slices (z, y, x) of the window: the pixels of the patch that lie in the image, without
        halo, border and padding. What a statistic of the patch is of.
    """

    y: int
    x: int
    shape: tuple[int, int]
    own: tuple[slice, slice, slice]

    @classmethod
    def of_all(cls, y: int, x: int, shape: tuple[int, int], pixels: Pixels) -> Window:
        """Return the window of pixels (c, z, y, x) that are no single patch's: all count."""
        _, depth, height, width = pixels.shape
        return cls(y, x, shape, (slice(0, depth), slice(0, height), slice(0, width)))


class Step(Protocol):
    """A function on pixels, bound to its options and, where it needs them, to statistics.

    The value of a pixel depends on the pixels within `halo_px` of it and on where it lies in the
    image, not on the window: several patches may be taken out of one. A step that does ask for
    `Window.own` has an attribute `is_of_patch` that is true.
    """

    @property
    def halo_px(self) -> int:
        """How many pixels around each in y and x decide its value."""
        ...

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Return what becomes of the pixels.

        Parameters
        ----------
        pixels
            float32, shape (c, z, y, x), C order: the channels that the step works on; may be
            written into. Planes along z are each for itself.
        window
            Where they lie.

        Returns
        -------
        pixels
            float32, of the same shape; what lies within `halo_px` of an edge in y and x is not
            used.
        """
        ...


@dataclass(frozen=True, eq=False)
class OnChannels:
    """A step on some channels, which leaves the others as they are.

    Attributes
    ----------
    step
        What is done.
    channels
        Their numbers.
    """

    step: Step
    channels: tuple[int, ...]

    @property
    def halo_px(self) -> int:
        """That of the step."""
        return self.step.halo_px

    @property
    def is_of_patch(self) -> bool:
        """Whether the step asks which pixels are the patch's own."""
        return getattr(self.step, "is_of_patch", False)

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Do the step, see `Step`."""
        chosen = list(self.channels)
        pixels[chosen] = self.step(np.ascontiguousarray(pixels[chosen]), window)
        return pixels


def run_step(step: Step, pixels: Pixels, window: Window) -> tuple[Pixels, Window]:
    """Do a step, and take its halo off.

    A step with an attribute `output_size`, (y, x), makes of a window a picture of that size, which
    is all the patch's own.
    """
    # One thread each: Dask has as many at work as there are cores.
    cv2.setNumThreads(1)
    pixels = step(pixels, window)
    if size := getattr(step, "output_size", None):
        return pixels, Window.of_all(0, 0, size, pixels)
    halo = step.halo_px
    if not halo:
        return pixels, window
    z, y, x = window.own
    y, x = (slice(own.start - halo, own.stop - halo) for own in (y, x))
    inner = np.ascontiguousarray(pixels[:, :, halo:-halo, halo:-halo])
    return inner, Window(window.y + halo, window.x + halo, window.shape, (z, y, x))


def run_steps(steps: Sequence[Step], pixels: Pixels, window: Window) -> tuple[Pixels, Window]:
    """Do steps one after another; each takes its halo off.

    Parameters
    ----------
    steps
        In order.
    pixels, window
        As in `Step`, with a border of the sum of all halos in y and x.

    Returns
    -------
    pixels, window
        Without the border, C order.
    """
    for step in steps:
        pixels, window = run_step(step, pixels, window)
    return pixels, window


def halo_of(steps: Sequence[Step]) -> int:
    """Return the border that steps need, one after another, in pixels."""
    return sum(step.halo_px for step in steps)

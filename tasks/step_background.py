"""Steps that subtract a background: a constant, or what lies below every narrow structure.

A `pedestal` is added back, so that noise around zero survives an unsigned type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .blocks import enlarge, first_block, shrink
from .missing import missing_of
from .opening import open_ball, open_disc
from .step import Pixels, Window


@dataclass(frozen=True)
class SubtractConstant:
    """Subtract one value, and add the pedestal.

    Attributes
    ----------
    value, pedestal
        In counts.
    """

    value: float
    pedestal: float

    @property
    def halo_px(self) -> int:
        """None."""
        return 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Subtract, see `Step`."""
        pixels -= np.float32(self.value - self.pedestal)
        return pixels


@dataclass(frozen=True)
class SubtractOpening:
    """Subtract the opening with a disc or a ball, and add the pedestal.

    The opening is done on blocks of pixels, whose grid begins at the image's first pixel, and what
    it gives is enlarged bilinearly between their centres. Pixels that are no finite number stay
    what they are, and count in no block.

    Attributes
    ----------
    radius_px
        Of the disc or the ball, in pixels; wider than whatever shall stay.
    shrink
        Side of a block in pixels, from 1 to the radius.
    shrink_by
        What stands for a block: "mean", or "min".
    height
        Of the ball's upper half, in counts; None for a disc.
    pedestal
        In counts.
    """

    radius_px: int
    shrink: int
    shrink_by: str
    height: float | None
    pedestal: float

    @property
    def halo_px(self) -> int:
        """Twice the radius in blocks, for an erosion and a dilation, and what blocks add.

        The farthest that a pixel needs is the far edge of a block: beside the middle of its own
        block it lies between that and the next one, of which the opening needs twice the radius.
        """
        blocks = 2 * (self.radius_px // self.shrink) + 1
        return blocks * self.shrink + self.shrink // 2 - 1

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Subtract, see `Step`."""
        planes = pixels.reshape(-1, *pixels.shape[2:])
        side, halo = self.shrink, self.halo_px
        blocks = shrink(planes, window.y, window.x, side, self.shrink_by)
        radius = self.radius_px / side
        opened = (
            open_disc(blocks, radius)
            if self.height is None
            else open_ball(blocks, radius, self.height)
        )
        inner = planes[:, halo : planes.shape[1] - halo, halo : planes.shape[2] - halo]
        place = (
            (first_block(window.y, side), first_block(window.x, side)),
            (window.y + halo, window.x + halo),
            side,
            inner.shape[1:],
        )
        empty = missing_of(blocks)
        if empty is not None:
            opened[empty] = 0
        background = enlarge(opened, *place)
        if empty is not None:
            # Beside blocks that hold nothing, of the others alone; all of it is where nothing is.
            share = enlarge(empty.astype(np.float32), *place)
            np.divide(background, 1 - share, out=background, where=(share > 0) & (share < 1))
        background -= np.float32(self.pedestal)
        inner -= background
        return pixels

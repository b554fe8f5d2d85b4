"""A flat or a dark field that was acquired: one channel of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import PatchmillError
from .image import ImageOptions
from .opened import open_source
from .source import FileIdentity, SourceError


class ReferenceImageError(PatchmillError, ValueError):
    """A reference that cannot be read: a fault of no image, for which none may be left out."""


@dataclass(frozen=True)
class Reference:
    """A channel of a reference image; plain values, so that equal ones are read once.

    Attributes
    ----------
    path, members, identity
        Of the file, as in `patchmill.tasks.source.ImageSource`.
    channel
        Its number there.
    options
        How the file is opened.
    """

    path: str
    members: tuple[str, ...]
    identity: FileIdentity
    channel: int
    options: ImageOptions

    def pixels(self) -> NDArray[np.float64]:
        """Return the mean of all its planes along t and z, shape (y, x), plane by plane.

        Raises
        ------
        ReferenceImageError
            Where the file has changed, or cannot be read.
        """
        try:
            return self._pixels()
        except SourceError as error:
            raise ReferenceImageError(f"a reference image: {error}") from None

    def _pixels(self) -> NDArray[np.float64]:
        image = open_source(self.path, self.identity, self.members, self.options)
        _, n_t, _, n_z, height, width = image.shapes[0]
        total = np.zeros((height, width))
        channel, whole = slice(self.channel, self.channel + 1), (slice(0, height), slice(0, width))
        for t in range(n_t):
            for z in range(n_z):
                region = (slice(t, t + 1), channel, slice(z, z + 1), *whole)
                total += image.read(0, 0, region)[0, 0, 0]
        total /= n_t * n_z
        return total


def light_of(flat: Reference, dark: float | Reference) -> NDArray[np.float64]:
    """Return flat - dark, shape (y, x)."""
    light = flat.pixels()
    light -= dark.pixels() if isinstance(dark, Reference) else dark
    return light

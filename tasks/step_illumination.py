"""The step that takes the unevenness of light and camera out of acquired fields.

corrected = (raw - dark) / (flat - dark) * mean(flat - dark), plus a pedestal: the usual flat-field
correction. The mean keeps intensities as they are on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .grid import reflect_index
from .kept import Kept
from .profile import Profile
from .reference import Reference, light_of
from .step import Pixels, Window

#: What gains and dark fields may hold of a process.
MAX_HELD_BYTES = 256_000_000

_Plane = NDArray[np.float32]
_planes = Kept[_Plane](MAX_HELD_BYTES)


@dataclass(frozen=True)
class Illumination:
    """The correction of some channels, of which gains are made where they are used.

    Attributes
    ----------
    light
        For each channel flat - dark, up to a factor: a profile, or the reference that is flat.
    dark
        For each channel what the camera gives without light, in counts: a number or a reference.
    pedestal
        Counts that are added in the end.
    """

    light: tuple[Profile | Reference, ...]
    dark: tuple[float | Reference, ...]
    pedestal: float = 0.0

    @property
    def halo_px(self) -> int:
        """None: each pixel for itself."""
        return 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Correct the pixels in place, see `patchmill.tasks.step.Step`."""
        rows = _positions(window.y, pixels.shape[2], window.shape[0])
        columns = _positions(window.x, pixels.shape[3], window.shape[1])
        for planes, light, dark in zip(pixels, self.light, self.dark, strict=True):
            planes -= _taken(dark_of(dark), rows, columns) if isinstance(dark, Reference) else dark
            planes *= _taken(gain_of(light, dark), rows, columns)
            planes += self.pedestal
        return pixels


def gain_of(light: Profile | Reference, dark: float | Reference) -> _Plane:
    """Return mean(flat - dark) / (flat - dark), float32, shape (y, x), kept for the process."""
    if isinstance(light, Profile):
        return _planes.get(light, lambda: _gain(light.values()))
    return _planes.get((light, dark), lambda: _gain(light_of(light, dark)))


def dark_of(dark: Reference) -> _Plane:
    """Return a dark field, float32, shape (y, x), kept for the process."""
    return _planes.get(dark, lambda: dark.pixels().astype(np.float32))


def _gain(light: NDArray[np.float32] | NDArray[np.float64]) -> _Plane:
    gain: NDArray[np.float64] = np.divide(light.mean(dtype=np.float64), light, dtype=np.float64)
    return gain.astype(np.float32)


def _positions(start: int, size: int, length: int) -> slice | NDArray[np.int64]:
    """Return which pixels of the field a window has along an axis, mirrored beyond it."""
    if start >= 0 and start + size <= length:
        return slice(start, start + size)
    return reflect_index(start, size, length)


def _taken(
    plane: _Plane, rows: slice | NDArray[np.int64], columns: slice | NDArray[np.int64]
) -> _Plane:
    return plane[rows][:, columns]

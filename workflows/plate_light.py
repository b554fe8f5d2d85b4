"""The microscope of the synthetic plate: from cells to light, and from light to counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .plate_cells import Plane
from .plate_scene import Scene

OFFSET_COUNTS = 100.0
READ_NOISE_COUNTS = 2.5
ELECTRONS_PER_COUNT = 0.46


class Optics(NamedTuple):
    """How a channel's light reaches the camera, in counts above the offset."""

    signal: float
    background: float
    darkening: float
    """Share of the light that is missing in the corners."""
    centre: tuple[float, float]
    """Where the light is brightest, (y, x) as shares of the image."""


OPTICS = (
    Optics(signal=5200, background=210, darkening=0.42, centre=(0.46, 0.55)),
    Optics(signal=4300, background=120, darkening=0.30, centre=(0.55, 0.44)),
    Optics(signal=0, background=13500, darkening=0.22, centre=(0.50, 0.62)),
)


def develop(scene: Scene) -> Iterator[Plane]:
    """Yield the light of each channel, float32, in counts above the camera's offset."""
    for plane, optics in zip((scene.calcein, scene.iodide), OPTICS, strict=False):
        light = cv2.GaussianBlur(plane, (0, 0), 0.9).astype(np.float32)
        # Light from above and below the focus: a wide, faint copy.
        small = cv2.resize(plane, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
        light += 0.12 * cv2.resize(cv2.GaussianBlur(small, (0, 0), 4), plane.shape[::-1])
        light *= optics.signal
        light += optics.background
        light *= illumination(plane.shape, optics)
        yield light
    optics = OPTICS[2]
    light = refract(scene.height)
    light *= optics.background
    light *= illumination(light.shape, optics)
    yield light


def refract(height: Plane) -> Plane:
    """Return the bright field of thin, transparent cells a little out of focus; 1 is bare ground.

    The imaginary part of the Fresnel propagator, cut off by partial coherence, turns phase into
    the bright and dark rings around an edge (Goodman, Introduction to Fourier Optics, ch. 4).
    """
    reach = 12
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    squared = y**2 + x**2
    window = np.exp(-squared / (2 * 4.2**2))
    chirp = np.cos(squared * np.pi / 34) * window
    kernel = chirp - window * chirp.sum() / window.sum()
    kernel *= 0.9 / np.abs(kernel).sum()
    rings = cv2.filter2D(height, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
    return np.clip(1 + rings, 0.15, 3).astype(np.float32)


def illumination(shape: tuple[int, ...], optics: Optics) -> Plane:
    """Return the light that falls on each pixel, as a share of the brightest."""
    # The squared distance is a sum of a column and a row, so a small vector each is enough.
    y, x = (
        (np.linspace(0, 1, side, dtype=np.float32) - centre) ** 2
        for side, centre in zip(shape, optics.centre, strict=True)
    )
    distance = (y[:, None] + x[None, :]) / 0.5
    return (1 - optics.darkening * distance).astype(np.float32)


def expose(light: Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what the camera reports of some light, in counts.

    Shot noise is drawn as normal: at a hundred electrons and more nobody can tell it from
    Poisson's, and it takes a tenth of the time.
    """
    spread = np.sqrt(light / ELECTRONS_PER_COUNT + READ_NOISE_COUNTS**2)
    spread *= rng.standard_normal(light.shape, np.float32)
    spread += light
    spread += OFFSET_COUNTS + 0.5
    counts: NDArray[np.uint16] = np.clip(spread, 0, 65535).astype(np.uint16)
    return counts

"""The cells of the synthetic plate: pictures of single cells, drawn once and stamped often."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
#: Side of a cell's picture, in pixels; cells are 20 to 80 pixels long.
SIDE = 96


class Cell(NamedTuple):
    """One cell as planes of shape (SIDE, SIDE): float32, about 0 to 1, and where it is."""

    calcein: Plane
    """Converted in the cytoplasm of living cells: follows the cell's thickness."""
    iodide: Plane
    """Propidium iodide, which enters dead cells alone and binds to their DNA and RNA."""
    height: Plane
    """Optical thickness, from which the bright field is made."""
    inside: NDArray[np.bool_]
    """The truth: which pixels are the cell's."""


def draw_cell(rng: np.random.Generator, alive: bool) -> Cell:
    """Draw a cell: living ones are drawn out with smooth bodies, dead ones round and granular.

    The numbers of the optical thickness are chosen so that living and dead cells come out as
    bright as each other in the bright field, and vary as much.
    """
    grain = texture(rng, sigma=1.4)
    smooth = texture(rng, sigma=3.0)
    if alive:
        angle = rng.uniform(0, np.pi)
        long = 0.6 * float(rng.gamma(4.0, 0.25)) + 1.3
        edge = outline(rng, rng.uniform(11, 15), angle, long, lobes=0.2)
        body, film = dome(edge), slab(edge)
        # The cell is thin at its rim and thick around the nucleus.
        bulge = np.exp(-3.2 * edge**2)
        nucleus = dome(outline(rng, rng.uniform(5.5, 7.0), angle, 1.3, lobes=0.05))
        vesicles = np.clip(texture(rng, sigma=1.0) - 1.0, 0, None) * (body > 0.25)
        calcein = film * (0.34 + 0.3 * bulge + 0.05 * smooth) + 0.15 * nucleus
        calcein *= 1 + 0.06 * grain - 0.1 * np.clip(vesicles, 0, 2)
        height = 0.8 * body + 0.4 * bulge * body + 0.5 * nucleus + 0.35 * vesicles
        return Cell(_positive(calcein), np.zeros_like(body), _positive(height), edge < 1)
    edge = outline(rng, rng.uniform(8.5, 11.5), 0.0, 1.1, lobes=0.09)
    body, film = dome(edge), slab(edge)
    nucleus = dome(outline(rng, rng.uniform(5.0, 7.0), 0.0, 1.15, lobes=0.12))
    clumps = np.clip(0.75 + 0.35 * grain, 0.2, None)  # condensed chromatin
    iodide = film * (0.34 + 0.08 * smooth) + 0.5 * nucleus**0.6 * clumps
    height = 0.7 * body + 0.22 * grain * film
    return Cell(0.05 * body, _positive(iodide), _positive(height), edge < 1)


def outline(
    rng: np.random.Generator, radius: float, angle: float, long: float, lobes: float
) -> Plane:
    """Return each pixel's distance from a cell's middle, as a share of the way to its edge.

    Parameters
    ----------
    rng
        Draws the edge's lobes.
    radius
        Mean radius in pixels.
    angle, long
        Direction of the long axis in radians, and the long axis over the short one.
    lobes
        Amplitude of the edge's first harmonics, as a share of the radius.
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(long)
    across = (y * np.cos(angle) - x * np.sin(angle)) * np.sqrt(long)
    theta = np.arctan2(across, along)
    edge = np.ones_like(theta)
    for harmonic in (2, 3, 4, 5):
        share = rng.normal(0, lobes / (harmonic - 1))
        edge += share * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
    distance = np.hypot(along, across) / (radius * np.maximum(edge, 0.35))
    # Nothing reaches the border of the picture, where a stamp would show as a straight cut.
    margin = np.hypot(x, y) / (SIDE / 2 - 2)
    inside: Plane = np.maximum(distance, np.where(margin > 0.8, (margin / 0.99) ** 4, 0))
    return inside.astype(np.float32)


def dome(distance: Plane) -> Plane:
    """Return a dome that is 1 in the middle and 0 from distance 1 on, with a soft edge."""
    cap = np.clip(1 - distance**2, 0, 1) ** 0.75
    return cv2.GaussianBlur(cap.astype(np.float32), (0, 0), 0.8).astype(np.float32)


def slab(distance: Plane) -> Plane:
    """Return a slab that is 1 up to distance 1 and 0 beyond, with an edge as soft as a dome's."""
    return cv2.GaussianBlur((distance < 1).astype(np.float32), (0, 0), 0.9).astype(np.float32)


def texture(rng: np.random.Generator, sigma: float) -> Plane:
    """Return smooth noise with mean 0 and standard deviation 1."""
    white = rng.standard_normal((SIDE, SIDE), np.float32)
    smooth: Plane = cv2.GaussianBlur(white, (0, 0), sigma).astype(np.float32)
    standard: Plane = (smooth - smooth.mean()) / smooth.std()
    return standard


def _positive(plane: Plane) -> Plane:
    return np.maximum(plane, 0).astype(np.float32)

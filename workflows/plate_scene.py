"""A field of the synthetic plate before light falls on it: cells on the ground, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .plate_cells import SIDE, Cell, Plane

#: Distance of neighbouring cells where they grow densely, in pixels.
SPACING_PX = 38


class Scene(NamedTuple):
    """A field full of cells; all planes have the shape of an image."""

    calcein: Plane
    iodide: Plane
    height: Plane
    """As in `Cell`, summed over the cells."""
    cells: NDArray[np.uint16]
    """Whose each pixel is: numbers from 1, 0 is ground."""
    classes: NDArray[np.uint8]
    """What each pixel is: 0 is ground, 1 a living cell, 2 a dead one."""


def grow(
    shape: tuple[int, int],
    living: Sequence[Cell],
    dead: Sequence[Cell],
    dead_share: float,
    rng: np.random.Generator,
) -> Scene:
    """Return a field full of cells; the dead ones are detached and lie on the living."""
    # A border of half a cell, so that cells are cut by the image's edge as real ones are.
    border = (shape[0] + SIDE, shape[1] + SIDE)
    lights = [np.zeros(border, np.float32) for _ in range(3)]
    cells = np.zeros(border, np.uint16)
    corners = scatter(shape, rng)
    is_dead = np.sort(rng.random(len(corners)) < dead_share)
    brightness = rng.lognormal(0, 0.25, len(corners)).astype(np.float32)
    picks = rng.random(len(corners))
    turns = rng.integers(0, 8, len(corners))
    for number, (y, x) in enumerate(corners.tolist()):
        kind = dead if is_dead[number] else living
        cell = kind[int(picks[number] * len(kind))]
        turn, bright = int(turns[number]), brightness[number]
        turned = [np.rot90(plane if turn < 4 else plane.T, turn) for plane in cell]
        here = np.s_[y : y + SIDE, x : x + SIDE]
        for light, plane, gain in zip(lights, turned, (bright, bright, 1), strict=False):
            light[here] += gain * plane
        cells[here][turned[3]] = number + 1
    half = SIDE // 2
    inner = np.s_[half : half + shape[0], half : half + shape[1]]
    cells = np.ascontiguousarray(cells[inner])
    class_of = np.concatenate([[0], 1 + is_dead]).astype(np.uint8)
    calcein, iodide, height = (np.ascontiguousarray(light[inner]) for light in lights)
    return Scene(calcein, iodide, height, cells, class_of[cells])


def scatter(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return where cells lie, (n, 2) as y, x, in any order: a jittered grid with bare ground.

    Positions reach up to one `SIDE` beyond the shape, for a plane with that border.
    """
    rows, columns = (max(1, side // SPACING_PX + 1) for side in shape)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype(np.float64)
    x += 0.5 * (y % 2)  # hexagonal: distances are alike in every direction
    corners = np.stack([y, x], axis=1) + rng.normal(0, 0.3, (rows * columns, 2))
    # Small gaps between cells, and wide ones that leave whole patches empty.
    chance = 0.62 + 0.3 * np.tanh(1.6 * _waves(rows, columns, 2.2, rng))
    chance *= 0.5 + 0.5 * np.tanh(4 * (_waves(rows, columns, 5.0, rng) + 0.5))
    corners = (corners[rng.random(rows * columns) < chance.ravel()] * SPACING_PX).astype(np.int64)
    inside: NDArray[np.int64] = np.clip(corners + SIDE // 4, 0, shape)
    return rng.permutation(inside)


def _waves(rows: int, columns: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise of mean 0 and standard deviation 1."""
    smooth = cv2.GaussianBlur(rng.standard_normal((rows, columns)), (0, 0), sigma)
    waves: NDArray[np.float64] = (smooth - smooth.mean()) / max(float(smooth.std()), 1e-9)
    return waves

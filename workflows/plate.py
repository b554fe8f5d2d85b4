"""A synthetic live/dead plate: what a wide-field microscope might deliver, to try patchmill on.

Three channels per site, 16 bit, one file each, named like `A01_s1_w1.tif`: calcein (living cells),
propidium iodide (dead cells) and a slightly defocused bright field. A drug series runs over the
wells, from nearly all alive to nearly all dead. Uneven illumination, shot noise, read noise and
the camera's offset are there, because they are what a pipeline has to cope with.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from ..reader.errors import PatchmillError
from .plate_cells import SIDE, Cell, draw_cell
from .plate_light import develop, expose

#: What the number behind `_w` in a file's name stands for.
CHANNELS = {"1": "calcein", "2": "iodide", "3": "brightfield"}
#: The pattern that joins the files of a site, for a recipe.
PATTERN = r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"
WELLS = ("A01", "A02", "A03", "B01", "B02", "B03")
MICRONS_PER_PIXEL = 0.65
#: Distance of neighbouring cells where they grow densely, in pixels.
SPACING_PX = 38
SPRITES = 48


class PlateExistsError(PatchmillError, FileExistsError):
    """A plate would overwrite a file."""


def make_plate(
    folder: str | Path,
    *,
    wells: Sequence[str] = WELLS,
    sites: int = 1,
    shape: tuple[int, int] = (2700, 3600),
    seed: int = 0,
) -> list[Path]:
    """Write the images of a plate; the same seed gives the same pixels.

    Parameters
    ----------
    folder
        Made where it is missing.
    wells
        Their names; the share of dead cells rises from the first to the last.
    sites
        Fields of view per well.
    shape
        (y, x) of an image, in pixels.
    seed
        Of everything random.

    Returns
    -------
    list of Path
        The files, by well, site and channel.

    Raises
    ------
    PlateExistsError
        A file of that name is there; nothing is written then.
    """
    folder = Path(folder)
    fields = [(well, site) for well in wells for site in range(1, sites + 1)]
    paths = [folder / f"{well}_s{site}_w{w}.tif" for well, site in fields for w in CHANNELS]
    for path in paths:
        if path.exists():
            raise PlateExistsError(f"{path} exists; write the plate to another folder")
    folder.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(seed)
    living = [draw_cell(rng, alive=True) for _ in range(SPRITES)]
    dead = [draw_cell(rng, alive=False) for _ in range(SPRITES)]
    shares = np.repeat(dead_shares(len(wells)), sites)
    generators = rng.spawn(len(fields))

    def make_field(number: int) -> None:
        scene = grow(shape, living, dead, float(shares[number]), generators[number])
        for channel, light in enumerate(develop(scene)):
            counts = expose(light, generators[number])
            save(paths[number * len(CHANNELS) + channel], counts)

    # Two threads: NumPy's generators, OpenCV and zlib let go of the GIL.
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make_field, range(len(fields))))
    return paths


def dead_shares(wells: int) -> NDArray[np.float64]:
    """Return the share of dead cells in each well: a sigmoid, as over log doses.

    Examples
    --------
    >>> dead_shares(5).round(2).tolist()
    [0.06, 0.13, 0.48, 0.82, 0.89]
    """
    dose = np.linspace(-1, 1, wells) if wells > 1 else np.zeros(1)
    return 0.05 + 0.85 / (1 + np.exp(-4.5 * dose))


def grow(
    shape: tuple[int, int],
    living: Sequence[Cell],
    dead: Sequence[Cell],
    dead_share: float,
    rng: np.random.Generator,
) -> Cell:
    """Return a field full of cells: the planes of a cell, at the shape of an image."""
    # A border of half a cell, so that cells are cut by the image's edge as real ones are.
    planes = [np.zeros((shape[0] + SIDE, shape[1] + SIDE), np.float32) for _ in Cell._fields]
    corners = scatter(shape, rng)
    is_dead = rng.random(len(corners)) < dead_share
    brightness = rng.lognormal(0, 0.28, len(corners)).astype(np.float32)
    picks = rng.integers(0, SPRITES, len(corners))
    turns = rng.integers(0, 8, len(corners))
    for (y, x), gone, bright, pick, turn in zip(
        corners.tolist(), is_dead, brightness, picks, turns, strict=True
    ):
        cell = (dead if gone else living)[pick]
        gains = (bright, bright, np.float32(1))
        for plane, picture, gain in zip(planes, cell, gains, strict=True):
            turned = np.rot90(picture if turn < 4 else picture.T, turn)
            plane[y : y + SIDE, x : x + SIDE] += gain * turned
    half = SIDE // 2
    return Cell(*(plane[half : half + shape[0], half : half + shape[1]] for plane in planes))


def scatter(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return where cells lie, (n, 2) as y, x: a jittered grid with bare patches of ground.

    Positions reach up to one `SIDE` beyond the shape, for a plane with that border.
    """
    rows, columns = (max(1, side // SPACING_PX + 1) for side in shape)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype(np.float64)
    x += 0.5 * (y % 2)  # hexagonal: distances are alike in every direction
    corners = np.stack([y, x], axis=1) + rng.normal(0, 0.3, (rows * columns, 2))
    ground = cv2.GaussianBlur(rng.standard_normal((rows, columns)), (0, 0), 2.2)
    ground = (ground - ground.mean()) / max(float(ground.std()), 1e-9)
    chance = 0.62 + 0.3 * np.tanh(1.6 * ground)
    corners = (corners[rng.random(rows * columns) < chance.ravel()] * SPACING_PX).astype(np.int64)
    inside: NDArray[np.int64] = np.clip(corners + SIDE // 4, 0, shape)
    return inside


def save(path: Path, counts: NDArray[np.uint16]) -> None:
    """Write an image in strips, under another name until it is whole."""
    partial = path.with_name(path.name + ".part")
    tifffile.imwrite(
        partial,
        counts,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        predictor=True,
        maxworkers=1,
        metadata=None,
        software="patchmill demo, synthetic",
        resolution=(1e4 / MICRONS_PER_PIXEL, 1e4 / MICRONS_PER_PIXEL),
        resolutionunit="CENTIMETER",
    )
    partial.rename(path)

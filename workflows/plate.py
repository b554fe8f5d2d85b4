"""A synthetic live/dead plate: what a wide-field microscope might deliver, to try patchmill on.

Three channels per site, 16 bit, one file each, named like `A01_s1_w1.tif`: calcein (living cells),
propidium iodide (dead cells) and a slightly defocused bright field. A drug series runs over the
wells, from nearly all alive to nearly all dead. Uneven illumination, shot noise, read noise and
the camera's offset are there, because they are what a pipeline has to cope with. Living and dead
cells are as bright as each other in the bright field; they differ in texture and outline. What is
true of each pixel, which no microscope delivers, lies beside the images in `truth/`.
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
from .plate_cells import draw_cell
from .plate_light import develop, expose
from .plate_scene import grow

#: What the number behind `_w` in a file's name stands for.
CHANNELS = {"1": "calcein", "2": "iodide", "3": "brightfield"}
#: The pattern that joins the files of a site, for a recipe.
PATTERN = r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"
#: What the numbers of `truth/*_classes.png` stand for.
CLASSES = {0: "background", 1: "live", 2: "dead"}
WELLS = tuple(f"{row}{column:02}" for row in "ABC" for column in range(1, 5))
#: (y, x) of a field, in pixels.
SHAPE = (800, 1056)
MICRONS_PER_PIXEL = 0.65
SPRITES = 48


class PlateExistsError(PatchmillError, FileExistsError):
    """A plate would overwrite a file."""


def make_plate(
    folder: str | Path,
    *,
    wells: Sequence[str] = WELLS,
    sites: int = 6,
    shape: tuple[int, int] = SHAPE,
    seed: int = 0,
) -> list[Path]:
    """Write the images of a plate and the truth; the same seed gives the same pixels.

    The truth of a field are two PNGs in `truth/`: `A01_s1_classes.png` has one of `CLASSES` per
    pixel (uint8), `A01_s1_cells.png` the number of a cell from 1, or 0 (uint16).

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
        The images' files, by well, site and channel.

    Raises
    ------
    PlateExistsError
        A file of that name is there; nothing is written then.
    """
    folder = Path(folder)
    fields = [(well, site) for well in wells for site in range(1, sites + 1)]
    paths = [folder / f"{well}_s{site}_w{w}.tif" for well, site in fields for w in CHANNELS]
    for path in (*paths, folder / "truth"):
        if path.exists():
            raise PlateExistsError(f"{path} exists; write the plate to another folder")
    (folder / "truth").mkdir(parents=True)

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
        name = "{}_s{}".format(*fields[number])
        for kind, truth in (("classes", scene.classes), ("cells", scene.cells)):
            cv2.imwrite(str(folder / "truth" / f"{name}_{kind}.png"), truth)

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

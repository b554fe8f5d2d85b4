"""Centres of patches from a table: an image, x and y in each row, and what else it says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..tasks.resolution import is_known
from .candidates import KEPT
from .centres import EVERY_TIME, Centres
from .errors import RecipeError
from .globs import few
from .images import SurveyedImage
from .point_columns import index_column, index_name_problems, number_of
from .problems import describe
from .survey import Survey
from .text_table import TextTable, read_table

if TYPE_CHECKING:
    from .recipe import Recipe

_KEY = "patches.points"
_PLACE = ("image", "x", "y", "z", "t")
_NONE, _LEFT_OUT, _SEVERAL = -1, -2, -3


def point_centres(
    recipe: Recipe, surveyed: Survey
) -> tuple[list[Centres], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Read the table of points, and give each image its own.

    Its columns `x` and `y` are pixels of level 0, where whole numbers are the centres of pixels
    and the first is 0, or micrometres from the centre of the first pixel; `image` is the image's
    id, or the path or the name of a file of it. Where there are columns `z` (a plane, counted or
    in micrometres as x is) and `t` (the number of a time), they say the plane; where a cell is
    empty, every plane is meant. All other columns become columns of the index.

    Parameters
    ----------
    recipe
        With `patches.points`.
    surveyed
        Points of images that could not be read are left out.

    Returns
    -------
    centres
        Of each image, in the order of the table.
    names
        What numbers mean in columns of texts.
    notes
        How many points are of no image, where the recipe skips them.

    Raises
    ------
    RecipeError
        Where the table is none of points, or has points of no image, of several, or outside.
    """
    patches = recipe.patches
    table = read_table(recipe.resolve(str(patches.points)), _KEY)
    if lacking := [name for name in _PLACE[:3] if name not in table.names]:
        raise RecipeError(
            f"{_KEY}: {table.path} has no column {', '.join(lacking)}, it has "
            f"{', '.join(table.names)}; call the columns image, x and y"
        )
    images = surveyed.images
    others = [name for name in table.names if name not in _PLACE]
    channels = images[0].channels if images else ()
    if problems := index_name_problems(others, channels):
        raise RecipeError(describe(problems, f"{_KEY}: {table.path}"))
    of_image = _images(table, surveyed)
    notes = _check_images(table, of_image, skip=patches.points_missing == "skip")
    columns, names = _columns(table, others)
    place = _places(table)
    if patches.points_unit == "um":
        place = _in_pixels(table, place, of_image, images)
    _check_inside(table, place, of_image, images)
    order = np.argsort(of_image, kind="stable")
    edges = np.searchsorted(of_image[order], np.arange(len(images) + 1)).tolist()
    found = []
    for first, last in pairwise(edges):
        own = order[first:last]
        t = place["t"][own]
        found.append(
            Centres(
                t=np.where(np.isnan(t), EVERY_TIME, t).astype(np.int64),
                z=place["z"][own],
                y=place["y"][own],
                x=place["x"][own],
                reason=np.full(len(own), KEPT, np.uint8),
                columns={name: values[own] for name, values in columns.items()},
            )
        )
    return found, names, notes


def _cells(table: TextTable, name: str) -> list[str]:
    at = table.names.index(name)
    return [row[at] for row in table.rows]


def _images(table: TextTable, surveyed: Survey) -> NDArray[np.int64]:
    """Return the image of each row by its number, or why there is none."""
    ids: dict[str, int] = {}
    files: dict[str, int] = {}
    known = [(number, image.files) for number, image in enumerate(surveyed.images)]
    known += [(_LEFT_OUT, of_image) for of_image, _ in surveyed.failed]
    for number, of_image in known:
        ids[of_image.id] = number
        spelled = {file.relative for file in of_image.files}
        spelled |= {relative.rpartition("/")[2] for relative in spelled}
        for text in spelled:
            files[text] = number if files.get(text, number) == number else _SEVERAL
    # An id stands above the name of another image's file.
    numbers = files | ids
    return np.array([numbers.get(cell, _NONE) for cell in _cells(table, "image")], np.int64)


def _check_images(table: TextTable, of_image: NDArray[np.int64], skip: bool) -> tuple[str, ...]:
    for fault, text, mend in (
        (_SEVERAL, "files of several images are called so", "write the image's id"),
        (
            _NONE,
            "there is no such image",
            'write an image\'s id, or the path or the name of its file, or points_missing = "skip"',
        ),
    ):
        rows = np.flatnonzero(of_image == fault)
        if not rows.size:
            continue
        cells = _cells(table, "image")
        said = dict.fromkeys(f'"{cells[row]}" ({table.places[row]})' for row in rows.tolist())
        if fault == _NONE and skip:
            return (f"{_KEY}: {len(rows):,} points are of no image: {few(said, len(said))}",)
        raise RecipeError(f"{_KEY}: {table.path}: {text}: {few(said, len(said))}; {mend}")
    return ()


def _columns(
    table: TextTable, others: Sequence[str]
) -> tuple[dict[str, NDArray[np.generic]], dict[str, tuple[str, ...]]]:
    columns, names = {}, {}
    for name in others:
        try:
            columns[name], means = index_column(_cells(table, name))
        except ValueError as error:
            raise RecipeError(
                f'{_KEY}: {table.path}: the column "{name}" {error}; leave it out'
            ) from None
        if means is not None:
            names[name] = means
    return columns, names


def _places(table: TextTable) -> dict[str, NDArray[np.float64]]:
    """Return x, y, z and t of each row; z and t are NaN where they are not said."""
    found, odd = {}, []
    for name in _PLACE[1:]:
        if name not in table.names:
            found[name] = np.full(len(table.rows), np.nan)
            continue
        cells = _cells(table, name)
        values = [number_of(cell) if cell or name in "xy" else np.nan for cell in cells]
        for cell, value, where in zip(cells, values, table.places, strict=True):
            if value is None or (cell and not np.isfinite(value)):
                odd.append(f'{name} is "{cell}" in {where}')
            elif name == "t" and cell and value != int(value):
                odd.append(f"t is {cell} in {where}")
        found[name] = np.array([np.nan if value is None else value for value in values])
    if odd:
        raise RecipeError(
            f"{_KEY}: {table.path}: {few(odd, len(odd))}; write numbers, with a point, and t as "
            "a whole one"
        )
    return found


def _in_pixels(
    table: TextTable,
    place: Mapping[str, NDArray[np.float64]],
    of_image: NDArray[np.int64],
    images: Sequence[SurveyedImage],
) -> dict[str, NDArray[np.float64]]:
    """Return places that are given in micrometres in pixels of level 0."""
    sizes = np.array([image.voxel_um for image in images], np.float64).reshape(-1, 3)
    used = np.unique(of_image[of_image >= 0]).tolist()
    axes = [axis for axis in "zyx" if not np.isnan(place[axis]).all()]
    columns = ["zyx".index(axis) for axis in axes]
    unknown = [images[n].id for n in used if not is_known(sizes[n, columns].tolist())]
    if unknown:
        raise RecipeError(
            f'patches.points_unit: found "um", and the size of a pixel is not known for '
            f"{few(unknown, len(unknown))}; write images.voxel_um, or points in pixels"
        )
    found = dict(place)
    safe = np.maximum(of_image, 0)
    for axis, column in zip(axes, columns, strict=True):
        size = sizes[safe, column] if len(images) else np.ones(len(of_image))
        found[axis] = place[axis] / size
    return found


def _check_inside(
    table: TextTable,
    place: Mapping[str, NDArray[np.float64]],
    of_image: NDArray[np.int64],
    images: Sequence[SurveyedImage],
) -> None:
    shapes = np.array([image.shape for image in images], np.int64).reshape(-1, 5)
    rows = np.flatnonzero(of_image >= 0)
    for axis, number in {"x": 4, "y": 3, "z": 2, "t": 0}.items():
        lengths = shapes[of_image[rows], number]
        values = place[axis][rows]
        # A pixel reaches half a pixel to both sides of its centre.
        outside = rows[(values < -0.5) | (values >= lengths - 0.5)]
        if outside.size:
            said = [
                f"{axis} is {place[axis][row]:g} in {table.places[row]}, where "
                f"{images[of_image[row]].id} has 0 to {shapes[of_image[row], number] - 1}"
                for row in outside[:3].tolist()
            ]
            raise RecipeError(
                f"{_KEY}: {table.path}: {len(outside):,} points lie outside their image: "
                f"{'; '.join(said)}; they are pixels of the finest level, or micrometres with "
                'points_unit = "um"'
            )

"""The manifest: a table that lists the files, a row each, and what there is to say of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..reader.remote import is_remote
from .errors import RecipeError
from .globs import excluded_by, few
from .image_columns import ITEM, name_problems
from .places import Places, is_zarr
from .problems import Problem, describe, show
from .sections import PLANE_GROUPS
from .text_table import TextTable, read_table

if TYPE_CHECKING:
    from .recipe import Recipe

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_KEY = "images.manifest"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that the recipe names.

    Attributes
    ----------
    path
        Absolute, or a URL.
    relative
        To the recipe's folder, with forward slashes; a URL as it is.
    cells
        What the manifest says of it, in the order of `Listing.columns`.
    place
        Where it is listed, for errors: "line 7", or its own path where there is no manifest.
    """

    path: str
    relative: str
    cells: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files that a recipe names; `columns` are those of a manifest."""

    columns: tuple[str, ...]
    files: list[ListedFile]


def read_manifest(recipe: Recipe) -> Listing:
    """Read the manifest of a recipe that has one; look that its files are there, open none.

    Raises
    ------
    RecipeError
        That lists everything that is wrong, with lines.
    """
    table = read_table(recipe.resolve(recipe.images.manifest or ""), _KEY)
    name = f"{_KEY}: {table.path}"
    columns = tuple(column for column in table.names if column != "image")
    # Names that say which plane of which image a file is are no columns of the store.
    stored = [column for column in columns if column not in (*PLANE_GROUPS, "id", "split")]
    problems = name_problems(stored, (ITEM,))
    if "image" not in table.names:
        text = f"has the columns {', '.join(table.names)} and needs one called image, with paths"
        problems.insert(0, Problem("", text))
    if problems:
        raise RecipeError(describe(problems, name))
    files, problems = _files(recipe, table)
    if "mpp" in columns:
        problems += _mpp_problems(table)
    if problems:
        raise RecipeError(describe(problems, name))
    if not files:
        raise RecipeError(
            f"images.exclude: {show(list(recipe.images.exclude))} leaves none of the "
            f"{len(table.rows)} files of {table.path}; write narrower globs"
        )
    return Listing(columns, files)


def _files(recipe: Recipe, table: TextTable) -> tuple[list[ListedFile], list[Problem]]:
    at = table.names.index("image")
    place = Places(recipe.folder, table.path.parent)
    skip = excluded_by(recipe.images.exclude)
    files: dict[str, ListedFile] = {}
    empty: list[str] = []
    missing: list[str] = []
    folders: list[str] = []
    twice: list[str] = []
    for cells, line in zip(table.rows, table.places, strict=True):
        if not cells[at]:
            empty.append(line)
            continue
        path, relative = place(cells[at])
        if skip(relative):
            continue
        if (other := files.get(path)) is not None:
            twice.append(f"{cells[at]} in {other.place} and {line}")
            continue
        if not is_remote(path):
            if not _exists(path):
                missing.append(f"{cells[at]} ({line})")
            elif os.path.isdir(path) and not is_zarr(path):  # noqa: PTH112
                folders.append(f"{cells[at]} ({line})")
        files[path] = ListedFile(path, relative, (*cells[:at], *cells[at + 1 :]), line)
    back = any("\\" in text for text in missing)
    texts = (
        (empty, "image is empty", ", ", "write the path of a file"),
        (
            missing,
            "not there",
            ", ",
            "write forward slashes"
            if back
            else "mend the paths, which are relative to the manifest's folder",
        ),
        (folders, "folders, and no zarr images", ", ", "write a row for each file"),
        (twice, "listed twice", "; ", "leave one"),
    )
    problems = [
        Problem("", f"{len(found)} rows: {what}: {few(found, len(found), separator)}; {remedy}")
        for found, what, separator, remedy in texts
        if found
    ]
    return list(files.values()), problems


def _exists(path: str) -> bool:
    try:
        return os.path.exists(path)  # noqa: PTH110
    except ValueError:  # a NUL in it
        return False


def _mpp_problems(table: TextTable) -> Sequence[Problem]:
    at = table.names.index("mpp")
    wrong = [
        f'"{cells[at]}" ({line})'
        for cells, line in zip(table.rows, table.places, strict=True)
        if cells[at] and mpp_of(cells[at]) is None
    ]
    if not wrong:
        return ()
    text = f"{len(wrong)} rows: mpp is no number above 0: {few(wrong, len(wrong))}; write "
    return [Problem("", text + "micrometres per pixel with a point, such as 0.325, or nothing")]


def mpp_of(text: str) -> float | None:
    """Return micrometres per pixel, or None where the text is no number above 0.

    Examples
    --------
    >>> mpp_of("0.325"), mpp_of("0,325"), mpp_of("")
    (0.325, None, None)
    """
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    return value if 0 < value < float("inf") else None

"""Where the files lie that annotate images: by a template of a path, or by a column."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

from ..reader.remote import is_remote
from ..tasks.identity import identity_of
from ..tasks.image import ImageOptions
from ..tasks.source import SourceError
from .annotation_recipe import AnnotationBinding
from .column_faults import column_fault
from .errors import RecipeError
from .places import Places
from .problems import Problem

if TYPE_CHECKING:
    from .images import SurveyedImage

#: What a template may say of the first file of an image, beside the image's columns.
OF_FILE = ("folder", "stem", "name", "path", "id")
EXAMPLE = '"{folder}/../masks/{stem}_mask.png"'


class AnnotationPath(NamedTuple):
    """A file that annotates an image: its path, absolute or a URL, and as a store may keep it."""

    path: str
    relative: str


def read_template(value: object) -> str:
    """Read a path in which {folder}, {stem}, {well}, … stand for what an image has."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"write a path, such as {EXAMPLE}")
    try:
        parts = list(Formatter().parse(value))
    except ValueError as error:
        raise ValueError(f"{error}; write a path, such as {EXAMPLE}") from None
    for _, name, form, conversion in parts:
        if name == "" or form or conversion:
            raise ValueError(f"write names in braces and nothing else, as in {EXAMPLE}")
    return value


def place_problems(
    path: str | None, column: str | None, example: str, example_column: str
) -> list[Problem]:
    """Return what is wrong where not exactly one of a template and a column says the files."""
    if (path is None) != (column is None):
        return []
    found = "is missing" if path is None else "says where files are, as column does"
    text = f'{found}; write path = "{example}", or column = "{example_column}"'
    return [Problem("path", text)]


def template_paths(binding: AnnotationBinding, template: str) -> list[AnnotationPath]:
    """Return the file of each image that a template names.

    Raises
    ------
    RecipeError
        Where it has a name that images do not have.
    """
    place = Places(binding.recipe.folder, binding.recipe.folder)
    parts = list(Formatter().parse(template))
    return [_place(place, "".join(_filled(binding, image, parts))) for image in binding.images]


def column_paths(binding: AnnotationBinding, column: str) -> list[AnnotationPath | None]:
    """Return the file of each image that a column names; None where its cell is empty.

    Paths are relative to the folder of the manifest, or, where there is none, to that of the table
    of `[metadata]`, or to the recipe's.

    Raises
    ------
    RecipeError
        Where images have no such column.
    """
    recipe = binding.recipe
    tables = (recipe.images.manifest, recipe.metadata.table if recipe.metadata else None)
    bases = [recipe.resolve(table).parent for table in tables if table is not None]
    place = Places(recipe.folder, bases[0] if bases else recipe.folder)
    found: list[AnnotationPath | None] = []
    for image in binding.images:
        columns = dict(image.files.groups)
        if column not in columns:
            fault = column_fault(recipe.images, column, list(columns))
            raise RecipeError(f"{binding.key}.column: {fault}")
        found.append(_place(place, columns[column]) if columns[column] else None)
    return found


def are_there(paths: list[AnnotationPath], options: ImageOptions) -> list[bool]:
    """Return which files there are; those that may not be looked at are."""

    def is_there(own: AnnotationPath) -> bool:
        if not is_remote(own.path):
            # A name that no file can have names no file.
            return "\0" not in own.path and Path(own.path).exists()
        try:
            identity_of((own.path,), content=False, storage=options.storage)
        except SourceError as error:
            return not isinstance(error.__context__, FileNotFoundError)
        return True

    # A server, or a network file system, answers many questions at once faster than one by one.
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(is_there, paths))


def _filled(
    binding: AnnotationBinding,
    image: SurveyedImage,
    parts: list[tuple[str, str | None, str | None, str | None]],
) -> Iterator[str]:
    first = image.files.files[0].relative
    pure = PurePosixPath(first)
    folder = posixpath.dirname(first) if is_remote(first) else str(pure.parent)
    known = dict(image.files.groups) | dict(
        zip(OF_FILE, (folder, pure.stem, pure.name, first, image.id), strict=True)
    )
    for literal, name, _, _ in parts:
        yield literal
        if name is not None:
            if name not in known:
                have = ", ".join(f"{{{other}}}" for other in known)
                raise RecipeError(
                    f"{binding.key}.path: found {{{name}}}, which images do not have; they have "
                    f"{have}"
                )
            yield known[name]


def _place(place: Places, name: str) -> AnnotationPath:
    if is_remote(name):
        scheme, _, rest = name.partition("://")
        url = f"{scheme}://{posixpath.normpath(rest)}"
        return AnnotationPath(url, url)
    return AnnotationPath(*place(name))

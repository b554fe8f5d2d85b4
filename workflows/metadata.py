"""Joins a table to the images: a plate map with a row per well, or labels with a row per image."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RecipeError
from .globs import few
from .image_columns import name_problems, refuse_empty
from .problems import Problem, describe
from .sections import PLANE_GROUPS, MetadataRecipe
from .text_table import TextTable, read_table
from .wells import loosely, same_well

if TYPE_CHECKING:
    from .recipe import Recipe

Key = tuple[str, ...]
_KEY = "metadata.table"


@dataclass(frozen=True, slots=True)
class Joined:
    """Images with the columns of the table.

    Attributes
    ----------
    columns
        Those that the table adds, in its order.
    rows
        The columns of each image, those of the table included.
    unused
        Keys of the table's rows that no image has.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    unused: tuple[str, ...]


def metadata_columns(recipe: Recipe, taken: Collection[str]) -> tuple[str, ...]:
    """Return the names of the columns that the table adds; none without `[metadata]`.

    Parameters
    ----------
    taken
        Names of the images' own columns.

    Raises
    ------
    RecipeError
        When the table lacks a column of `metadata.on`, or has one that the images have already.
    """
    if recipe.metadata is None:
        return ()
    return _columns(_read(recipe, recipe.metadata), recipe.metadata, taken)


def join_metadata(recipe: Recipe, rows: Sequence[Mapping[str, str]]) -> Joined:
    """Join the table of `[metadata]` to images, by the columns of `metadata.on`.

    Parameters
    ----------
    recipe
        With `[metadata]`, settled.
    rows
        The columns of each image, its "id", and "item" where it is one of several in a file.

    Raises
    ------
    RecipeError
        When two rows of the table have one key, images have no row in it (but see
        `metadata.missing`), or a column that the recipe uses is empty for an image.
    """
    metadata = recipe.metadata
    if metadata is None:
        raise ValueError("the recipe has no [metadata]")
    table = _read(recipe, metadata)
    keyed = _by_key(table, metadata)
    known: set[str] = set().union(*(row.keys() for row in rows))
    if rows and (lacking := [name for name in metadata.on.values() if name not in known]):
        raise RecipeError(f"metadata.on: the images have no column {', '.join(lacking)}")
    columns = _columns(table, metadata, known)
    places = [table.names.index(name) for name in columns]
    nothing = dict.fromkeys(columns, "")
    joined: list[dict[str, str]] = []
    unmatched: dict[Key, int] = {}
    unused = dict.fromkeys(keyed)
    for row in rows:
        # Images that have a file for themselves have no item.
        key = tuple(row.get(name, "") for name in metadata.on.values())
        found = keyed.get(spelled := _spelled(key, metadata))
        if found is None:
            unmatched[key] = unmatched.get(key, 0) + 1
            joined.append({**row, **nothing})
            continue
        unused.pop(spelled, None)
        cells = table.rows[found]
        joined.append(
            {**row, **{name: cells[at] for name, at in zip(columns, places, strict=True)}}
        )
    if unmatched and metadata.missing == "raise":
        raise RecipeError(_unmatched(table, metadata, unmatched))
    refuse_empty(recipe, joined, columns)
    left = tuple(", ".join(_key(table, metadata, keyed[key])) for key in unused)
    return Joined(columns, joined, left)


def _read(recipe: Recipe, metadata: MetadataRecipe) -> TextTable:
    table = read_table(recipe.resolve(metadata.table), _KEY)
    if lacking := [name for name in metadata.on if name not in table.names]:
        near = {loosely(name): name for name in table.names}
        first = lacking[0]
        own = near.get(loosely(first), next(iter(table.names)))
        raise RecipeError(
            f"metadata.on: {table.path} has no column {', '.join(lacking)}, it has "
            f"{', '.join(table.names)}; where it is called otherwise there, write on = "
            f'{{ "{own}" = "{first}" }}'
        )
    return table


def _columns(table: TextTable, metadata: MetadataRecipe, taken: Collection[str]) -> tuple[str, ...]:
    columns = tuple(name for name in table.names if name not in metadata.on)
    problems = name_problems(columns, (*taken, *PLANE_GROUPS, "image", "item"))
    if problems:
        raise RecipeError(describe(problems, f"{_KEY}: {table.path}"))
    return columns


def _key(table: TextTable, metadata: MetadataRecipe, row: int) -> Key:
    return tuple(table.rows[row][table.names.index(name)] for name in metadata.on)


def _spelled(key: Key, metadata: MetadataRecipe) -> Key:
    """Return a key as it is compared: its well in one spelling, where the recipe names one."""
    if metadata.wells is None:
        return key
    names = metadata.on.values()
    return tuple(
        same_well(part) if name == metadata.wells else part
        for name, part in zip(names, key, strict=True)
    )


def _by_key(table: TextTable, metadata: MetadataRecipe) -> dict[Key, int]:
    """Return the row of each key."""
    keyed: dict[Key, int] = {}
    twice, empty = [], []
    for number in range(len(table.rows)):
        key = _key(table, metadata, number)
        if not all(key):
            empty.append(table.places[number])
        elif (first := keyed.setdefault(_spelled(key, metadata), number)) != number:
            other = _key(table, metadata, first)
            both = ", ".join(key) if key == other else f"{', '.join(other)} and {', '.join(key)}"
            twice.append(f"{both} in {table.places[first]} and {table.places[number]}")
    problems = []
    names = ", ".join(metadata.on)
    if empty:
        text = f"{names} must not be empty, see {few(empty, len(empty))}; fill it in"
        problems.append(Problem("", text))
    if twice:
        text = f"two rows have the same {names}: {few(twice, len(twice), '; ')}; leave one"
        problems.append(Problem("", text))
    if problems:
        raise RecipeError(describe(problems, f"{_KEY}: {table.path}"))
    return keyed


def _unmatched(table: TextTable, metadata: MetadataRecipe, unmatched: Mapping[Key, int]) -> str:
    """Return which images have no row, and what may be spelled differently."""
    names, images = ", ".join(metadata.on.values()), sum(unmatched.values())
    lacking = few((", ".join(key) or "(empty)" for key in unmatched), len(unmatched), "; ")
    text = f"{_KEY}: {table.path} has no row for {images} images, of {names}: {lacking}"
    every = (_key(table, metadata, number) for number in range(len(table.rows)))
    near = {tuple(map(loosely, key)): key for key in every}
    for key in unmatched:
        if (own := near.get(tuple(map(loosely, key)))) is None:
            continue
        parts = zip(metadata.on.values(), own, key, strict=True)
        differ = [(name, there, here) for name, there, here in parts if there != here]
        name, there, here = differ[0]
        text += f'. The table has "{there}" and the images "{here}"; write them alike'
        wells = all(same_well(there) == same_well(here) for _, there, here in differ)
        return f'{text}, or metadata.wells = "{name}"' if wells and len(differ) == 1 else text
    return f'{text}; add the rows, exclude the images, or write metadata.missing = "empty"'

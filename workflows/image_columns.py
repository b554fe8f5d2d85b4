"""The columns that describe images: which of them a recipe uses, and whether it can.

They come from the groups of the pattern, a manifest and a plate map, so that where there is one of
the latter two, names can only be checked once it was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .column_faults import column_fault, split_problems
from .errors import RecipeError
from .globs import few
from .problems import Problem, describe
from .sections import IMAGE_COLUMNS, SplitRecipe
from .values import name_fault

if TYPE_CHECKING:
    from .recipe import Recipe

#: What the core knows of every image, so that `metadata.on` may name it.
ALWAYS = ("id",)
#: The name of an image among several in one file; known once the file was opened.
ITEM = "item"


def settled(recipe: Recipe, columns: Collection[str]) -> Recipe:
    """Return the recipe with what the columns of a manifest say by their names.

    Where there is a manifest, a column `group` is `images.group` and a column `split` is
    `split.from`, unless the recipe has its own.

    Parameters
    ----------
    columns
        Of the images, as `Found.columns` has them.
    """
    if recipe.images.manifest is None:
        return recipe
    changes: dict[str, object] = {}
    if "group" in columns and not recipe.images.group:
        changes["images"] = recipe.images.model_copy(update={"group": ("group",)})
    if "split" in columns and recipe.split is None:
        changes["split"] = SplitRecipe.model_validate({"from": "split"})
    return recipe.model_copy(update=changes) if changes else recipe


def used_columns(recipe: Recipe) -> tuple[str, ...]:
    """Return the names that `images.group` and `[split]` use, which may not be empty anywhere."""
    names = [*recipe.images.group]
    if recipe.split is not None:
        of_split = (recipe.split.stratify, recipe.split.source)
        names += [name for name in of_split if name is not None]
    return tuple(dict.fromkeys(names))


def check_used(recipe: Recipe, columns: Sequence[str]) -> None:
    """Refuse a settled recipe that uses columns which the images do not have.

    Raises
    ------
    RecipeError
        That lists all of them.
    """
    problems = list(split_problems(recipe.images, recipe.split, columns))
    problems += [
        Problem("images.group", fault)
        for name in recipe.images.group
        if (fault := column_fault(recipe.images, name, columns))
    ]
    if recipe.metadata is not None:
        known = [*columns, *ALWAYS, ITEM]
        problems += [
            Problem(
                "metadata.on", f'{fault}; "id" is each image, "item" is one of several in a file'
            )
            for name in recipe.metadata.on.values()
            if name not in known and (fault := column_fault(recipe.images, name, columns))
        ]
    if problems:
        raise RecipeError(describe(problems, "the recipe"))


def name_problems(names: Sequence[str], taken: Collection[str]) -> list[Problem]:
    """Return what keeps names of a table's columns from being columns of `images/`.

    Parameters
    ----------
    taken
        Names that the images' columns from elsewhere have.
    """
    # A column is a folder of the store, and not every file system tells a from A.
    folded = {name.casefold(): name for name in (*IMAGE_COLUMNS, *taken)}
    if "split" not in names:
        folded["split"] = "split"
    problems = []
    for name in names:
        fault = name_fault(name)
        if name.startswith("__") or name.casefold() == "zarr.json":
            fault = "is a name that zarr keeps for itself"
        if other := folded.get(name.casefold()):
            fault = (
                "has the name of another column of images/"
                if other in (*IMAGE_COLUMNS, "split")
                else f'has the name of the column "{other}"'
            )
        folded[name.casefold()] = name
        if fault:
            problems.append(Problem("", f'the column "{name}" {fault}; call it otherwise'))
    return problems


def refuse_empty(recipe: Recipe, rows: Sequence[Mapping[str, str]], names: Collection[str]) -> None:
    """Refuse images that lack a value which the recipe uses.

    Parameters
    ----------
    recipe
        Settled.
    rows
        The columns of each image, with its "id".
    names
        The columns to look at.

    Raises
    ------
    RecipeError
        That names columns and images.
    """
    problems = []
    for name in used_columns(recipe):
        if name in names and (empty := [row["id"] for row in rows if not row[name]]):
            text = f'"{name}" is empty for {few(empty, len(empty))}, and the recipe uses it'
            problems.append(Problem("metadata.table", f"{text}; fill it in, or exclude the images"))
    if problems:
        raise RecipeError(describe(problems, "the recipe"))

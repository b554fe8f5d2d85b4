"""Which images a step's statistics are for, and which they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..reader.where import holds
from .column_faults import column_fault
from .errors import RecipeError
from .globs import few
from .image_lookup import lookup_of
from .step_recipe import Binding

if TYPE_CHECKING:
    from .images import SurveyedImage

#: What `from` says for images of every split.
EVERY = "all"


@dataclass(frozen=True)
class Sampling:
    """What statistics of a step are of.

    Attributes
    ----------
    scope
        "image" for each image by itself, "by" for each group, "all" for all together.
    by
        Columns of the images that make groups.
    where
        A condition on columns of the images, which names those that are measured.
    source
        Splits that statistics come from; `("all",)` for all there are.
    foreground
        Whether background is left out.
    regions
        Of each image; None for all of its pixels.
    """

    scope: str
    by: tuple[str, ...]
    where: str | None
    source: tuple[str, ...]
    foreground: bool
    regions: int | None


@dataclass(frozen=True)
class Group:
    """Images that have statistics in common.

    Attributes
    ----------
    values
        Of the columns that make groups, or of "id".
    images
        Those that the statistics are for, by number.
    measured
        Those that they come from.
    """

    values: Mapping[str, str]
    images: tuple[int, ...]
    measured: tuple[int, ...]


def splits_of(binding: Binding, sampling: Sampling) -> frozenset[int] | None:
    """Return the numbers of the splits that statistics come from; None for all.

    An image that is scaled by itself is in one split, whole, unless splits are of its blocks.

    Raises
    ------
    RecipeError
        Where there is no such split.
    """
    if sampling.source == (EVERY,) or (sampling.scope == "image" and binding.blocks is None):
        return None
    names = binding.split_names
    for name in sampling.source:
        if name not in names:
            raise RecipeError(
                f'{binding.key}.from: statistics come from the split "{name}", and the splits are '
                f'{", ".join(names)}; write which of them, such as from = ["{names[0]}"], or '
                'from = "all"'
            )
    return frozenset(names.index(name) for name in sampling.source)


def groups_of(binding: Binding, sampling: Sampling) -> list[Group]:
    """Return the groups, in the order of their first images.

    Raises
    ------
    RecipeError
        Where a column is none of the images', the condition is none, or no image of a group may
        be measured: then nothing is known of the others.
    """
    is_measured = _measured(binding, sampling)
    groups: dict[tuple[str, ...], list[int]] = {}
    columns = {"image": ("id",), "by": sampling.by, "all": ()}[sampling.scope]
    if sampling.scope == "by":
        _check_columns(binding, sampling.by)
    for number, image in enumerate(binding.images):
        own = {**dict(image.files.groups), "id": image.id}
        groups.setdefault(tuple(own.get(name, "") for name in columns), []).append(number)
    found = [
        Group(
            dict(zip(columns, values, strict=True)),
            tuple(numbers),
            tuple(number for number in numbers if is_measured[number]),
        )
        for values, numbers in groups.items()
    ]
    if unknown := [group for group in found if not group.measured]:
        raise RecipeError(_unseen(binding, sampling, unknown))
    return found


def _measured(binding: Binding, sampling: Sampling) -> NDArray[np.bool_]:
    """Return which images statistics may come from."""
    images = binding.images
    chosen = np.ones(len(images), bool)
    splits = splits_of(binding, sampling)
    if splits is not None and binding.blocks is None:
        chosen = np.isin(binding.image_splits, list(splits))
    elif splits is not None and binding.blocks is not None:
        chosen = np.array([np.isin(own, list(splits)).any() for own in binding.blocks])
    if sampling.where is not None:
        try:
            chosen &= holds(sampling.where, lookup_of(images))
        except ValueError as error:
            raise RecipeError(f"{binding.key}.{error}") from None
    return chosen


def _check_columns(binding: Binding, names: Sequence[str]) -> None:
    images = binding.images
    known = [*dict.fromkeys(name for image in images for name, _ in image.files.groups), "id"]
    for name in names:
        if fault := column_fault(binding.recipe.images, name, known):
            raise RecipeError(f"{binding.key}.by: {fault}")
        if empty := [image.id for image in images if name != "id" and not _has(image, name)]:
            raise RecipeError(
                f'{binding.key}.by: "{name}" is empty for {few(empty, len(empty))}; fill it in, '
                "or leave the images out"
            )


def _has(image: SurveyedImage, name: str) -> bool:
    return bool(dict(image.files.groups).get(name))


def _unseen(binding: Binding, sampling: Sampling, groups: Sequence[Group]) -> str:
    """Say which groups have nothing to measure."""
    named = [
        ", ".join(f"{name} = {value}" for name, value in group.values.items()) or "all"
        for group in groups
    ]
    lacks = []
    if splits_of(binding, sampling) is not None:
        lacks.append("is in " + " or ".join(f'"{name}"' for name in sampling.source))
    if sampling.where is not None:
        lacks.append(f"has {sampling.where}")
    key = {"image": "scope", "by": "by", "all": "where" if sampling.where else "from"}
    mend = ['from = "all"'] if splits_of(binding, sampling) is not None else []
    mend += ["a wider where"] if sampling.where is not None else []
    mend += ["a coarser by"] if sampling.scope == "by" else []
    return (
        f"{binding.key}.{key[sampling.scope]}: statistics are missing for "
        f"{few(named, len(named), '; ')}: no image of it {' and '.join(lacks)}; write "
        f"{' or '.join(mend)}, or leave those images out"
    )

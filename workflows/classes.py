"""A label for each patch: columns of `index/` that the reader balances and filters on.

They are made of what the cut has counted in the patch's own pixels, without border and padding, or
of a column of the images. Numbers stand for names; the largest of the type stands for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks.annotation import AnnotationField
from .annotation_recipe import IGNORE
from .classes_section import AnyClass, ColumnClassRecipe, MaskClassRecipe
from .column_faults import column_fault
from .errors import RecipeError
from .natural import natural_key
from .recipe import Recipe

#: Of records (`patchmill.tasks.records.record_dtype`), shape (n,), and the image of each row.
Values = Callable[[NDArray[Any], NDArray[np.int32]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ClassColumn:
    """A column of `index/`.

    Attributes
    ----------
    name, dtype
        Of the column.
    names
        What its numbers stand for; None where they are shares.
    values
        Makes it, any number of rows at a time.
    """

    name: str
    dtype: np.dtype[Any]
    names: tuple[str, ...] | None
    values: Values


def class_columns(
    recipe: Recipe, fields: Sequence[AnnotationField], images: Sequence[Mapping[str, str]]
) -> tuple[ClassColumn, ...]:
    """Return the columns that masks and tables [classes.NAME] make.

    For each class of each mask a column `fraction_MASK_CLASS`, the share of the patch's pixels, and
    `fraction_MASK_ignore`; these sum to 1. For each label map `objects_NAME`, how many of its
    objects a patch has at least a pixel of. Then one for each table, of its name.

    Parameters
    ----------
    recipe
        Settled.
    fields
        The masks and label maps.
    images
        The columns of each image, in the order of `images/`.

    Raises
    ------
    RecipeError
        Where a table names what there is not, or two columns have one name.
    """
    masks = {field.name.partition("/")[2]: field for field in fields if field.is_mask}
    columns = [column for mask in masks.values() for column in _fractions(mask)]
    columns += [_objects(field) for field in fields if not field.is_mask]
    for name, table in sorted(recipe.classes.items()):
        columns.append(_class_column(name, table, masks, images, recipe))
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(
            f"classes: two columns of index/ would be called {', '.join(twice)}; call a mask or a "
            "class otherwise"
        )
    return tuple(columns)


def _class_column(
    name: str,
    table: AnyClass,
    masks: Mapping[str, AnnotationField],
    images: Sequence[Mapping[str, str]],
    recipe: Recipe,
) -> ClassColumn:
    if isinstance(table, ColumnClassRecipe):
        return _of_column(name, table, images, recipe)
    key = f"classes.{name}"
    mask = masks.get(table.mask)
    if mask is None:
        raise RecipeError(
            f'{key}.mask: found "{table.mask}"; the masks are {", ".join(masks) or "none"}'
        )
    names = tuple(own for _, own in mask.classes)
    if unknown := [own for own in table.order if own not in names]:
        raise RecipeError(
            f'{key}.order: found "{unknown[0]}"; the classes of {table.mask} are {", ".join(names)}'
        )
    dtype = _number_type(len(names))
    return ClassColumn(name, dtype, names, partial(_of_mask, table, mask, dtype))


def _of_column(
    name: str, table: ColumnClassRecipe, images: Sequence[Mapping[str, str]], recipe: Recipe
) -> ClassColumn:
    key = f"classes.{name}"
    for image in images:
        if table.column not in image:
            fault = column_fault(recipe.images, table.column, list(image))
            raise RecipeError(f"{key}.column: {fault}")
    found = [image[table.column] for image in images]
    names = table.order or tuple(sorted({own for own in found if own}, key=natural_key))
    if unknown := sorted({own for own in found if own and own not in names}):
        raise RecipeError(
            f'{key}.order: the column "{table.column}" has "{unknown[0]}" too; add it, or leave '
            "order out"
        )
    dtype = _number_type(len(names))
    numbers = {own: number for number, own in enumerate(names)}
    of_images = np.array([numbers.get(own, none_of(dtype)) for own in found], dtype)
    return ClassColumn(name, dtype, names, lambda records, image: of_images[image])


def none_of(dtype: np.dtype[Any]) -> int:
    """Return the number that stands for no class."""
    return int(np.iinfo(dtype).max)


def _number_type(n: int) -> np.dtype[Any]:
    return np.min_scalar_type(n)  # as one more number stands for none


def _fractions(mask: AnnotationField) -> Iterator[ClassColumn]:
    def share(at: int, records: NDArray[Any], image: NDArray[np.int32]) -> NDArray[np.float32]:
        return fractions(records[mask.name]["counts"])[:, at]

    names = [*(name for _, name in mask.classes), IGNORE]
    for at, name in enumerate(names):
        column = f"fraction_{mask.name.partition('/')[2]}_{name}"
        yield ClassColumn(column, np.dtype(np.float32), None, partial(share, at))


def _objects(labels: AnnotationField) -> ClassColumn:
    def count(records: NDArray[Any], image: NDArray[np.int32]) -> NDArray[Any]:
        found: NDArray[Any] = records[labels.name]["objects"]
        return found

    name = f"objects_{labels.name.partition('/')[2]}"
    return ClassColumn(name, np.dtype(np.uint32), None, count)


def _of_mask(
    table: MaskClassRecipe,
    mask: AnnotationField,
    dtype: np.dtype[Any],
    records: NDArray[Any],
    image: NDArray[np.int32],
) -> NDArray[Any]:
    own = records[mask.name]
    numbers = [number for number, _ in mask.classes]
    if table.rule == "centre":
        found = centre(own["centre"], numbers)
    elif table.rule == "majority":
        found = majority(own["counts"])
    else:
        names = [name for _, name in mask.classes]
        background = names.index("background") if "background" in names else -1
        if background < 0 and 0 in numbers:
            background = numbers.index(0)
        order = [names.index(name) for name in table.order] or [
            at for at in range(len(names)) if at != background
        ]
        found = presence(own["counts"], order, table.min_fraction or 0.0, background)
    return np.where(found < 0, none_of(dtype), found).astype(dtype)


def fractions(counts: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the share of a patch's pixels that each class has, and the ignore value last.

    Parameters
    ----------
    counts
        Shape (n, classes + 1): pixels of each class, and of the ignore value.

    Returns
    -------
    shares
        float32, of the same shape; 0 where a patch has no pixels, as a void one.
    """
    total = counts.sum(1, keepdims=True, dtype=np.int64)
    shares: NDArray[np.float32] = (counts / np.maximum(total, 1)).astype(np.float32)
    return shares


def majority(counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the class that most annotated pixels have, the first of these where several are.

    Parameters
    ----------
    counts
        As in `fractions`.

    Returns
    -------
    classes
        int64, shape (n,): which class; -1 where no pixel is annotated.

    Examples
    --------
    >>> majority(np.array([[2, 5, 90], [3, 3, 0], [0, 0, 7]]))
    array([ 1,  0, -1])
    """
    annotated = counts[:, :-1]
    return np.where(annotated.any(1), annotated.argmax(1), -1)


def presence(
    counts: NDArray[np.integer[Any]], order: Sequence[int], min_fraction: float, otherwise: int
) -> NDArray[np.int64]:
    """Return the first class that has enough of a patch.

    Parameters
    ----------
    counts
        As in `fractions`.
    order
        The classes that are looked for, the first first.
    min_fraction
        The share of a patch's pixels that is enough.
    otherwise
        The class where none has, but for patches of which no pixel is annotated; -1 for none.

    Returns
    -------
    classes
        int64, shape (n,): which class; -1 for none.

    Examples
    --------
    >>> presence(np.array([[90, 8, 2, 0], [99, 0, 1, 0], [0, 0, 0, 9]]), [2, 1], 0.02, 0)
    array([ 2,  0, -1])
    """
    found = np.where(counts[:, :-1].any(1), otherwise, -1)
    # In whole pixels: a share in floats may miss its own limit.
    enough = np.ceil(min_fraction * counts.sum(1, dtype=np.int64) - 1e-9)
    for one in reversed(order):
        found[(counts[:, one] >= enough) & (counts[:, one] > 0)] = one
    return found


def centre(values: NDArray[np.integer[Any]], numbers: Sequence[int]) -> NDArray[np.int64]:
    """Return the class of the pixel in the middle of each patch.

    Parameters
    ----------
    values
        Shape (n,): its number in the mask.
    numbers
        Of the classes, ascending.

    Returns
    -------
    classes
        int64, shape (n,): which class; -1 where it has the ignore value.
    """
    at = np.searchsorted(numbers, values).clip(max=len(numbers) - 1)
    return np.where(np.array(numbers)[at] == values, at, -1)

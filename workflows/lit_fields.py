"""Which fields the light of images is estimated from: groups of them, and some drawn of each."""

from __future__ import annotations

from dataclasses import dataclass

from .chance import FIELDS, image_generator
from .errors import RecipeError
from .sampling import Group, Sampling, groups_of, splits_of
from .step_recipe import Binding


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    channels
        Their numbers.
    sampling
        Which images have light in common, and which of them it is estimated from.
    min_fields, max_fields
        Of a group.
    degree
        Of the profiles.
    """

    channels: tuple[int, ...]
    sampling: Sampling
    min_fields: int
    max_fields: int
    degree: int


@dataclass(frozen=True)
class Lit:
    """Images with one light.

    Attributes
    ----------
    name
        Such as "plate=p1"; "all" for all.
    images
        Their numbers.
    fields
        Of these, the ones that it is estimated from.
    shape
        (height, width) of each.
    """

    name: str
    images: tuple[int, ...]
    fields: tuple[int, ...]
    shape: tuple[int, int]


def group_fields(request: Request, binding: Binding) -> list[Lit]:
    """Return the groups of images, each with the fields that are drawn for it.

    Raises
    ------
    RecipeError
        Where one has too few fields, or fields of several sizes.
    """
    return [_lit(group, request, binding) for group in groups_of(binding, request.sampling)]


def _lit(group: Group, request: Request, binding: Binding) -> Lit:
    name = ",".join(f"{column}={value}" for column, value in group.values.items()) or "all"
    fields = list(group.measured)
    splits = splits_of(binding, request.sampling)
    if splits is not None:
        # Of an image whose blocks are in several splits, no field is of one of them alone.
        fields = [number for number in fields if int(binding.image_splits[number]) in splits]
    where = f"{binding.key}: " + ("there are" if name == "all" else f"the images of {name} have")
    if len(fields) < max(1, request.min_fields):
        hints = [f"min_fields = {len(fields)}, if they will do"] if fields else []
        hints += ['from = "all", to take those of every split'] if splits is not None else []
        raise RecipeError(
            f"{where} {len(fields)} fields to estimate the light from, and min_fields is "
            f"{request.min_fields}; write {', or '.join([*hints, 'a path of a reference in flat'])}"
        )
    shapes = {binding.images[n].source.kind.resolution.shape[1:] for n in group.images}
    if len(shapes) > 1:
        listed = " and ".join(f"{height} x {width}" for height, width in sorted(shapes))
        raise RecipeError(
            f"{where} fields of several sizes ({listed} pixels), which have no light in common; "
            "write by = [...] with a column that tells them apart, or leave some out"
        )
    (shape,) = shapes
    if min(shape) <= request.degree:
        raise RecipeError(
            f"{where} fields of {shape[0]} x {shape[1]} pixels, too small for degree = "
            f"{request.degree}"
        )
    if len(fields) > request.max_fields:
        seed = binding.recipe.seed
        drawn = sorted(
            (int(image_generator(seed, binding.images[n].id, FIELDS).random_raw()), n)
            for n in fields
        )
        fields = sorted(n for _, n in drawn[: request.max_fields])
    return Lit(name, group.images, tuple(fields), shape)

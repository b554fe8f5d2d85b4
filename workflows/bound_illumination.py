"""What an illumination step becomes: light that was given or estimated, checked and recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..tasks.reference import Reference, ReferenceImageError
from ..tasks.step_illumination import Illumination
from ..tasks.thumbnails import BLOCKS, shrink_dark, shrink_flat
from .errors import RecipeError
from .illumination import Light, estimate_light
from .illumination_picture import profile_picture
from .lit_fields import Lit, Request, group_fields
from .references import Given
from .step_recipe import Binding
from .window import result_of, run_windowed

#: For each image its step; and what a store says of them.
Found = tuple[list[Illumination], dict[str, Any]]


def bind_references(
    binding: Binding,
    numbers: Sequence[int],
    flats: Sequence[Given],
    darks: Sequence[float | Given],
    pedestal: float,
) -> Found:
    """Return the step of flat fields that were acquired: one for all images.

    Parameters
    ----------
    numbers
        Of the step's channels.
    flats, darks
        Of each of them.

    Raises
    ------
    RecipeError
        Where flat is not above dark everywhere, or a reference cannot be read.
    """
    names = [binding.channels[number] for number in numbers]
    shape = binding.images[0].source.kind.resolution.shape[1:]
    references = tuple(flat.reference for flat in flats)
    looks = _look(binding, shrink_flat, list(zip(references, _used(darks), strict=True)))
    flat_record = {}
    for name, flat, (blocks, below, mean) in zip(names, flats, looks, strict=True):
        path = flat.record["path"]
        if below:
            raise RecipeError(
                f"{binding.key}.flat: {below} of {shape[0] * shape[1]} pixels of {path} are not "
                f"above the dark ({name}), so what they saw is not known; write a flat that is lit "
                "everywhere, or another dark"
            )
        flat_record[name] = {**flat.record, "mean": mean}
        picture = profile_picture(blocks, shape, f"{name}: flat - dark of {path}")
        binding.pictures(f"illumination_{quote(name, safe='')}.png", picture)
    step = Illumination(references, _used(darks), pedestal)
    record = {"flat": flat_record, "dark": _said(names, darks), "pedestal": pedestal}
    return [step] * len(binding.images), record


def bind_estimates(
    binding: Binding, request: Request, darks: Sequence[float | Given], pedestal: float
) -> Found:
    """Return the step of each group of images, whose light is estimated from its fields.

    Raises
    ------
    PatchmillError
        Where fields are too few, cannot be read, or say too little.
    """
    names = [binding.channels[number] for number in request.channels]
    said = _said(names, darks)
    groups = group_fields(request, binding)
    blocks = _dark_blocks(binding, darks)
    lights = estimate_light(request, groups, blocks, list(said.values()), binding)
    described = {}
    steps: dict[int, Illumination] = {}
    for group, own in zip(groups, lights, strict=True):
        step = Illumination(tuple(light.fit.profile for light in own), _used(darks), pedestal)
        steps |= dict.fromkeys(group.images, step)
        described[group.name] = {
            "fields": len(group.fields),
            "channels": {name: _described(light) for name, light in zip(names, own, strict=True)},
        }
        for name, light in zip(names, own, strict=True):
            _keep_picture(binding, group, name, light)
    source = request.sampling.source
    record = {"flat": "estimate", "dark": said, "pedestal": pedestal, "from": list(source)}
    record |= {"where": request.sampling.where, "groups": described}
    return [steps[number] for number in range(len(binding.images))], record


def _used(darks: Sequence[float | Given]) -> tuple[float | Reference, ...]:
    return tuple(dark.reference if isinstance(dark, Given) else dark for dark in darks)


def _said(names: Sequence[str], darks: Sequence[float | Given]) -> dict[str, Any]:
    return {
        name: dark.record if isinstance(dark, Given) else dark
        for name, dark in zip(names, darks, strict=True)
    }


def _dark_blocks(
    binding: Binding, darks: Sequence[float | Given]
) -> list[float | NDArray[np.float32]]:
    """Return each dark as a number, or as means of blocks."""
    given = [(dark.reference,) for dark in darks if isinstance(dark, Given)]
    looks = _look(binding, shrink_dark, given)
    found: list[float | NDArray[np.float32]] = []
    for dark in darks:
        if not isinstance(dark, Given):
            found.append(dark)
            continue
        blocks, missing = next(looks)
        if missing:
            raise RecipeError(
                f"{binding.key}.dark: {missing} pixels of {dark.record['path']} are no finite "
                "numbers; mend it, or write counts"
            )
        found.append(blocks)
    return found


def _look(binding: Binding, task: Any, arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield what a task says of each reference, in order."""
    if not arguments:
        return
    found = {}
    with binding.connect() as client:
        for number, future in run_windowed(
            client, "reference", task, deque(range(len(arguments))), lambda n: arguments[n]
        ):
            try:
                found[number] = result_of(future, f"look at {arguments[number][0].path}")
            except ReferenceImageError as error:
                raise RecipeError(f"{binding.key}: {error}") from None
    yield from (found[number] for number in range(len(arguments)))


def _described(light: Light) -> dict[str, Any]:
    """Return what a store says of an estimate: enough to correct other images of this light."""
    fit = light.fit
    values = fit.profile.values((BLOCKS, BLOCKS))
    return {
        "used": fit.used,
        "empty": fit.empty,
        "saturated": fit.saturated,
        "residual": fit.residual,
        "sampling_error": light.error,
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "legendre": [list(row) for row in fit.profile.coefficients],
    }


def _keep_picture(binding: Binding, group: Lit, name: str, light: Light) -> None:
    values = light.fit.profile.values((BLOCKS, BLOCKS))
    title = f"{name}, {group.name}: light of {light.fit.used} fields"
    file = f"illumination_{quote(name, safe='')}_{quote(group.name, safe='=,')}.png"
    binding.pictures(file, profile_picture(values, group.shape, title))

"""Estimates the light of fields: thumbnails are made on the cluster, profiles fitted here."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ..tasks.profile import Profile
from ..tasks.source import SourceError
from ..tasks.thumbnails import BLOCKS, make_thumbnails
from .cache import Cache, option_values, source_key
from .errors import RecipeError
from .lit_fields import Lit, Request
from .profile_fit import Fit, fit_profile
from .step_recipe import Binding
from .window import result_of, run_windowed

#: Raised whenever the same fields may give another profile.
VERSION = 1
#: Images of which one task makes thumbnails.
BATCH_IMAGES = 4
#: A profile that halves of the fields do not agree on any better is none, relative.
MOST_ERROR = 0.2


@dataclass(frozen=True)
class Light:
    """What was found of one channel.

    Attributes
    ----------
    fit
        Of all fields.
    error
        Half of how far the profiles of two halves of the fields differ, relative, root of the mean
        square; None where a half says nothing.
    """

    fit: Fit
    error: float | None


_LIGHTS = TypeAdapter(list[Light | None])


def estimate_light(
    request: Request,
    groups: Sequence[Lit],
    darks: Sequence[float | NDArray[np.float32]],
    identity: Sequence[Any],
    binding: Binding,
) -> list[list[Light]]:
    """Return the light of each group, channel by channel: from the cache, or from thumbnails.

    Parameters
    ----------
    darks
        For each channel the dark offset: a number, or means of blocks.
    identity
        JSON values that stand for `darks`.

    Raises
    ------
    SourceError
        Where a field cannot be read and `images.on_error` is "raise".
    RecipeError
        Where too few fields have light, or do not agree.
    """
    cache = _cache(request, identity, binding)
    found: dict[int, list[Light | None]] = {}
    for number, group in enumerate(groups):
        if (lights := _known(cache.read(_key(group, binding)))) is not None:
            found[number] = lights
    unknown = {number: group for number, group in enumerate(groups) if number not in found}
    for number, fields, is_all in _thumbnails(request, unknown, binding):
        group = groups[number]
        found[number] = [
            _light(fields[:, channel] - dark, group.shape, request.degree)
            for channel, dark in enumerate(darks)
        ]
        if is_all:
            text = json.dumps([light and asdict(light) for light in found[number]])
            cache.write(_key(group, binding), text)
    return [
        [_checked(light, channel, group, request, binding) for channel, light in enumerate(lights)]
        for group, lights in ((groups[number], found[number]) for number in range(len(groups)))
    ]


def _cache(request: Request, identity: Sequence[Any], binding: Binding) -> Cache:
    asked = [request.channels, request.degree, binding.recipe.images.saturation, *identity]
    return Cache("illumination", [VERSION, option_values(binding.recipe.images.options), asked])


def _key(group: Lit, binding: Binding) -> list[Any]:
    return [source_key(binding.images[number].source) for number in group.fields]


def _known(text: bytes | None) -> list[Light | None] | None:
    try:
        return None if text is None else _LIGHTS.validate_json(text)
    except ValueError:
        return None  # cut short: estimated again


def _thumbnails(
    request: Request, groups: dict[int, Lit], binding: Binding
) -> Iterator[tuple[int, NDArray[np.float64], bool]]:
    """Yield each group with its thumbnails (n, c, y, x), and whether all could be read.

    A group's own are let go of before the next one's have come.
    """
    if not groups:
        return
    queue = deque(
        (number, start)
        for number, group in groups.items()
        for start in range(0, len(group.fields), BATCH_IMAGES)
    )
    recipe, tops = binding.recipe, _saturations(binding)
    held: dict[int, dict[int, NDArray[np.float32] | str]] = {number: {} for number in groups}

    def fields_of(item: tuple[int, int]) -> tuple[int, ...]:
        number, start = item
        return groups[number].fields[start : start + BATCH_IMAGES]

    def arguments(item: tuple[int, int]) -> tuple[object, ...]:
        fields = fields_of(item)
        sources = [binding.images[field].source for field in fields]
        own = [tops[field] for field in fields]
        return sources, recipe.images.options, request.channels, own

    with binding.connect() as client:
        for item, future in run_windowed(client, "illumination", make_thumbnails, queue, arguments):
            own, fields = held[item[0]], fields_of(item)
            what = f"thumbnail of {binding.images[fields[0]].id}"
            own.update(zip(fields, result_of(future, what), strict=True))
            if len(own) < len(groups[item[0]].fields):
                continue
            del held[item[0]]
            good = []
            for field in sorted(own):
                thumbnail = own[field]
                if not isinstance(thumbnail, str):
                    good.append(thumbnail)
                elif recipe.images.on_error == "raise":
                    raise SourceError(thumbnail, field)
                else:
                    binding.say(f"{binding.key}: a field is left out: {thumbnail}")
            if good:
                yield item[0], np.stack(good).astype(np.float64), len(good) == len(own)
            else:
                raise RecipeError(
                    f"{binding.key}: none of the fields of {groups[item[0]].name} can be read, so "
                    "their light is not known; mend them, or leave their images out"
                )


def _saturations(binding: Binding) -> list[float | None]:
    """Return at which value each image is saturated, None where neither recipe nor file says it."""
    # Of the recipe, which this is a part of.
    from .saturation import camera_tops

    recipe, images = binding.recipe, binding.images
    is_float = any(image.source.kind.dtype.kind == "f" for image in images)
    if is_float and recipe.images.saturation is None:
        return [None] * len(images)
    return [None if math.isnan(top) else top for top in camera_tops(recipe, images)]


def _light(fields: NDArray[np.float64], shape: tuple[int, int], degree: int) -> Light | None:
    fit = fit_profile(fields, shape, degree)
    if fit is None:
        return None
    halves = [fit_profile(fields[first::2], shape, degree) for first in range(2)]
    one, other = (None if half is None else _logarithm(half.profile) for half in halves)
    if one is None or other is None:
        return Light(fit, None)
    return Light(fit, float(np.sqrt(np.mean((one - other) ** 2)) / 2))


def _logarithm(profile: Profile) -> NDArray[np.float64]:
    return np.log(profile.values((BLOCKS, BLOCKS)).astype(np.float64))


def _checked(
    light: Light | None, channel: int, group: Lit, request: Request, binding: Binding
) -> Light:
    name = binding.channels[request.channels[channel]]
    where = f"{binding.key}: the light of {name}" + (
        f" for {group.name}" if group.name != "all" else ""
    )
    if light is None:
        raise RecipeError(
            f"{where} cannot be estimated: the {len(group.fields)} fields are empty or saturated; "
            "write a dark that is below their background, or give flat as a reference image"
        )
    fit = light.fit
    if fit.used < request.min_fields:
        raise RecipeError(
            f"{where} can be seen in {fit.used} of {len(group.fields)} fields ({fit.empty} are "
            f"empty or cannot be read, {fit.saturated} are saturated), and min_fields is "
            f"{request.min_fields}; write min_fields = {fit.used} if they will do"
        )
    if light.error is not None and light.error > MOST_ERROR:
        raise RecipeError(
            f"{where} is not known better than {light.error:.0%} from {fit.used} fields; take more "
            "of them, a smaller degree, or give flat as a reference image"
        )
    return light

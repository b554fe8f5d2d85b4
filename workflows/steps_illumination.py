"""The step of a recipe that takes uneven light out of acquired fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.step_illumination import MAX_HELD_BYTES
from .acquired import check_acquired
from .bound_illumination import bind_estimates, bind_references
from .errors import RecipeError
from .lit_fields import Request, group_fields
from .problems import Problem, refuse, show
from .references import by_channel, find_references
from .sampling import EVERY, Sampling
from .step_recipe import Binding, Bound
from .steps_background import PedestalRecipe
from .values import Limit, Texts

#: What `flat` says where light is found from the fields themselves.
ESTIMATE = "estimate"
#: Of a plane in float64, while a gain is made.
_MAKING_COPIES = 3
#: Keys that are of use with it alone.
_OF_ESTIMATES = ("by", "where", "source", "min_fields", "max_fields", "degree")
_FLAT_HINT = 'write "estimate", a path such as "flat_{channel}.tif", or a table of channels'
_DARK_HINT = 'write counts such as 100, a path such as "dark.tif", or a table of channels'


def read_flat(value: Any) -> Any:
    """Read "estimate", a path, or a table of channels to paths."""
    each = list(value.values()) if isinstance(value, Mapping) else [value]
    if not each or not all(isinstance(path, str) and path for path in each):
        raise ValueError(_FLAT_HINT)
    return value


def read_dark(value: Any) -> Any:
    """Read counts, a path, or a table of channels to these."""
    each = list(value.values()) if isinstance(value, Mapping) else [value]
    if not each or not all(map(_is_dark, each)):
        raise ValueError(_DARK_HINT)
    return value


def _is_dark(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class IlluminationRecipe(PedestalRecipe):
    """(raw - dark) / (flat - dark) * mean(flat - dark), before every other step."""

    name: Literal["illumination"]
    flat: Annotated[Any, BeforeValidator(read_flat)] = Field(description=_FLAT_HINT[6:])
    dark: Annotated[Any, BeforeValidator(read_dark)] = Field(description=_DARK_HINT[6:])
    by: Texts = ()
    where: str | None = Field(None, description="a condition on columns, such as \"role == 'x'\"")
    source: Texts = Field(("train",), alias="from", description='names of splits, or "all"')
    min_fields: Limit = 30
    max_fields: Limit = 400
    degree: Annotated[int, Field(strict=True, ge=1, le=8)] = Field(
        4, description="a whole number from 1 to 8"
    )
    max_field_px: Limit = 25_000_000
    allow_pyramids: Annotated[bool, Field(strict=True)] = Field(False, description="true or false")

    is_of_camera = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.flat != ESTIMATE:
            for name in _OF_ESTIMATES:
                field = type(self).model_fields[name]
                if getattr(self, name) != field.default:
                    text = (
                        f'is for flat = "{ESTIMATE}", and flat is {show(self.flat)}; leave it out'
                    )
                    problems.append(Problem(field.alias or name, text))
        if self.min_fields > self.max_fields:
            text = (
                f"found {self.min_fields}, and max_fields is {self.max_fields}; write a larger one"
            )
            problems.append(Problem("max_fields", text))
        refuse(problems)
        return self

    def halo_px(self, binding: Binding) -> int:
        """Return 0; what can be told of images before a pixel is read is told here, at the plan.

        Raises
        ------
        RecipeError
            Where the step does not stand in front, or images are no fields as they were acquired.
        """
        self._check_place(binding)
        check_acquired(binding, self.max_field_px, self.allow_pyramids)
        return 0

    def held_bytes(self, binding: Binding) -> int:
        """Return what gains and dark fields take, and what making one of them does."""
        shapes = {image.source.kind.resolution.shape[1:] for image in binding.images}
        plane = max(map(math.prod, shapes))
        kept = len(self.numbers(binding)) * plane * np.dtype(np.float32).itemsize
        if not isinstance(self.dark, float | int):
            kept *= 2
        making = _MAKING_COPIES * plane * np.dtype(np.float64).itemsize
        return min(kept, MAX_HELD_BYTES) + making

    def bytes_measured(self, binding: Binding) -> int:
        """Return the bytes of pixels that `bind` reads of images, unless it knows what they say.

        Raises
        ------
        RecipeError
            Where there are too few fields.
        """
        if self.flat != ESTIMATE:
            return 0
        request = self._request(binding)
        return sum(
            math.prod(group.shape)
            * len(request.channels)
            * binding.images[field].source.kind.dtype.itemsize
            for group in group_fields(request, binding)
            for field in group.fields
        )

    def bind(self, binding: Binding) -> Bound:
        """Find the light of each channel, given or estimated, and return what takes it out.

        Raises
        ------
        PatchmillError
            Where references do not fit the images, or fields say too little.
        """
        numbers = self.numbers(binding)
        names = [binding.channels[number] for number in numbers]
        flats: list[Any] = [None] * len(names)
        if self.flat != ESTIMATE:
            flats = by_channel(f"{binding.key}.flat", self.flat, names)
        darks = by_channel(f"{binding.key}.dark", self.dark, names)
        paths = [dark if isinstance(dark, str) else None for dark in darks]
        found = find_references(binding, {"flat": flats, "dark": paths}, numbers)
        given = [
            float(dark) if own is None else own
            for dark, own in zip(darks, found["dark"], strict=True)
        ]
        pedestal = self.pedestal_of(binding)
        if self.flat != ESTIMATE:
            flat = [own for own in found["flat"] if own is not None]
            steps, record = bind_references(binding, numbers, flat, given, pedestal)
        else:
            steps, record = bind_estimates(binding, self._request(binding), given, pedestal)
        own = {step: self.on_channels(step, binding) for step in steps}
        return Bound([own[step] for step in steps], record)

    @property
    def sampling(self) -> Sampling:
        """Which images have light in common, and which of them it is estimated from."""
        return Sampling(
            scope="by" if self.by else EVERY,
            by=self.by,
            where=self.where,
            source=self.source,
            foreground=False,
            regions=None,
        )

    def _request(self, binding: Binding) -> Request:
        numbers = self.numbers(binding)
        return Request(numbers, self.sampling, self.min_fields, self.max_fields, self.degree)

    def _check_place(self, binding: Binding) -> None:
        mine = set(self.numbers(binding))
        for other in binding.recipe.steps:
            if other is self:
                return
            if not isinstance(other, IlluminationRecipe):
                raise RecipeError(
                    f"{binding.key}: illumination is of the camera's own counts, and "
                    f'"{other.name}" comes before it; move it to the front'
                )
            if twice := mine & set(other.numbers(binding)):
                listed = ", ".join(binding.channels[number] for number in sorted(twice))
                raise RecipeError(
                    f"{binding.key}.channels: an earlier step has corrected {listed}; name the "
                    "others"
                )

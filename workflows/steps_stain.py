"""The step of a recipe that gives slides the stain of a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.pixel_measures import MeanAndDeviation, Measure
from ..tasks.step_stain import Lab, ToLab, ToReference
from .errors import RecipeError
from .measured_step import MeasuredRecipe
from .problems import Problem, refuse
from .step_recipe import Binding, Bound, with_step

#: Of a field of the slide TCGA-A2-A3XS-DX1, haematoxylin and eosin: Amgad et al. 2019, "Structured
#: crowdsourcing enables convolutional segmentation of histology images", Bioinformatics 35:3461; in
#: lαβ as the examples of HistomicsTK have them.
REFERENCE_MEAN: Lab = (8.74108109, -0.12440419, 0.0444982)
REFERENCE_STD: Lab = (0.6135447, 0.10989545, 0.0286032)


def read_lab(value: Any) -> Lab:
    """Read one number for each of l, α and β."""
    if isinstance(value, list | tuple) and len(value) == 3:
        l, a, b = value  # noqa: E741
        if all(
            isinstance(own, int | float) and not isinstance(own, bool) and math.isfinite(own)
            for own in value
        ):
            return float(l), float(a), float(b)
    raise ValueError("write three numbers, of l, alpha and beta, such as [8.74, -0.124, 0.0445]")


class StainRecipe(MeasuredRecipe):
    """Mean and deviation of the colours of an image become those of a reference."""

    name: Literal["stain"]
    method: Literal["reinhard"] = Field("reinhard", description='"reinhard"')
    mean: Annotated[Lab, BeforeValidator(read_lab)] = REFERENCE_MEAN
    std: Annotated[Lab, BeforeValidator(read_lab)] = REFERENCE_STD
    top: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = Field(
        None, description="the value of white in counts, such as 255"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_scope(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "scope" not in data and not data.get("by"):
            return {**data, "scope": "image"}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.scope == "patch":
            text = 'found "patch", whose few cells say little of the stain; write "image"'
            problems.append(Problem("scope", text))
        if min(self.std) <= 0:
            problems.append(Problem("std", "has numbers that are not above 0; write such"))
        refuse(problems)
        return self

    def measure(self) -> Measure:
        """Return mean and standard deviation."""
        return MeanAndDeviation()

    def mapping(self, binding: Binding) -> ToReference:
        """Return the mapping to the reference.

        Raises
        ------
        RecipeError
            Where the images are not RGB, or nothing says the value of white.
        """
        return ToReference(self.mean, self.std, self._top(binding))

    def bind(self, binding: Binding) -> Bound:
        """Measure the images in lαβ, and return what is done to each."""
        step = self.on_channels(ToLab(self._top(binding)), binding)
        images = tuple(with_step(image, step, binding.before_geometry) for image in binding.images)
        return super().bind(replace(binding, images=images))

    def _top(self, binding: Binding) -> float:
        numbers, names = self.numbers(binding), binding.channels
        if len(numbers) != 3:
            raise RecipeError(
                f"{binding.key}.channels: found {', '.join(names[n] for n in numbers)}; a stain is "
                "of red, green and blue, in this order; write these three"
            )
        if self.top is not None:
            return self.top
        dtype = binding.images[0].source.kind.dtype
        if dtype.kind != "u":
            raise RecipeError(
                f"{binding.key}.top: is missing, and images of {dtype} do not say what white is; "
                "write its value, such as 255"
            )
        return float(np.iinfo(dtype).max)

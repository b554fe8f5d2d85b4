"""Steps of a recipe that map intensities: to a range, to a mean and a deviation, by a curve."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.pixel_measures import Extremes, Largest, MeanAndDeviation, Measure, Percentiles
from ..tasks.step import Step
from ..tasks.step_curve import Clip, Gamma, Log
from ..tasks.step_scale import LessOffset, Mapping, ToRange, ToStandard
from .errors import RecipeError
from .measured_step import MeasuredRecipe
from .patches_section import Switch
from .problems import Problem, refuse, show
from .step_recipe import Binding, Bound, StepRecipe
from .steps_background import BackgroundRecipe, Number

Percent = Annotated[float, Field(strict=True, ge=0, le=100)]
Above0 = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

_BASES = {"e": math.e, "2": 2.0, "10": 10.0}


def read_range(value: Any) -> tuple[float, float]:
    """Read [low, high]: two numbers, the second above the first."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
        for end in value
    ):
        raise ValueError("write [low, high], such as [0, 1]")
    if not value[0] < value[1]:
        raise ValueError("write the lower number first, such as [0, 1]")
    return float(value[0]), float(value[1])


Range = Annotated[tuple[float, float], BeforeValidator(read_range)]


class ToRangeRecipe(MeasuredRecipe):
    """A step that maps two measured numbers to the ends of a range."""

    to: Range | None = Field(None, description="[low, high], such as [0, 1]")
    clip: Switch = Field(True, description="true or false")

    scales: ClassVar[bool] = True

    def mapping(self, binding: Binding) -> Mapping:
        """Return the mapping to `to`, by default all that an integer store holds, else 0 to 1."""
        return ToRange(*(self.to or _range_of(binding.patch.dtype)), self.clip)


class PercentileRecipe(ToRangeRecipe):
    """Two percentiles become the ends of a range."""

    name: Literal["percentile"]
    low: Percent = Field(0.1, description="a percentage from 0 to 100, such as 0.1")
    high: Percent = Field(99.9, description="a percentage from 0 to 100, such as 99.9")

    def measure(self) -> Measure:
        """Return the two percentiles."""
        return Percentiles((self.low, self.high), ("low", "high"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            text = f"found {show(self.low)} with high = {show(self.high)}; write low below high"
            refuse([Problem("low", text)])
        return self


class MinMaxRecipe(ToRangeRecipe):
    """The smallest and the largest value become the ends of a range."""

    name: Literal["min_max"]

    def measure(self) -> Measure:
        """Return the extremes."""
        return Extremes()


class MaxRecipe(ToRangeRecipe):
    """Zero and the largest value become the ends of a range."""

    name: Literal["max"]

    def measure(self) -> Measure:
        """Return the largest value."""
        return Largest()


class ZScoreRecipe(MeasuredRecipe):
    """The mean becomes 0, and the standard deviation 1."""

    name: Literal["z_score"]

    scales: ClassVar[bool] = True

    def measure(self) -> Measure:
        """Return mean and standard deviation."""
        return MeanAndDeviation()

    def mapping(self, binding: Binding) -> Mapping:
        """Return the mapping.

        Raises
        ------
        RecipeError
            Where the store cannot hold its results.
        """
        _require_fractions(binding, "values around 0 that are mostly between -3 and 3")
        return ToStandard()


class PercentileBackgroundRecipe(BackgroundRecipe, MeasuredRecipe):
    """A percentile of the pixels is subtracted."""

    method: Literal["percentile"]
    percentile: Percent = Field(1.0, description="a percentage from 0 to 100, such as 1")

    def measure(self) -> Measure:
        """Return the percentile."""
        return Percentiles((self.percentile,), ("value",))

    def mapping(self, binding: Binding) -> Mapping:
        """Return the mapping, with the pedestal."""
        return LessOffset(self.pedestal_of(binding))

    def bind(self, binding: Binding) -> Bound:
        """Return the step of each image, what was measured, and the pedestal."""
        bound = MeasuredRecipe.bind(self, binding)
        return Bound(bound.steps, bound.record | {"pedestal": self.pedestal_of(binding)})


class GammaRecipe(StepRecipe):
    """A range is mapped onto itself by a power."""

    name: Literal["gamma"]
    gamma: Above0 = Field(description="a number above 0, such as 0.5")
    range: Range | None = Field(None, description="[low, high], such as [0, 65535]")

    def step(self, binding: Binding) -> Step:
        """Return the step.

        Raises
        ------
        RecipeError
            Where nothing says the range.
        """
        dtype, images = binding.patch.dtype, binding.images[0].source.kind.dtype
        if self.range is None and (dtype.kind == "f" or dtype != images):
            raise RecipeError(
                f"{binding.key}.range: is missing, and a store of {dtype} made of {images} does "
                "not say between which values a pixel lies when it comes to this step; write "
                "it, such as range = [0, 1] after percentile"
            )
        return Gamma(self.gamma, *(self.range or _range_of(dtype)))


class ClipRecipe(StepRecipe):
    """What lies beyond two limits is put to them."""

    name: Literal["clip"]
    low: Number | None = Field(None, description="a number, such as 0")
    high: Number | None = Field(None, description="a number, such as 4095")

    def step(self, binding: Binding) -> Step:
        """Return the step."""
        return Clip(self.low, self.high)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low is None and self.high is None:
            refuse([Problem("low", "is missing, and so is high; write one of them, or both")])
        if self.low is not None and self.high is not None and not self.low < self.high:
            text = f"found {show(self.low)} with high = {show(self.high)}; write low below high"
            refuse([Problem("low", text)])
        return self


class LogRecipe(StepRecipe):
    """The logarithm of each pixel and an offset; what lies below 0 counts as 0."""

    name: Literal["log"]
    offset: Above0 = Field(1.0, description="a number above 0, such as 1")
    base: Literal["e", "2", "10"] = Field("e", description='"e", "2" or "10"')

    def step(self, binding: Binding) -> Step:
        """Return the step.

        Raises
        ------
        RecipeError
            Where the store cannot hold its results.
        """
        _require_fractions(binding, "logarithms, which are small")
        return Log(self.offset, _BASES[self.base])


def _range_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return what a store's type holds where it is of integers, else 0 to 1."""
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _require_fractions(binding: Binding, what: str) -> None:
    if binding.patch.dtype.kind != "f" and not binding.scales_later:
        raise RecipeError(
            f"{binding.key}: gives {what}, and a store of {binding.patch.dtype} would round them "
            'to whole numbers; write store.dtype = "float32", or a step behind it that maps to a '
            "range, such as percentile"
        )

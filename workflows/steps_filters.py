"""Steps of a recipe that filter: hot pixels, median, Gaussian, inversion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..tasks.step import Step
from ..tasks.step_filters import Gaussian, Invert, Median
from ..tasks.step_hot_pixels import HotPixels
from .errors import RecipeError
from .problems import Problem, refuse
from .step_recipe import Binding, Bound, StepRecipe
from .steps_background import Number

Above0 = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
NotBelow0 = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]

#: Of hot pixels, in widths of the noise.
_THRESHOLD = 8.0
#: A larger median takes seconds a patch; a background is found by an opening, on blocks.
MAX_MEDIAN_PX = 63
#: The same of a Gaussian, whose halo is four times this.
MAX_SIGMA_PX = 128


class HotPixelsRecipe(StepRecipe):
    """Hot and dead pixels of a camera become the median of their neighbours."""

    name: Literal["hot_pixels"]
    size_px: Literal[3, 5] = Field(3, description="3 or 5")
    threshold: Above0 | None = Field(None, description="a number above 0, such as 8")
    threshold_counts: Above0 | None = Field(None, description="counts above 0, such as 200")
    min_noise: NotBelow0 | None = Field(None, description="counts of at least 0, such as 1")

    is_of_camera = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.threshold_counts is not None:
            text = "is in widths of the noise, and threshold_counts in counts; leave one out"
            problems = [Problem("threshold", text)] if self.threshold is not None else []
            if self.min_noise is not None:
                text = "is for a threshold in widths of the noise; leave it out"
                problems.append(Problem("min_noise", text))
            refuse(problems)
        return self

    def step(self, binding: Binding) -> HotPixels:
        """Return the step; where pixels are whole numbers, the noise is a count at least."""
        least = self.min_noise
        if least is None:
            least = 1.0 if binding.images[0].source.kind.dtype.kind in "iu" else 0.0
        threshold = _THRESHOLD if self.threshold is None else self.threshold
        return HotPixels(self.size_px, threshold, least, self.threshold_counts)

    def bind(self, binding: Binding) -> Bound:
        """Return the step, and what it asks of a hot pixel."""
        steps = super().bind(binding).steps
        if self.threshold_counts is not None:
            return Bound(steps, {"threshold_counts": self.threshold_counts})
        step = self.step(binding)
        return Bound(steps, {"threshold": step.threshold, "min_noise": step.min_noise})


class MedianRecipe(StepRecipe):
    """Each pixel becomes the median of a square around it."""

    name: Literal["median"]
    size_px: Annotated[int, Field(strict=True, ge=3, le=MAX_MEDIAN_PX)] = Field(
        description=f"an odd number from 3 to {MAX_MEDIAN_PX}, such as 3"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size_px % 2 == 0:
            text = f"found {self.size_px}, and a square with a middle has an odd size; write "
            refuse([Problem("size_px", text + f"{self.size_px - 1} or {self.size_px + 1}")])
        return self

    def step(self, binding: Binding) -> Step:
        """Return the step."""
        return Median(self.size_px)


class GaussianRecipe(StepRecipe):
    """Each pixel becomes the mean of those around it, weighted by a Gaussian."""

    name: Literal["gaussian"]
    sigma_px: Annotated[float, Field(strict=True, ge=0.2, le=MAX_SIGMA_PX)] = Field(
        description=f"a number of pixels from 0.2 to {MAX_SIGMA_PX}, such as 1.5"
    )

    def step(self, binding: Binding) -> Step:
        """Return the step."""
        return Gaussian(self.sigma_px)


class InvertRecipe(StepRecipe):
    """Dark becomes bright, and bright dark."""

    name: Literal["invert"]
    top: Number | None = Field(None, description="counts that become 0, such as 255")

    def step(self, binding: Binding) -> Invert:
        """Return the step.

        Raises
        ------
        RecipeError
            Where nothing says what the brightest value is.
        """
        return Invert(self._top(binding) if self.top is None else self.top)

    def bind(self, binding: Binding) -> Bound:
        """Return the step, and the value that it takes for the brightest."""
        return Bound(super().bind(binding).steps, {"top": self.step(binding).top})

    def _top(self, binding: Binding) -> float:
        images, store = binding.images[0].source.kind.dtype, binding.patch.dtype
        saturation = binding.recipe.images.saturation
        if images.kind != "u" or store.kind != "u":
            why = f"images of {images} in a store of {store} have no brightest value"
        elif saturation is None:
            if images == store:
                return float(np.iinfo(store).max)
            why = f"the images are of {images}, and the store is of {store}"
        elif any(step.scales for step in binding.recipe.steps):
            why = f"images.saturation = {saturation} is no longer it once a step has scaled"
        else:
            return float(saturation)
        text = f"is missing, and {why}; write the value that becomes 0, such as top = 255"
        raise RecipeError(f"{binding.key}.top {text}")

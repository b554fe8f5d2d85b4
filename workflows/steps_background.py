"""Steps of a recipe that subtract a background, and the pedestal that they add back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..tasks.step import Step
from ..tasks.step_background import SubtractConstant, SubtractOpening
from .problems import Problem, refuse
from .step_recipe import Binding, Bound, StepRecipe

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

#: Counts that are added back where an unsigned store would clip the noise around zero.
PEDESTAL = 100.0
#: Where the recipe does not say how large blocks are, a radius is about so many of them.
_BLOCKS_OF_RADIUS = 8
#: An opening looks at so many blocks squared for each.
MAX_RADIUS_BLOCKS = 64


class PedestalRecipe(StepRecipe):
    """What steps that subtract have: a pedestal that they add back."""

    pedestal: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)] | None = Field(
        None, description="counts of at least 0, such as 100"
    )

    def pedestal_of(self, binding: Binding) -> float:
        """Return the counts that are added back: unless the recipe says so, where noise would clip.

        That is in an unsigned store, unless a later step maps pixels to a range.
        """
        if self.pedestal is not None:
            return self.pedestal
        return PEDESTAL if binding.patch.dtype.kind == "u" and not binding.scales_later else 0.0

    def bind(self, binding: Binding) -> Bound:
        """Return the step, and its pedestal."""
        return Bound(super().bind(binding).steps, {"pedestal": self.pedestal_of(binding)})


class BackgroundRecipe(PedestalRecipe):
    """What all methods have in common: the name."""

    name: Literal["background"]


class ConstantBackgroundRecipe(BackgroundRecipe):
    """One value, such as a camera's offset."""

    method: Literal["constant"]
    value: Number = Field(description="counts, such as 100")

    def step(self, binding: Binding) -> Step:
        """Return the step."""
        return SubtractConstant(self.value, self.pedestal_of(binding))


class _OpeningRecipe(BackgroundRecipe):
    """What openings have: a radius, and the blocks on which they are done."""

    radius_px: Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        description="a whole number of pixels, such as 50"
    )
    shrink: Annotated[int, Field(strict=True, ge=1)] = Field(
        description="a whole number of pixels, such as 4"
    )
    shrink_by: Literal["mean", "min"] = Field("mean", description='"mean" or "min"')

    @model_validator(mode="before")
    @classmethod
    def _default_shrink(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "shrink" not in data:
            radius = data.get("radius_px")
            blocks = radius // _BLOCKS_OF_RADIUS if isinstance(radius, int) else 1
            return {**data, "shrink": max(1, blocks)}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shrink > self.radius_px:
            text = f"found {self.shrink}, and a radius of {self.radius_px} is less than a block; "
            refuse([Problem("shrink", text + f"write at most {self.radius_px}")])
        if self.radius_px // self.shrink > MAX_RADIUS_BLOCKS:
            text = f"found {self.shrink}, and a radius of {self.radius_px} is more than "
            least = self.radius_px // (MAX_RADIUS_BLOCKS + 1) + 1
            text += f"{MAX_RADIUS_BLOCKS} blocks, which would take seconds a patch; write at least "
            refuse([Problem("shrink", f"{text}{least}")])
        return self

    def _subtract(self, height: float | None, binding: Binding) -> Step:
        pedestal = self.pedestal_of(binding)
        return SubtractOpening(self.radius_px, self.shrink, self.shrink_by, height, pedestal)


class OpeningBackgroundRecipe(_OpeningRecipe):
    """What lies below all that is narrower than a disc: a morphological opening."""

    method: Literal["opening"]

    def step(self, binding: Binding) -> Step:
        """Return the step."""
        return self._subtract(None, binding)


class RollingBallRecipe(_OpeningRecipe):
    """What a ball touches that is rolled below the image's landscape."""

    method: Literal["rolling_ball"]
    height: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)] | None = Field(
        None, description="counts above 0, such as 50"
    )

    def step(self, binding: Binding) -> Step:
        """Return the step; unless the recipe says so, the ball is as high as it is wide."""
        return self._subtract(self.radius_px if self.height is None else self.height, binding)

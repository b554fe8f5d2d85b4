"""The step of a recipe that crops windows to what is in them, and makes pictures of one size."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.step_content import Box, CropToContent, padded_size
from .errors import RecipeError
from .patches_section import Switch
from .problems import Problem, refuse, show
from .resized import check_resized
from .step_recipe import Binding, Bound, StepRecipe
from .values import Pair

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[int, Field(strict=True, ge=0)]

#: A box that is padded to the shape of the picture may have so many pixels.
MAX_PADDED = 1 << 26


def read_margins(value: Any) -> Box:
    """Read a margin: one number, [y, x], or for each of these [before, after]."""
    each = [value, value] if _is_length(value) else value
    if isinstance(each, list | tuple) and len(each) == 2:
        sides = [[one, one] if _is_length(one) else one for one in each]
        if all(
            isinstance(side, list | tuple) and len(side) == 2 and all(map(_is_length, side))
            for side in sides
        ):
            (top, bottom), (left, right) = sides
            return (top, bottom), (left, right)
    raise ValueError(
        "write [y, x] in whole pixels, such as [10, 13], or [[top, bottom], [left, right]]"
    )


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class CropToContentRecipe(StepRecipe):
    """Threshold, bounding box, noise to zero, pad to keep the aspect ratio, resize."""

    name: Literal["crop_to_content"]
    size: Pair = Field(description="[y, x] of the picture in pixels, such as [128, 128]")
    threshold: Number = Field(description="counts, such as 80")
    channel: str | None = Field(None, description="the name of the channel that decides")
    ignore_edge_px: Length = Field(0, description="a whole number of pixels, such as 5")
    margin_px: Annotated[Box, BeforeValidator(read_margins)] = ((0, 0), (0, 0))
    noise: Number | None = Field(None, description="counts, such as 28")
    fill: Number = Field(0.0, description="counts, such as 0")
    keep_aspect: Switch = Field(True, description="true or false")
    pad_px: Length = Field(0, description="a whole number of pixels, such as 16")
    interpolation: Literal["area", "linear", "cubic", "lanczos", "nearest"] = Field(
        "area", description='"area", "linear", "cubic", "lanczos" or "nearest"'
    )
    empty: Literal["raise", "blank", "whole"] = Field(
        "raise", description='"raise", "blank" or "whole"'
    )

    @property
    def output_size(self) -> tuple[int, int]:
        """(y, x) of the picture."""
        return self.size

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels:
            text = "all channels are cropped alike; write channel, which decides, or leave it out"
            refuse([Problem("channels", text)])
        return self

    def halo_px(self, binding: Binding) -> int:
        """Return 0; what does not fit is told here, while the run is planned.

        Raises
        ------
        RecipeError
            Where the step does not fit the images, or the steps after it.
        """
        check_resized(self, binding)
        self._channel(binding)
        _, height, width = binding.recipe.patches.size_zyx
        if 2 * self.ignore_edge_px >= min(height, width):
            raise RecipeError(
                f"{binding.key}.ignore_edge_px: found {self.ignore_edge_px}, which leaves nothing "
                f"of a window of {show([height, width])}; write a smaller one"
            )
        most, full = self._most_padded(height, width)
        if most > MAX_PADDED:
            raise RecipeError(
                f"{binding.key}.size: content padded to the shape of {show(list(self.size))} may "
                f"have {show(list(full))} px; write keep_aspect = false, or a size with a shape "
                "like that of the windows"
            )
        return 0

    def held_bytes(self, binding: Binding) -> int:
        """Return what a plane of content takes at most, as it is and padded."""
        most, _ = self._most_padded(*binding.recipe.patches.size_zyx[1:])
        return 2 * np.dtype(np.float32).itemsize * most

    def _most_padded(self, height: int, width: int) -> tuple[int, tuple[int, int]]:
        """Return the pixels and (y, x) of the largest padded box that a window may hold."""
        boxes = (height, 1), (1, width), (height, width)
        sizes = [padded_size(box, self.size, self.pad_px, self.keep_aspect) for box in boxes]
        return max((y * x, (y, x)) for y, x in sizes)

    def bind(self, binding: Binding) -> Bound:
        """Return the step, the same for all images."""
        step = CropToContent(
            channel=self._channel(binding),
            threshold=self.threshold,
            output_size=self.size,
            ignore_edge_px=self.ignore_edge_px,
            margin_px=self.margin_px,
            noise=self.noise,
            fill=self.fill,
            keep_aspect=self.keep_aspect,
            pad_px=self.pad_px,
            interpolation=self.interpolation,
            empty=self.empty,
        )
        return Bound([step] * len(binding.images), {"channel": binding.channels[step.channel]})

    def _channel(self, binding: Binding) -> int:
        names = binding.channels
        if self.channel is None and len(names) > 1:
            raise RecipeError(
                f"{binding.key}.channel is missing; write which one decides what is content: "
                f"{', '.join(names)}"
            )
        if self.channel is not None and self.channel not in names:
            raise RecipeError(
                f'{binding.key}.channel: found "{self.channel}"; the channels are '
                f"{', '.join(names)}"
            )
        return 0 if self.channel is None else names.index(self.channel)

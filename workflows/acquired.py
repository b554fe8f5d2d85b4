"""Whether images are fields as a camera acquired them, which alone have one light."""

from __future__ import annotations

from .errors import RecipeError
from .step_recipe import Binding


def check_acquired(binding: Binding, max_field_px: int, allow_pyramids: bool) -> None:
    """Refuse images that look as if they were stitched: too large for a camera, or pyramids.

    Raises
    ------
    RecipeError
        That names the first of them.
    """
    for image in binding.images:
        height, width = image.shape[3:]
        level = image.source.kind.resolution.level
        if height * width > max_field_px:
            raise RecipeError(
                f"{binding.key}: {image.id} has {height} x {width} pixels, which looks like a "
                "stitched image, and those have the light of many fields; leave the step out, or "
                f"write max_field_px = {height * width} if it is one field of a camera"
            )
        if level > 0:
            raise RecipeError(
                f"{binding.key}: level {level} of {image.id} is cut, and light is of the camera's "
                "own pixels; cut level 0, or leave the step out"
            )
        if len(image.levels) > 1 and not allow_pyramids:
            raise RecipeError(
                f"{binding.key}: {image.id} is a pyramid of {len(image.levels)} levels, as "
                "stitched images are, and those have the light of many fields; leave the step out, "
                "or write allow_pyramids = true if it is one field of a camera"
            )

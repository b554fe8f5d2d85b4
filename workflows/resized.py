"""What a recipe must be like where a step makes a picture of another size out of a window."""

from __future__ import annotations

from dataclasses import replace

from .errors import RecipeError
from .measured_step import MeasuredRecipe
from .step_recipe import Binding, StepRecipe


def check_resized(recipe: StepRecipe, binding: Binding) -> None:
    """Refuse a recipe in which something needs to know where a pixel lies that has been moved.

    Parameters
    ----------
    recipe
        The step that makes the picture.
    binding
        Of that step.

    Raises
    ------
    RecipeError
        Where the step is for some of the channels, or something after it reads pixels around each,
        or looks at windows that are no patches.
    """
    own = f"{binding.key} ({recipe.name})"
    if recipe.channels:
        raise RecipeError(
            f"{binding.key}.channels: found {', '.join(recipe.channels)}; all channels change "
            "their size together; leave it out"
        )
    if binding.before_geometry:
        raise RecipeError(
            f"{binding.key}: makes a picture of another size, and planes are projected and pixels "
            'rescaled after it; move it behind name = "geometry"'
        )
    steps = binding.recipe.steps
    number = next(n for n, step in enumerate(steps) if step is recipe)
    for later, step in enumerate(steps[number + 1 :], number + 1):
        if step.halo_px(replace(binding, key=f"steps[{later}]")):
            raise RecipeError(
                f"steps[{later}]: {step.name} reads pixels around each, and {own} has made "
                f"pictures with nothing around them; move it before {binding.key}"
            )
        is_measured = isinstance(step, MeasuredRecipe) and step.scope != "patch"
        if is_measured and binding.recipe.patches.at != "grid":
            raise RecipeError(
                f"steps[{later}].scope: statistics are of windows on the grid, and {own} makes "
                f'pictures of windows at "{binding.recipe.patches.at}"; write scope = "patch", or '
                f"move it before {binding.key}"
            )

"""Binds the steps of a recipe to its images, one after another: what each needs is gathered first.

A step is of what enters it: it is bound when those before it are, and may run them over images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..tasks.patches import PatchSpec
from ..tasks.region_windows import cell_px
from .images import SurveyedImage
from .peak import Stepping
from .planned import Plan
from .recipe import Recipe
from .step_recipe import Binding, StepRecipe, with_step
from .steps_section import GeometryRecipe
from .survey import Connect


def bind_steps(
    planned: Plan,
    connect: Connect,
    say: Callable[[str], object] = lambda sentence: None,
    pictures: Callable[[str, bytes], object] = lambda name, data: None,
) -> Plan:
    """Return the plan with everything that its images go through.

    Parameters
    ----------
    connect
        Opens the cluster, where a step needs to look at pixels.
    say
        Takes sentences for the user.
    pictures
        Takes the name and the bytes of PNGs that shall be kept.

    Raises
    ------
    PatchmillError
        Where a step does not fit the images, or one of them cannot be read.
    """
    records = []
    images = planned.images
    for step, binding in _planned_bindings(planned):
        bound = step.bind(
            replace(binding, images=images, connect=connect, say=say, pictures=pictures)
        )
        records.append({"name": step.name, **bound.record})
        images = tuple(
            with_step(image, own, binding.before_geometry)
            for image, own in zip(images, bound.steps, strict=True)
        )
    return replace(planned, images=images, steps=tuple(records))


def bytes_measured(planned: Plan) -> tuple[tuple[str, int], ...]:
    """Return the name of each step that looks at images first, and the bytes that it reads.

    Raises
    ------
    RecipeError
        Where there is not what a step needs.
    """
    found = [(step, step.bytes_measured(binding)) for step, binding in _planned_bindings(planned)]
    return tuple((step.name, nbytes) for step, nbytes in found if nbytes)


def _planned_bindings(planned: Plan) -> Iterator[tuple[StepRecipe, Binding]]:
    for step, binding in bindings(planned.recipe, planned.images, planned.patch):
        yield (
            step,
            replace(
                binding,
                split_names=planned.splits.names,
                image_splits=planned.image_splits,
                blocks=planned.blocks,
            ),
        )


def bindings(
    recipe: Recipe, images: tuple[SurveyedImage, ...], patch: PatchSpec
) -> Iterator[tuple[StepRecipe, Binding]]:
    """Yield each step with what is known of the run while it is planned."""
    before = _before_geometry(recipe)
    for number, step in enumerate(recipe.steps):
        if not isinstance(step, GeometryRecipe):
            yield (
                step,
                Binding(
                    key=f"steps[{number}]",
                    recipe=recipe,
                    images=images,
                    patch=patch,
                    before_geometry=number < before,
                    scales_later=any(later.scales for later in recipe.steps[number + 1 :]),
                ),
            )


def stepping(
    recipe: Recipe, images: tuple[SurveyedImage, ...], patch: PatchSpec
) -> Stepping | None:
    """Return what steps take of memory; None where there are none."""
    steps = list(bindings(recipe, images, patch))
    if not steps:
        return None
    after = [(step, step.halo_px(own)) for step, own in steps if not own.before_geometry]
    of_patch = [number for number, (step, _) in enumerate(after) if step.is_of_patch]
    first = of_patch[0] if of_patch else len(after)
    patches = recipe.patches
    spread = [
        (cell - 1) // stride * stride if patches.at == "grid" else cell
        for cell, stride in zip(map(cell_px, patch.size[1:]), patches.stride_zyx[1:], strict=True)
    ]
    return Stepping(
        halo_px=sum(halo for _, halo in after),
        of_patch_px=sum(halo for _, halo in after[first:]),
        spread_px=(spread[0], spread[1]),
        is_before=len(after) < len(steps),
        held_bytes=sum(step.held_bytes(own) for step, own in steps),
    )


def _before_geometry(recipe: Recipe) -> int:
    """Return how many steps work on the pixels of the level.

    Those before the step "geometry"; without it those of the camera at the beginning. None where
    planes are not projected and pixels not rescaled, because there it makes no difference.
    """
    patches, steps = recipe.patches, recipe.steps
    rescales = patches.mpp is not None or patches.voxel_um is not None
    if not (rescales or patches.project_z or patches.project_t):
        return 0
    for number, step in enumerate(steps):
        if isinstance(step, GeometryRecipe):
            return number
    of_camera = [step.is_of_camera for step in steps]
    return of_camera.index(False) if False in of_camera else len(steps)

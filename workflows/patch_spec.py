"""What every patch of a recipe is: its size, type, border, and what steps read around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numcodecs.blosc import MAX_BUFFERSIZE

from ..tasks.patches import PatchSpec
from .bound_steps import bindings
from .errors import RecipeError
from .images import SurveyedImage
from .kinds import store_dtype
from .recipe import Recipe


def patch_spec(recipe: Recipe, images: Sequence[SurveyedImage], most_rows: int) -> PatchSpec:
    """Return what every patch is.

    Parameters
    ----------
    images
        Of one kind.
    most_rows
        How many patches there are at most: a shard has no room for more.

    Raises
    ------
    RecipeError
        Where the store's type, what pads it, or a step does not fit the images.
    """
    patches, dtype = recipe.patches, store_dtype(recipe, images)
    _check_pad(recipe, dtype)
    patch = PatchSpec(
        channels=len(images[0].channels),
        size=patches.size_zyx,
        dtype=dtype,
        pad=patches.pad,
        codec=recipe.store.codec,
        level=recipe.store.level,
        rows_per_shard=1,
        margin_px=patches.margin_px,
        is_3d=patches.is_3d,
        project_z=patches.project_z,
        project_t=patches.project_t,
        output_size=_output_size(recipe),
    )
    if patch.nbytes > MAX_BUFFERSIZE:
        raise RecipeError(
            f"patches.size: a patch of {list(patch.shape)} holds {patch.nbytes} bytes, and "
            f"a chunk at most {MAX_BUFFERSIZE}; write a smaller size"
        )
    halo_px = sum(step.halo_px(binding) for step, binding in bindings(recipe, tuple(images), patch))
    rows_per_shard = max(1, min(recipe.store.shard_bytes // patch.nbytes, most_rows))
    return replace(patch, rows_per_shard=rows_per_shard, halo_px=halo_px)


def _output_size(recipe: Recipe) -> tuple[int, int] | None:
    """Return (y, x) of what is stored, where a step makes another size of a window.

    Raises
    ------
    RecipeError
        Where it is not the last step that needs to know where a pixel lies, or where the window
        has a border.
    """
    sizes = [(n, step) for n, step in enumerate(recipe.steps) if step.output_size is not None]
    if not sizes:
        return None
    number, step = sizes[0]
    if len(sizes) > 1:
        raise RecipeError(
            f"steps[{sizes[1][0]}]: a second step that changes the size; leave one out"
        )
    if recipe.patches.margin_px:
        raise RecipeError(
            f"patches.margin_px: {step.name} makes a picture of its own, which has no border; "
            "leave margin_px out"
        )
    for kind, tables in (("masks", recipe.masks), ("labels", recipe.labels)):
        if tables:
            raise RecipeError(
                f"{kind}: {step.name} moves pixels, which masks and label maps do not follow; "
                f"leave {kind} or steps[{number}] out"
            )
    return step.output_size


def _check_pad(recipe: Recipe, dtype: np.dtype[Any]) -> None:
    pad = recipe.patches.pad
    if isinstance(pad, str) or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if pad != int(pad) or not limits.min <= pad <= limits.max:
        raise RecipeError(
            f"patches.pad: {dtype} cannot hold {pad}; write a whole number from {limits.min} to "
            f"{limits.max}"
        )

"""One kind of image: a store has one type and one set of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reader.errors import PatchmillError
from .dtypes import is_widening
from .errors import RecipeError
from .files import ImageFiles
from .images import SurveyedImage
from .resolutions import check_mixture
from .survey import Survey

if TYPE_CHECKING:
    from .recipe import Recipe

#: Failures that an error lists before it only counts them.
MAX_LISTED = 10


def check_kinds(recipe: Recipe, surveyed: Survey) -> Survey:
    """Leave images of one kind: the same channels and type.

    Where the recipe states the kind, an image of another kind is that image's fault; else a
    mixture is nobody's, and an error.

    Raises
    ------
    PatchmillError
        Where images cannot be used and `images.on_error` is "raise"; or of several kinds.
    """
    stated = recipe.images.dtype
    images: list[SurveyedImage] = []
    failed = list(surveyed.failed)
    for image in surveyed.images:
        if stated is not None and image.source.kind.dtype != np.dtype(stated):
            reason = f"is {image.source.kind.dtype}, and images.dtype is {stated}"
            failed.append((image.files, reason))
        else:
            images.append(image)
    if failed and recipe.images.on_error == "raise":
        raise PatchmillError(_failure_text(failed, len(images) + len(failed)))
    kinds: dict[tuple[str, tuple[str, ...]], list[SurveyedImage]] = {}
    for image in images:
        dtype = "" if recipe.store.dtype else str(image.source.kind.dtype)
        kinds.setdefault((dtype, image.channels), []).append(image)
    if len(kinds) > 1:
        lines = [
            f"  {len(alike)} of {dtype or 'any type'} with channels {', '.join(channels)}, "
            f"for instance {alike[0].id}"
            for (dtype, channels), alike in kinds.items()
        ]
        raise RecipeError(
            "images.paths: the images are of several kinds, and a store holds one:\n"
            + "\n".join(lines)
            + "\nnarrow images.paths, state images.dtype and images.channels, or permit a "
            "widening without loss with store.dtype"
        )
    check_mixture(recipe.patches, images)
    return replace(surveyed, images=tuple(images), failed=tuple(failed))


def _failure_text(failed: Sequence[tuple[ImageFiles, str]], total: int) -> str:
    """Say which images cannot be cut, and what to do."""
    lines = [f"  {files.id}: {reason}" for files, reason in failed[:MAX_LISTED]]
    if len(failed) > MAX_LISTED:
        lines.append(f"  and {len(failed) - MAX_LISTED} more")
    return "\n".join(
        [
            f"{len(failed)} of {total} images cannot be used:",
            *lines,
            'mend them, leave them out with images.exclude, or write images.on_error = "skip"',
        ]
    )


def store_dtype(recipe: Recipe, images: Sequence[SurveyedImage]) -> np.dtype[Any]:
    """Return the type of the store's patches; without steps, values are never rescaled.

    Raises
    ------
    RecipeError
        Where `store.dtype` cannot hold every value of the images.
    """
    if recipe.store.dtype is None:
        return images[0].source.kind.dtype
    wanted = np.dtype(recipe.store.dtype)
    if recipe.steps:
        return wanted
    for image in images:
        if not is_widening(str(image.source.kind.dtype), str(wanted)):
            raise RecipeError(
                f"store.dtype: {wanted} cannot hold every value of {image.source.kind.dtype} "
                f"({image.id}); write {image.source.kind.dtype}, or a wider type"
            )
    return wanted

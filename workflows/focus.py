"""Finds the plane of each image that is in focus: on the cluster, or from the cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..tasks.sharpest import find_sharpest
from ..tasks.source import ImageSource
from .cache import FocusCache
from .errors import RecipeError
from .images import SurveyedImage, one_plane
from .survey import Connect, Survey
from .window import result_of, run_windowed

if TYPE_CHECKING:
    from .recipe import Recipe

#: Images that one task looks at.
BATCH_IMAGES = 4


def focus_images(recipe: Recipe, surveyed: Survey, connect: Connect) -> Survey:
    """Leave of each image the plane that is in focus.

    Parameters
    ----------
    recipe
        With `patches.z = "focus"`, and `patches.focus`.
    surveyed
        Of one kind.
    connect
        Called only where something is not known from an earlier run.

    Raises
    ------
    RecipeError
        Where the channel that says the focus is not named, or is none of the images'.
    """
    images = surveyed.images
    if not images:
        return surveyed
    looked_at = _channels(recipe, images[0].channels)
    found = _look(recipe, images, looked_at, connect)
    focused, failed = [], list(surveyed.failed)
    for image, planes in zip(images, found, strict=True):
        if isinstance(planes, str):
            failed.append((image.files, image.files.portable(planes)))
        else:
            focused.append(_one_plane(image, np.array(planes, np.int32)))
    return replace(surveyed, images=tuple(focused), failed=tuple(failed))


def _channels(recipe: Recipe, names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the channels that say the focus: one, or each for itself."""
    wanted = recipe.patches.focus
    if wanted == "each":
        return tuple(range(len(names)))
    if wanted is None and len(names) == 1:
        return (0,)
    if wanted in names:
        return (list(names).index(str(wanted)),)
    found = "is missing" if wanted is None else f'found "{wanted}"'
    listed = ", ".join(f'"{name}"' for name in names)
    raise RecipeError(
        f"patches.focus: {found}; write which channel says the focus of all ({listed}), or "
        '"each" for a plane of its own for each channel'
    )


def _look(
    recipe: Recipe, images: Sequence[SurveyedImage], channels: tuple[int, ...], connect: Connect
) -> list[list[list[int]] | str]:
    options = recipe.images.options
    cache = FocusCache(options, channels)
    found: list[list[list[int]] | str | None] = [cache.get(image.source) for image in images]
    unknown = [number for number, planes in enumerate(found) if planes is None]
    batches = deque(unknown[i : i + BATCH_IMAGES] for i in range(0, len(unknown), BATCH_IMAGES))
    if batches:
        with connect() as client:
            for batch, future in run_windowed(
                client,
                "focus",
                find_sharpest,
                batches,
                lambda batch: ([images[number].source for number in batch], options, channels),
            ):
                planes_of = result_of(future, f"focus of {images[batch[0]].id}")
                for number, planes in zip(batch, planes_of, strict=True):
                    found[number] = planes
                    if not isinstance(planes, str):
                        cache.put(images[number].source, planes)
    return [planes for planes in found if planes is not None]


def _one_plane(image: SurveyedImage, planes: NDArray[np.int32]) -> SurveyedImage:
    """Return an image of the chosen planes alone; `planes` has shape (t, 1) or (t, c)."""
    kind = image.source.kind
    n_t, n_c = kind.planes.shape[:2]
    chosen = np.broadcast_to(planes, (n_t, n_c))
    t, c = np.ogrid[:n_t, :n_c]
    own = replace(
        kind, planes=kind.planes[t, c, chosen][:, :, None], resolution=one_plane(kind.resolution)
    )
    source: ImageSource = replace(image.source, kind=own)
    return replace(image, source=source, focus=chosen)

"""At which value a camera is saturated: what the recipe says, else the file, else a guess.

The guess, for each channel of each image by itself: where the highest value found is that of more
pixels than there are a little below it, the camera could count no further.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import RecipeError
from .globs import FEW
from .images import SurveyedImage
from .recipe import Recipe

#: Fewer pixels at the highest value are no pile-up.
MIN_PILE_PX = 16


def camera_tops(recipe: Recipe, images: Sequence[SurveyedImage]) -> list[float]:
    """Return the value at which each image's camera is saturated; NaN where it must be guessed.

    Raises
    ------
    RecipeError
        Where pixels are floats, for which nothing can be guessed.
    """
    tops = []
    for image in images:
        dtype = image.source.kind.dtype
        if recipe.images.saturation is not None:
            tops.append(recipe.images.saturation)
        elif dtype.kind == "f":
            raise RecipeError(
                f"filters.clipped: {image.id} has {dtype} pixels, which do not say where a camera "
                "is saturated; write images.saturation"
            )
        elif image.significant_bits:
            tops.append(float(min(2**image.significant_bits - 1, np.iinfo(dtype).max)))
        else:
            tops.append(math.nan)
    return tops


@dataclass(frozen=True, eq=False)
class Brightest:
    """The brightest pixels of the windows of an image, in one channel.

    Attributes
    ----------
    most
        float64, shape (n,): the largest value of each window.
    at
        float64, shape (n,): the share of its pixels that have it.
    near
        float64, shape (n,): the share of those a little below.
    """

    most: NDArray[np.float64]
    at: NDArray[np.float64]
    near: NDArray[np.float64]

    def clipped(self, top: float) -> NDArray[np.float64]:
        """Return the share of pixels at the top, of windows that have none above it."""
        return np.where(self.most == top, self.at, 0.0)

    def guessed_top(self, window_px: int) -> float:
        """Return the value at which pixels pile up, NaN where they do not.

        Parameters
        ----------
        window_px
            Pixels of a window.
        """
        if not self.most.size:
            return math.nan
        top = float(self.most.max())
        has = self.most == top
        at, near = (float(share[has].sum()) * window_px for share in (self.at, self.near))
        return top if top > 0 and at >= MIN_PILE_PX and at > near else math.nan


def guess_note(channel: str, tops: Sequence[float]) -> str:
    """Return what was guessed of a channel, for the plan.

    Parameters
    ----------
    tops
        What was guessed of each image; NaN for nothing.
    """
    known = Counter(top for top in tops if not math.isnan(top))
    found = ", ".join(f"{top:g} ({images:,} images)" for top, images in known.most_common(FEW))
    found += f" and {len(known) - FEW} other values" if len(known) > FEW else ""
    said = (
        f"guessed from pixels that pile up at the highest value of an image: {found}"
        if known
        else "and in no image do pixels pile up at the highest value, so none counts as clipped"
    )
    return (
        f"{channel}: no file says where its camera is saturated; {said}; write images.saturation "
        "if you know it"
    )

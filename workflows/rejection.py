"""Which candidates a recipe rejects by their scores, and why nothing is left where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe

#: What scores of the filters begin with, by the names that recipes use.
COLUMNS = {
    "focus": "sharpness_",
    "brightness": "brightness_",
    "saturation": "saturation",
    "clipped": "clipped_",
}


@dataclass(frozen=True)
class Limits:
    """What a score is held against; equal is enough.

    Attributes
    ----------
    column
        Of the scores; also the reason of what it rejects.
    low_key, high_key
        Keys of the recipe.
    low, high
        None where there is no such limit.
    """

    column: str
    low_key: str
    high_key: str
    low: float | None
    high: float | None

    def rejects(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which scores are beyond a limit; NaN is."""
        # As they are stored: 0.1 as the recipe has it is a little less than 0.1 in float32.
        kept = np.isfinite(scores)
        if self.low is not None:
            kept &= scores >= np.float32(self.low)
        if self.high is not None:
            kept &= scores <= np.float32(self.high)
        found: NDArray[np.bool_] = ~kept
        return found


def limits_of(recipe: Recipe, columns: Sequence[str]) -> list[Limits]:
    """Return the limits of a recipe, in the order in which they reject.

    Parameters
    ----------
    columns
        Names of the scores, see `Scored.columns`.
    """
    found = []
    table = recipe.foreground
    if table is not None and "foreground" in columns:
        key = "foreground.{}_foreground_fraction"
        low, high = table.min_foreground_fraction, table.max_foreground_fraction
        found.append(Limits("foreground", key.format("min"), key.format("max"), low, high))
    for name, own in (recipe.filters.tables() if recipe.filters else {}).items():
        found += [
            Limits(column, f"filters.{name}.min", f"filters.{name}.max", own.min, own.max)
            for column in columns
            if column.startswith(COLUMNS[name])
        ]
    return [own for own in found if own.low is not None or own.high is not None]


def reject(
    recipe: Recipe, columns: Mapping[str, NDArray[np.generic]]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return why each candidate of an image is rejected: by the first limit that it is beyond.

    Parameters
    ----------
    recipe
        With the limits.
    columns
        The scores of one image's candidates, shape (n,) each.

    Returns
    -------
    reason
        uint8, shape (n,): index in `names`; 0 is kept.
    names
        "", then "foreground" and the other scores that have limits; the same for all images.
    """
    limits = limits_of(recipe, list(columns))
    length = len(next(iter(columns.values()), np.empty(0)))
    reason = np.zeros(length, np.uint8)
    for number, own in enumerate(limits, start=1):
        beyond = own.rejects(columns[own.column].astype(np.float32))
        reason[beyond & (reason == 0)] = number
    return reason, ("", *(own.column for own in limits))


def why_nothing_is_left(
    recipe: Recipe, columns: Mapping[str, Sequence[NDArray[np.generic]]]
) -> str:
    """Say which limits reject how many candidates, and by how much they miss.

    Parameters
    ----------
    recipe
        With the limits.
    columns
        The scores of each image's candidates, as in `Scored.columns`.

    Returns
    -------
    sentence
        Such as 'of 40 candidates foreground rejects 40: the largest of all is 0.02, and
        foreground.min_foreground_fraction = 0.1; write a smaller one, or ...'.
    """
    every = {
        name: np.concatenate([np.empty(0, np.float32), *own]).astype(np.float32)
        for name, own in columns.items()
    }
    reason, names = reject(recipe, every)
    counts = np.bincount(reason, minlength=len(names)).tolist()
    said = [
        _missed(own, every[own.column], count)
        for own, count in zip(limits_of(recipe, list(every)), counts[1:], strict=True)
        if count
    ]
    if not said:
        return f"{len(reason):,} candidates have scores, and no limit of a score rejects one"
    return f"of {len(reason):,} candidates " + "; ".join(said)


def _missed(limits: Limits, scores: NDArray[np.float32], count: int) -> str:
    """Say how many scores are beyond limits, and how far the best is."""
    text = f"{limits.column} rejects {count:,}"
    known = scores[np.isfinite(scores)]
    if not known.size:
        return f"{text}: not one has a score"
    low, high = float(known.min()), float(known.max())
    parts = []
    if limits.low is not None and (known < np.float32(limits.low)).any():
        mend = "write a smaller one" if high < np.float32(limits.low) else "others reach it"
        parts.append(f"the largest of all is {high:.4g}, and {limits.low_key} = {limits.low:g}")
        parts[-1] += f" ({mend})"
    if limits.high is not None and (known > np.float32(limits.high)).any():
        mend = "write a larger one" if low > np.float32(limits.high) else "others reach it"
        parts.append(f"the smallest of all is {low:.4g}, and {limits.high_key} = {limits.high:g}")
        parts[-1] += f" ({mend})"
    return f"{text}: {'; '.join(parts)}"

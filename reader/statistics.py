"""Statistics per channel, as a store keeps them for each split, and merged over several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError

#: "count", "mean", "std", "min" and "max", each of shape (c,); NaN where the count is 0.
Statistics = dict[str, NDArray[Any]]

MEASURES = ("mean", "std", "min", "max")


def split_statistics(written: dict[str, Any], channels: Sequence[str]) -> dict[str, Statistics]:
    """Turn `{split: {channel: {measure: number or null}}}` into arrays in the channels' order."""
    try:
        return {
            split: {
                "count": np.array([by_channel[name]["count"] or 0 for name in channels], np.int64),
                **{
                    measure: np.array(
                        [_number(by_channel[name][measure]) for name in channels], np.float64
                    )
                    for measure in MEASURES
                },
            }
            for split, by_channel in written.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedStoreError(
            f"the statistics in the store's metadata are damaged ({error!r}); "
            "make or copy the store again"
        ) from error


def merge_statistics(parts: Iterable[Statistics]) -> Statistics:
    """Return the statistics of all pixels of several disjoint parts.

    Means by count; variances (of a population, as the standard deviations are) by the parallel
    formula of Chan, Golub and LeVeque (1979), which subtracts no large numbers.

    Examples
    --------
    >>> one = {"count": [2], "mean": [1.0], "std": [1.0], "min": [0.0], "max": [2.0]}
    >>> two = {"count": [1], "mean": [4.0], "std": [0.0], "min": [4.0], "max": [4.0]}
    >>> both = merge_statistics([one, two])            # of the pixels 0, 2 and 4
    >>> both["mean"].item(), round(both["std"].item() ** 2, 6), both["max"].item()
    (2.0, 2.666667, 4.0)
    """
    stacked = {
        key: np.stack(values)
        for key, values in _transposed(parts).items()  # each (part, c)
    }
    return merge_parts(stacked)


def no_statistics(channels: int) -> Statistics:
    """Return the statistics of no pixels."""
    unknown = {measure: np.full(channels, np.nan) for measure in MEASURES}
    return {"count": np.zeros(channels, np.int64), **unknown}


def merge_parts(stacked: Statistics) -> Statistics:
    """Return the statistics of all pixels of several disjoint parts, each array (part, c)."""
    count = stacked["count"]
    total = count.sum(axis=0)
    seen = count > 0
    # A part without pixels has NaN, which its weight of 0 would not remove.
    mean_of, std_of = (np.where(seen, stacked[key], 0.0) for key in ("mean", "std"))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (count * mean_of).sum(axis=0) / total
        variance = (count * (std_of**2 + (mean_of - mean) ** 2)).sum(axis=0) / total
    low = np.where(seen, stacked["min"], np.inf).min(axis=0)
    high = np.where(seen, stacked["max"], -np.inf).max(axis=0)
    return {
        "count": total,
        "mean": mean,
        "std": np.sqrt(variance),
        "min": np.where(total > 0, low, np.nan),
        "max": np.where(total > 0, high, np.nan),
    }


def _transposed(parts: Iterable[Statistics]) -> dict[str, list[NDArray[Any]]]:
    listed = list(parts)
    return {key: [np.asarray(part[key]) for part in listed] for key in ("count", *MEASURES)}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)

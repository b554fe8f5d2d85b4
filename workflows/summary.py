"""Merges the moments of rows into the statistics of splits, images and columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks.statistics import is_exact


@dataclass
class Merged:
    """The statistics of one channel over many rows; grows row by row, in their order.

    Integers are kept as Python's, so that no sum can overflow; floats are merged by the formula of
    Chan, Golub and LeVeque (1983).
    """

    exact: bool
    count: int = 0
    total: Any = 0
    spread: Any = 0
    low: Any = None
    high: Any = None

    def add(self, rows: NDArray[Any]) -> None:
        """Merge the records (`moments_dtype`) of one channel of some rows, shape (n,)."""
        rows = rows[rows["count"] > 0]
        if not rows.size:
            return
        low, high = rows["min"].min().item(), rows["max"].max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        if self.exact:
            self.count += int(rows["count"].sum())
            self.total += sum(rows["sum"].tolist())
            self.spread += sum(rows["spread"].tolist())
            return
        for count, total, spread in zip(
            rows["count"].tolist(), rows["sum"].tolist(), rows["spread"].tolist(), strict=True
        ):
            if self.count:
                delta = total / count - self.total / self.count
                both = self.count + count
                spread += delta * delta * self.count * count / both
            self.count += count
            self.total += total
            self.spread += spread

    @property
    def mean(self) -> float:
        """Of all pixels; NaN where there are none."""
        return float(self.total / self.count) if self.count else math.nan

    @property
    def deviations(self) -> float:
        """The sum of squared deviations from the mean."""
        if not self.exact or not self.count:
            return float(self.spread)
        return float((self.spread * self.count - self.total * self.total) / self.count)

    @property
    def std(self) -> float:
        """The standard deviation of all pixels (ddof = 0); NaN where there are none."""
        return math.sqrt(self.deviations / self.count) if self.count else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return what the store's attributes hold: numbers, or None where there are no pixels."""
        if not self.count:
            return {"count": 0, "mean": None, "std": None, "min": None, "max": None}
        numbers = {"mean": self.mean, "std": self.std, "min": self.low, "max": self.high}
        return {"count": self.count} | {
            # JSON has no infinity, which a float image may hold.
            name: value if math.isfinite(value) else None
            for name, value in numbers.items()
        }


def row_columns(rows: NDArray[Any], dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    """Return count, mean, std (float64), min and max (the store's type) of one channel of rows.

    Parameters
    ----------
    rows
        Records of `moments_dtype`, shape (n,). Rows without pixels have mean and std NaN.
    dtype
        Of the store.
    """
    count = np.maximum(rows["count"], 1)
    if is_exact(dtype):
        # Sums relative to the whole part of the mean are small, so that nothing cancels.
        base = rows["sum"] // count
        rest = rows["sum"] - base * count
        spread = rows["spread"] - 2 * base * rows["sum"] + base * base * count
        mean = rows["sum"] / count
        variance = spread / count - (rest / count) ** 2
    else:
        mean = rows["sum"] / count
        variance = rows["spread"] / count
    empty = rows["count"] == 0
    return {
        "count": rows["count"].astype(np.uint32),
        "mean": np.where(empty, np.nan, mean),
        "std": np.where(empty, np.nan, np.sqrt(np.maximum(variance, 0))),
        "min": rows["min"].astype(dtype),
        "max": rows["max"].astype(dtype),
    }

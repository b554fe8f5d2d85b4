"""The statistics of a store's splits: what its attributes say, and the histograms beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..reader.histograms import percentiles
from ..tasks.histograms import Histograms
from .columns import write_column
from .summary import Merged

#: Percentiles that the attributes say.
PERCENTS = (0.1, 1.0, 2.0, 5.0, 25.0, 50.0, 75.0, 95.0, 98.0, 99.0, 99.9)


class SplitStatistics:
    """The statistics of each split and channel; grows in the order of the rows.

    Parameters
    ----------
    dtype
        Of the patches.
    splits, channels
        Their names, in order.
    exact
        Whether sums are whole numbers.
    """

    def __init__(
        self, dtype: np.dtype[Any], splits: tuple[str, ...], channels: tuple[str, ...], exact: bool
    ) -> None:
        self.splits, self.channels = splits, channels
        self.merged = {name: [Merged(exact) for _ in channels] for name in splits}
        self.clipped = {name: np.zeros((len(channels), 2), np.int64) for name in splits}
        self.histograms = Histograms(dtype)

    def add(self, split: int, records: NDArray[Any]) -> None:
        """Add rows of one split, records of `record_dtype`."""
        name = self.splits[split]
        for number, channel in enumerate(self.merged[name]):
            channel.add(records["moments"][:, number])
        self.clipped[name] += records["clipped"].sum(axis=0, dtype=np.int64)

    def as_dict(self) -> dict[str, Any]:
        """Return what the attributes of a store say: by split, then by channel."""
        found = {
            split: {
                name: channel.as_dict() | {"clipped": clipped}
                for name, channel, clipped in zip(
                    self.channels, self.merged[split], self.clipped[split].tolist(), strict=True
                )
            }
            for split in self.splits
        }
        for (split, channel), bins, counts in self.histograms.items():
            values = percentiles(self.histograms.values(bins), counts, PERCENTS).tolist()
            found[self.splits[split]][self.channels[channel]]["percentiles"] = {
                f"{percent:g}": value for percent, value in zip(PERCENTS, values, strict=True)
            }
        return found

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the histograms.

        Returns
        -------
        value
            float64, shape (n,): of each bin that holds a pixel of any split and channel.
        count
            int64, shape (splits, channels, n).
        """
        found = list(self.histograms.items())
        bins = np.unique(np.concatenate([np.zeros(0, np.int64), *(own for _, own, _ in found)]))
        count = np.zeros((len(self.splits), len(self.channels), len(bins)), np.int64)
        for (split, channel), own, counts in found:
            count[split, channel, np.searchsorted(bins, own)] = counts
        return self.histograms.values(bins), count

    def write(self, group: zarr.Group) -> None:
        """Write the histograms, `value` and `count`."""
        value, count = self.arrays()
        write_column(group, "value", value, ["bin"])
        names = {"splits": list(self.splits), "channels": list(self.channels)}
        write_column(group, "count", count, ["split", "channel", "bin"], names)

"""Which positions of an epoch's order are whose batch: for any number of ranks, from anywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The batches of an epoch.

    Global batch k is the positions k·B·W to (k+1)·B·W of the epoch's order; rank r has the r-th B
    of them. So all ranks have the same number of batches, and the global batches are the same
    wherever B·W is.

    Attributes
    ----------
    length
        Samples of the epoch, B·W or more or fewer.
    batch_size
        B, of one rank.
    rank, world_size
        r and W.
    drop_last
        Whether the global batch that is not full is left out.

    Examples
    --------
    >>> two = [Schedule(10, 2, rank, world_size=2, drop_last=False) for rank in (0, 1)]
    >>> [[schedule.span(number) for number in range(schedule.batches())] for schedule in two]
    [[(0, 2), (4, 6), (8, 10)], [(2, 4), (6, 8), (10, 10)]]
    """

    length: int
    batch_size: int
    rank: int
    world_size: int
    drop_last: bool

    @property
    def step(self) -> int:
        """Samples of a global batch."""
        return self.batch_size * self.world_size

    def batches(self, consumed: int = 0) -> int:
        """Return how many batches each rank has after so many samples of the epoch."""
        full, rest = divmod(max(0, self.length - consumed), self.step)
        return full + (rest > 0 and not self.drop_last)

    def span(self, number: int, consumed: int = 0) -> tuple[int, int]:
        """Return where this rank's batch begins and ends in the epoch's order.

        Parameters
        ----------
        number
            0 is the first after the consumed samples.
        consumed
            Samples of the epoch that all ranks have had together.
        """
        start = consumed + number * self.step + self.rank * self.batch_size
        return min(start, self.length), min(start + self.batch_size, self.length)

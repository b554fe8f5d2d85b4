"""An order in which no batch holds more than so many samples of one image."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def capped_order(
    order: NDArray[Any], images: NDArray[Any], batch_size: int, most: int
) -> NDArray[np.int64]:
    """Rearrange an order so that no batch has more than `most` samples of one image.

    Batches are `batch_size` consecutive samples; the last one, which may be smaller, counts too.
    The result has the same samples, and is a function of the arguments alone. Where the order
    keeps the cap already it is not touched: a sample that is one too many in its batch moves to
    the next batch that has room for it. An image that is so frequent that it would no longer fit
    into the batches that remain is drawn ahead in time; so whatever can be solved is.

    Parameters
    ----------
    order
        Positions, shape (n,), perhaps with repeats.
    images
        Integers, one per position of the view: the image of each.
    batch_size, most
        Samples of a batch, and how many of them may be of one image; each at least 1.

    Raises
    ------
    ValueError
        Where no arrangement keeps the cap, with the numbers, and for arguments that are too small.

    Notes
    -----
    With k batches of equal size left, the rest can be arranged if, and only if, no image has more
    than k × most samples left (Gale 1957, "A theorem on flows in networks": the least cut is a
    concave function of the number of batches, so that only its ends count). Hence it is enough to
    take from an image with more than (k - 1) × most what exceeds that. A smaller last batch is
    settled first, so that the rest are equal.

    Examples
    --------
    >>> images = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    >>> capped_order(np.arange(8), images, batch_size=4, most=2).tolist()
    [0, 1, 4, 5, 6, 7, 2, 3]
    """
    if batch_size < 1 or most < 1:
        raise ValueError(
            f"batches of {batch_size} with at most {most} samples of an image; give at least 1"
        )
    order = np.asarray(order, np.int64)
    if most >= batch_size or not len(order):
        return order.copy()
    names, labels = np.unique(np.asarray(images)[order], return_inverse=True)
    labels = labels.reshape(-1).astype(np.int64, copy=False)
    stop = len(order) // batch_size * batch_size
    _check(names, labels, stop // batch_size, len(order) - stop, batch_size, most)
    arranged = labels.copy()
    if stop < len(order):
        _settle_last(arranged, stop, stop // batch_size, most)
    arranged[:stop] = _spread(arranged[:stop], batch_size, most)
    # Only labels were moved; each image's samples fill its new places in their old order.
    changed = np.flatnonzero(arranged != labels)
    capped = order.copy()
    places = changed[np.argsort(arranged[changed], kind="stable")]
    capped[places] = order[changed[np.argsort(labels[changed], kind="stable")]]
    return capped


def _check(
    names: NDArray[Any], labels: Labels, full: int, rest: int, batch_size: int, most: int
) -> None:
    """Refuse what cannot be arranged into `full` batches and one of `rest` samples."""
    counts = np.bincount(labels)
    room = full * most + min(rest, most)
    worst = int(counts.argmax())
    if counts[worst] > room:
        last = f" and one of {rest}" if rest else ""
        raise ValueError(
            f"image {names[worst]} has {counts[worst]} samples, and {full} batches of {batch_size}"
            f"{last} with at most {most} of an image have room for {room}; "
            "allow more of an image per batch, or draw fewer of its samples"
        )
    # What does not fit into the full batches must all fit into the last one.
    over = np.maximum(counts - full * most, 0)
    if over.sum() > rest:
        raise ValueError(
            f"{np.count_nonzero(over)} images have more samples than the {full * most} that "
            f"{full} batches of {batch_size} with at most {most} of an image have room for, image "
            f"{names[worst]} has {counts[worst]}: {over.sum()} samples are left for the last "
            f"batch, which has {rest}; allow more of an image per batch"
        )


def _settle_last(labels: Labels, stop: int, full: int, most: int) -> None:
    """Swap labels, so that the last batch keeps the cap and has what the others cannot hold."""
    counts, have = np.bincount(labels), np.bincount(labels[stop:], minlength=labels.max() + 1)
    least = np.maximum(counts - full * most, 0)
    want = np.maximum(np.minimum(have, most), least)
    surplus = int(want.sum()) - (len(labels) - stop)
    if surplus > 0:
        spare = want - least
        want -= np.clip(surplus - (np.cumsum(spare) - spare), 0, spare)
    at = stop
    while surplus < 0:  # fill up with what stands nearest before it
        at -= 1
        if want[labels[at]] < most and want[labels[at]] < counts[labels[at]]:
            want[labels[at]] += 1
            surplus += 1
    leaving = [
        stop + np.flatnonzero(labels[stop:] == label)[want[label] :]
        for label in np.flatnonzero(have > want)
    ]
    coming = [
        np.flatnonzero(labels[:stop] == label)[have[label] - want[label] :]
        for label in np.flatnonzero(want > have)
    ]
    if leaving:
        out, into = np.concatenate(leaving), np.concatenate(coming)
        labels[out], labels[into] = labels[into], labels[out]


def _spread(labels: Labels, batch_size: int, most: int) -> Labels:
    """Rearrange the labels of full batches, batch by batch, walking along the order once."""
    arranged = labels.copy()
    batches = len(labels) // batch_size
    deadlines = _Deadlines(labels, batches, most)
    crowded = iter(_crowded(labels, batch_size, most))
    next_crowded = next(crowded, batches)
    waiting: dict[int, int] = {}  # passed by, since their batch had enough of them
    ahead: dict[int, int] = {}  # taken before their place in the order was reached
    batch = at = 0
    while batch < batches:
        if not waiting and not ahead:
            # As many were placed as were passed: up to the next trouble all stays as it is.
            while next_crowded < batch:
                next_crowded = next(crowded, batches)
            batch = min(next_crowded, deadlines.next)
            if batch >= batches:
                break
            at = batch * batch_size
        taken: list[int] = []
        held: dict[int, int] = {}
        for label, number in deadlines.due(batch, at, waiting, ahead):
            held[label] = number
            taken += [label] * number
            from_waiting = min(number, waiting.get(label, 0))
            _add(waiting, label, -from_waiting)
            _add(ahead, label, number - from_waiting)
        for label, number in list(waiting.items()):
            number = min(number, most - held.get(label, 0), batch_size - len(taken))
            held[label] = held.get(label, 0) + number
            taken += [label] * number
            _add(waiting, label, -number)
        while len(taken) < batch_size:
            for label in labels[at : at + batch_size - len(taken)].tolist():
                at += 1
                if label in ahead:
                    _add(ahead, label, -1)
                elif held.get(label, 0) < most:
                    held[label] = held.get(label, 0) + 1
                    taken.append(label)
                else:
                    _add(waiting, label, 1)
        arranged[batch * batch_size : (batch + 1) * batch_size] = taken
        batch += 1
    return arranged


def _add(numbers: dict[int, int], label: int, change: int) -> None:
    number = numbers.get(label, 0) + change
    if number:
        numbers[label] = number
    else:
        numbers.pop(label, None)


def _crowded(labels: Labels, batch_size: int, most: int) -> list[int]:
    """Return the batches, ascending, that have more than `most` of a label."""
    n_labels = int(labels.max()) + 1 if len(labels) else 1
    keys = np.sort(np.arange(len(labels)) // batch_size * n_labels + labels)
    found: list[int] = np.unique(keys[most:][keys[most:] == keys[:-most]] // n_labels).tolist()
    return found


class _Deadlines:
    """Knows when an image has to be taken, so that what is left of it fits what batches are left.

    An image with c samples left fits as long as ceil(c / most) batches are left. That difference
    falls by at most one per batch, so an image is looked at again only when it could be gone.
    """

    def __init__(self, labels: Labels, batches: int, most: int) -> None:
        self._batches, self._most = batches, most
        self._places = np.argsort(labels, kind="stable")
        self._ends = np.cumsum(np.bincount(labels))
        slack = batches + (-np.diff(self._ends, prepend=0) // most)
        self._order = np.argsort(slack, kind="stable")
        self._slack = slack[self._order]
        self._passed = 0
        self._later: list[tuple[int, int]] = []  # a heap of batches and labels

    @property
    def next(self) -> int:
        """The first batch for which an image is to be looked at."""
        first = self._slack[self._passed] if self._passed < len(self._slack) else self._batches
        return min(int(first), self._later[0][0] if self._later else self._batches)

    def due(
        self, batch: int, at: int, waiting: dict[int, int], ahead: dict[int, int]
    ) -> Iterator[tuple[int, int]]:
        """Yield the labels that this batch must take, and how many of each.

        `at` is how far the order was walked, without those waiting and with those taken ahead.
        """
        left_batches = self._batches - batch
        for label in self._looked_at(batch):
            stop = self._ends[label]
            start = self._ends[label - 1] if label else 0
            passed = np.searchsorted(self._places[start:stop], at)
            left = int(stop - start - passed) + waiting.get(label, 0) - ahead.get(label, 0)
            slack = left_batches + (-left // self._most)
            if batch + max(slack, 1) < self._batches - 1:  # the last batch takes all that is left
                heapq.heappush(self._later, (batch + max(slack, 1), label))
            number = left - self._most * (left_batches - 1)
            if number > 0:
                yield label, number

    def _looked_at(self, batch: int) -> list[int]:
        stop = int(np.searchsorted(self._slack, batch, side="right"))
        labels: list[int] = self._order[self._passed : stop].tolist()
        self._passed = stop
        while self._later and self._later[0][0] <= batch:
            labels.append(heapq.heappop(self._later)[1])
        return labels

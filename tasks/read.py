"""Reads boxes of an image, each of its segments once.

Segment by segment, not box by box: each strip, tile or chunk under any of the boxes is read and
decoded once and handed to all boxes that it touches, so that memory is the boxes' own and one
segment's, whatever the size of the image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions
from .opened import open_source
from .source import ImageSource, SourceError

#: Of an image or a part, by number.
Channels = slice | list[int]


class Take(Protocol):
    """Takes what lies in a box, part by part."""

    def __call__(
        self,
        box: int,
        channels: Channels,
        t: int,
        z: int,
        y: int,
        x: int,
        part: NDArray[Any],
    ) -> None:
        """Take a part of one plane.

        Parameters
        ----------
        box
            Its number.
        channels
            Of the image, in the order of the part's.
        t, z, y, x
            Of the part's top-left pixel, in the image's level.
        part
            Pixels, shape (c, y, x); valid only now.
        """
        ...


def read_boxes(
    source: ImageSource, options: ImageOptions, boxes: NDArray[np.int64], take: Take
) -> None:
    """Read boxes of all channels of an image.

    Parameters
    ----------
    source
        The image.
    options
        How its files are opened.
    boxes
        int64, shape (n, 8): first and one past the last t, z, y and x, inside the level that is
        cut.
    take
        Called for every pixel of every box and channel once; planes come in order of t and z.

    Raises
    ------
    SourceError
        Where a file has changed since the survey, cannot be read or decoded, or takes too long.
    """
    until = time.monotonic() + options.max_seconds
    level, shape = source.kind.resolution.level, source.kind.resolution.shape
    for file, places in _by_file(source, boxes).items():
        image = open_source(
            source.paths[file], source.identities[file], source.members[file], options
        )
        segment = image.segments[level][1:]
        for region, planes in _blocks(places, segment):
            windows = [(plane, boxes[plane.boxes, 4:]) for plane in planes]
            nbytes = math.prod(part.stop - part.start for part in region)
            nbytes *= image.reader.dtype.itemsize
            run = image.reader.band_bytes // (nbytes * segment[3] * segment[4])
            for y, x in _cells(shape[1:], segment[3:], windows, max(1, run)):
                pixels = image.read(level, source.item, (*region, y, x))
                for plane, window in windows:
                    _hand_over(pixels[plane.inside], y.start, x.start, plane, window, take)
                if time.monotonic() > until:
                    raise SourceError(
                        f"{image.path}: reading took longer than images.max_seconds = "
                        f"{options.max_seconds:g}; leave it out, or raise the limit"
                    )


@dataclass(frozen=True)
class _Place:
    """Channels of one plane that are in one file, and where they are there."""

    t: int
    z: int
    boxes: NDArray[np.intp]  # that have this plane
    channels: list[int]
    inside: NDArray[np.int32]  # shape (channels, 3): t, c and z in the file


@dataclass(frozen=True)
class _Plane:
    """Channels of one plane that are read together."""

    t: int
    z: int
    boxes: NDArray[np.intp]
    channels: Channels
    inside: tuple[int, Channels, int]  # t, c and z in what is read


def _by_file(source: ImageSource, boxes: NDArray[np.int64]) -> dict[int, list[_Place]]:
    """Return what has to be read of each file, in order of t and z."""
    wanted: dict[tuple[int, int], list[NDArray[np.intp]]] = {}
    ranges, of = _different(boxes[:, :4])
    for number, (t0, t1, z0, z1) in enumerate(ranges.tolist()):
        own = np.flatnonzero(of == number)
        for t in range(t0, t1):
            for z in range(z0, z1):
                wanted.setdefault((t, z), []).append(own)
    found: dict[int, list[_Place]] = {}
    for t, z in sorted(wanted):
        planes = source.kind.planes[t, :, z]
        numbers = np.concatenate(wanted[t, z])
        for file in dict.fromkeys(planes[:, 0].tolist()):
            channels = np.flatnonzero(planes[:, 0] == file)
            place = _Place(t, z, numbers, channels.tolist(), planes[channels, 1:])
            found.setdefault(file, []).append(place)
    return found


def _blocks(
    places: Sequence[_Place], segment: Sequence[int]
) -> Iterator[tuple[tuple[slice, slice, slice], list[_Plane]]]:
    """Yield ranges of t, c and z that lie in one segment of a file, and the planes in them."""
    blocks: dict[tuple[int, ...], list[_Place]] = {}
    for place in places:
        of = place.inside // np.array(segment[:3])
        for block in dict.fromkeys(map(tuple, of.tolist())):
            own = np.flatnonzero((of == block).all(axis=1))
            channels = [place.channels[n] for n in own.tolist()]
            part = replace(place, channels=channels, inside=place.inside[own])
            blocks.setdefault(block, []).append(part)
    for parts in blocks.values():
        inside = np.concatenate([part.inside for part in parts])
        first = inside.min(axis=0)
        t, c, z = (
            slice(a, b + 1)
            for a, b in zip(first.tolist(), inside.max(axis=0).tolist(), strict=True)
        )
        yield (
            (t, c, z),
            [
                _Plane(
                    part.t,
                    part.z,
                    part.boxes,
                    _as_slice(part.channels),
                    (own[0][0], _as_slice([place[1] for place in own]), own[0][2]),
                )
                for part in parts
                for own in [(part.inside - first).tolist()]
            ],
        )


def _different(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the different rows, and which of them each row is; small images have but one."""
    if len(rows) == 1:
        return rows, np.zeros(1, np.intp)
    found, of = np.unique(rows, axis=0, return_inverse=True)
    return found, of.reshape(-1)


def _as_slice(numbers: list[int]) -> Channels:
    """Return a slice where it says the same: it makes a view, a list makes a copy."""
    first = numbers[0]
    if numbers == list(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return numbers


def _cells(
    shape: Sequence[int],
    segment: Sequence[int],
    windows: Sequence[tuple[_Plane, NDArray[np.int64]]],
    run: int,
) -> Iterator[tuple[slice, slice]]:
    """Yield what is read at once: the segments under any window, in runs of up to `run`.

    Where segments span the image a run goes down, else to the right. Runs begin at fixed places,
    so that a box is made of the same parts whatever else is read with it.
    """
    (height, width), (sy, sx) = shape, segment
    down, across = -(-height // sy), -(-width // sx)
    touched = np.zeros((down, across), bool)
    spans = np.concatenate([window for _, window in windows])
    for y0, y1, x0, x1 in _different(spans)[0].tolist():
        touched[y0 // sy : -(-y1 // sy), x0 // sx : -(-x1 // sx)] = True
    lines = touched.T if across == 1 else touched
    for line in np.flatnonzero(lines.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(lines[line], prepend=False, append=False))
        for first, last in edges.reshape(-1, 2).tolist():
            start = first
            while start < last:
                stop = min(last, start - start % run + run)
                if across == 1:
                    yield slice(start * sy, min(stop * sy, height)), slice(0, width)
                else:
                    yield (
                        slice(line * sy, min(line * sy + sy, height)),
                        slice(start * sx, min(stop * sx, width)),
                    )
                start = stop


def _hand_over(
    pixels: NDArray[Any],
    y: int,
    x: int,
    plane: _Plane,
    windows: NDArray[np.int64],
    take: Take,
) -> None:
    """Hand a piece of a plane (c, y, x), whose top-left pixel is (y, x), to the boxes under it."""
    y_end, x_end = y + pixels.shape[1], x + pixels.shape[2]
    touches = (
        (windows[:, 0] < y_end)
        & (windows[:, 1] > y)
        & (windows[:, 2] < x_end)
        & (windows[:, 3] > x)
    )
    for i in np.flatnonzero(touches).tolist():
        y0, y1, x0, x1 = windows[i].tolist()
        top, bottom, left, right = max(y, y0), min(y_end, y1), max(x, x0), min(x_end, x1)
        part = pixels[:, top - y : bottom - y, left - x : right - x]
        take(int(plane.boxes[i]), plane.channels, plane.t, plane.z, top, left, part)

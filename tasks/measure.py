"""The task that measures the pixels which enter a step: regions of images into sketches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .foreground import ForegroundMask, foreground_mask
from .image import ImageOptions
from .patches import PatchSpec
from .sketch import Sketch, merge, sketch
from .source import ImageSource, SourceError
from .step import Window, halo_of
from .stepped import stepped_windows

#: Windows that are read at once, and pixels that are sketched at once.
BATCH_BYTES = 1 << 25

#: Of each channel, the regions of even and of odd number.
Halves = tuple[tuple[Sketch, Sketch], ...]


@dataclass(frozen=True, eq=False)
class Portion:
    """Regions of one image that one task measures.

    Attributes
    ----------
    image
        Its number, for the result.
    source
        With the steps before the one that is measured for.
    patch
        What a region is: its size, without a border.
    corners
        int64, shape (n, 4): t, and z, y and x of the regions, in level-0 pixels.
    halves
        uint8, shape (n,): 0 or 1, to which half each belongs.
    wanted
        How many regions to take that have foreground, in order; None for all there are.
    """

    image: int
    source: ImageSource
    patch: PatchSpec
    corners: NDArray[np.int64]
    halves: NDArray[np.uint8]
    wanted: int | None = None


@dataclass(frozen=True)
class MeasureSpec:
    """What is measured of all portions.

    Attributes
    ----------
    options
        How files are opened.
    channels
        Their numbers.
    is_whole
        Whether pixels are whole numbers of up to 16 bits.
    foreground
        Whether background is left out, by the mask that `source.foreground` says.
    """

    options: ImageOptions
    channels: tuple[int, ...]
    is_whole: bool
    foreground: bool


@dataclass(frozen=True, eq=False)
class Measured:
    """What a task hands back: integers of many images together.

    Attributes
    ----------
    sketches
        For each channel that was measured.
    regions
        How many.
    failed
        Images that cannot be read, by number, each with why; nothing of theirs is in the sketches.
    """

    sketches: Halves
    regions: int
    failed: tuple[tuple[int, str], ...]


def measure_regions(portions: Sequence[Portion], spec: MeasureSpec) -> Measured:
    """Measure regions of images as they enter a step, border and padding left out."""
    halves = [_Collected(spec) for _ in range(2)]
    regions, failed = 0, []
    for portion in portions:
        own = [_Collected(spec) for _ in range(2)]
        try:
            count = _collect(portion, spec, own)
        except SourceError as error:
            failed.append((portion.image, str(error)))
            continue
        regions += count
        for whole, part in zip(halves, own, strict=True):
            whole.add(part)
    pairs = zip(*(half.sketches() for half in halves), strict=True)
    return Measured(tuple(pairs), regions, tuple(failed))


class _Collected:
    """Pixels of some channels on their way into sketches."""

    def __init__(self, spec: MeasureSpec) -> None:
        self._is_whole = spec.is_whole
        none = sketch(np.zeros(0, np.float32), spec.is_whole)
        self._sketches = [[none] for _ in spec.channels]
        self._pixels: list[list[NDArray[np.float32]]] = [[] for _ in spec.channels]
        self._nbytes = 0

    def take(self, pixels: Sequence[NDArray[np.float32]]) -> None:
        """Take the pixels of a region, one array for each channel; they are kept."""
        for channel, own in enumerate(pixels):
            self._pixels[channel].append(own.ravel())
            self._nbytes += own.nbytes
        if self._nbytes > BATCH_BYTES:
            self._fold()

    def add(self, other: _Collected) -> None:
        """Add what another one has."""
        for channel, own in enumerate(other.sketches()):
            self._sketches[channel].append(own)

    def sketches(self) -> list[Sketch]:
        """Return a sketch for each channel."""
        self._fold()
        return [own[0] for own in self._sketches]

    def _fold(self) -> None:
        for channel, pixels in enumerate(self._pixels):
            parts = self._sketches[channel]
            if pixels:
                parts = [*parts, sketch(np.concatenate(pixels), self._is_whole)]
            self._sketches[channel] = [merge(parts)] if len(parts) > 1 else parts
            self._pixels[channel] = []
        self._nbytes = 0


def _collect(portion: Portion, spec: MeasureSpec, halves: Sequence[_Collected]) -> int:
    """Put the regions of an image into its halves; return how many there are."""
    mask = foreground_mask(portion.source, spec.options) if spec.foreground else None
    taken = 0
    for number, pixels, window in _regions(portion, spec):
        own = [pixels[channel][window.own] for channel in spec.channels]
        if mask is None:
            held = [np.array(one) for one in own]
        else:
            is_foreground = _mask_of(mask, portion, number, window)
            if not is_foreground.any():
                continue
            # Indexing makes a copy.
            held = [one[is_foreground] for one in own]
        halves[int(portion.halves[number])].take(held)
        taken += 1
        if taken == portion.wanted:
            break
    return taken


def _mask_of(
    mask: ForegroundMask, portion: Portion, number: int, window: Window
) -> NDArray[np.bool_]:
    """Return which of a region's own pixels are foreground, shape (z, y, x)."""
    resolution = portion.source.kind.resolution
    found = mask.pixels(resolution, portion.corners[number], portion.patch.size)
    depth, height, width = (own.stop - own.start for own in window.own)
    # A region begins inside the image, so what is its own begins with it.
    return found[:depth, :height, :width]


def _regions(
    portion: Portion, spec: MeasureSpec
) -> Iterator[tuple[int, NDArray[np.float32], Window]]:
    """Yield the number, the pixels and the place of each region, a few read at once."""
    halo = halo_of(portion.source.steps.after)
    depth, height, width = portion.patch.size
    # Averages are summed in float64 beside the float32 of the windows.
    nbytes = 12 * portion.patch.channels * depth * (height + 2 * halo) * (width + 2 * halo)
    at_once = max(1, BATCH_BYTES // nbytes)
    for start in range(0, len(portion.corners), at_once):
        corners = portion.corners[start : start + at_once]
        windows = stepped_windows(portion.source, spec.options, corners, portion.patch)
        for number, (pixels, window) in enumerate(windows, start):
            yield number, pixels, window

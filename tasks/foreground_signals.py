"""What is thresholded into a foreground mask: thumbnails of an image, and what is made of them.

A thumbnail is a plane of raw counts on a coarse level, shrunk by averaging where there is no level
that is coarse enough; it is read segment by segment, so that a large image needs no more memory
than its thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from .image import ImageOptions
from .patches import PatchSpec, cut_patches
from .scratch import other_scratch
from .sketch import Sketch, merge, sketch
from .source import NO_STEPS, ImageSource

if TYPE_CHECKING:
    from .foreground import Foreground

#: Shape (c, y, x), or (y, x) for one signal.
Thumbnail = NDArray[np.float32]
#: Signals of one image that a task keeps rather than read them again.
KEPT_BYTES = 1 << 27
#: Whole numbers of these types have a bin for each value in a histogram.
_SMALL = ("uint8", "int8", "uint16", "int16")


def planes_of(source: ImageSource, foreground: Foreground) -> list[tuple[int, int]]:
    """Return (t, z) of the planes of an image that have a mask of their own."""
    n_t, _, n_z, _ = source.kind.planes.shape
    times = range(1 if foreground.project_t else n_t)
    return [(t, z) for t in times for z in range(1 if foreground.project_z else n_z)]


def thumbnail_size(foreground: Foreground) -> tuple[int, int]:
    """Return (height, width) of a thumbnail: it covers the image, its last pixels maybe in part."""
    _, height, width = foreground.resolution.shape
    _, zoom_y, zoom_x = foreground.resolution.zoom
    return math.ceil(height / zoom_y), math.ceil(width / zoom_x)


def at_thumbnails(source: ImageSource, foreground: Foreground) -> ImageSource:
    """Return an image as it is on the level of its thumbnails, all channels, without steps."""
    kind = replace(source.kind, resolution=foreground.resolution, segment=foreground.segment)
    return replace(source, kind=kind, steps=NO_STEPS, annotations=())


def thumbnail_spec(foreground: Foreground, channels: int) -> PatchSpec:
    """Return what one thumbnail is: a patch as large as the image."""
    return PatchSpec(
        channels=channels,
        size=(1, *thumbnail_size(foreground)),
        dtype=np.dtype(np.float32),
        pad="reflect",
        codec="none",
        level=0,
        rows_per_shard=1,
        project_z=foreground.project_z,
        project_t=foreground.project_t,
    )


def corner_of(foreground: Foreground, t: int, z: int) -> NDArray[np.int64]:
    """Return the corner of the thumbnail of one plane, int64, shape (1, 4)."""
    first = foreground.resolution.corners(0, np.array([z], np.int64))
    return np.array([[t, int(first[0]), 0, 0]], np.int64)


def read_thumbnail(source: ImageSource, options: ImageOptions, t: int, z: int) -> Thumbnail:
    """Read one plane of an image that has `source.foreground`, of the channels that it looks at.

    Parameters
    ----------
    t, z
        As `planes_of` has them.

    Returns
    -------
    thumbnail
        float32, shape (c, y, x), raw counts.

    Raises
    ------
    SourceError
        Where it cannot be read.
    """
    foreground = source.foreground
    assert foreground is not None
    coarse = at_thumbnails(source, foreground)
    chosen = coarse.kind.planes[:, list(foreground.channels)]
    coarse = replace(coarse, kind=replace(coarse.kind, planes=chosen))
    spec = thumbnail_spec(foreground, len(foreground.channels))
    # Whoever cuts patches may ask for a mask meanwhile; and a thumbnail is not memory to keep.
    with other_scratch():
        pixels = cut_patches(coarse, options, corner_of(foreground, t, z), spec)
        return np.array(pixels[0], np.float32)


def signals_of(foreground: Foreground, thumbnail: Thumbnail) -> list[Thumbnail]:
    """Return what of a thumbnail is compared with a threshold, each of shape (y, x).

    Counts of each channel; their local standard deviation, in counts; or the saturation of the
    three channels together, 0 to 1.
    """
    if foreground.method == "saturation":
        return [saturation_of(thumbnail)]
    if foreground.method == "local_std":
        return [local_std(plane, foreground.radius) for plane in thumbnail]
    return list(thumbnail)


def saturation_of(pixels: NDArray[np.float32]) -> Thumbnail:
    """Return the saturation of colours, (max - min) / max, 0 where all are dark.

    That of HSV (Smith, SIGGRAPH 1978).

    Parameters
    ----------
    pixels
        float32, shape (3, y, x): red, green and blue, in whatever order.
    """
    most = pixels.max(axis=0)
    spread = most - pixels.min(axis=0)
    found: Thumbnail = np.divide(spread, most, out=np.zeros_like(most), where=most > 0)
    return found


def local_std(plane: Thumbnail, radius: int) -> Thumbnail:
    """Return the standard deviation of the square around each pixel, mirrored at the edges.

    Parameters
    ----------
    plane
        float32, shape (y, x); pixels that are NaN or infinite do not count.
    radius
        Of the square, which has 2 · radius + 1 pixels along y and x.
    """
    values = plane.astype(np.float64)
    held = np.isfinite(values)
    values[~held] = 0
    if held.any():
        # Near zero squares are small, and their differences exact enough.
        values -= values[held].mean()
        values[~held] = 0
    size = 2 * radius + 1
    share = np.maximum(uniform_filter(held.astype(np.float64), size, mode="mirror"), 1e-9)
    mean = uniform_filter(values, size, mode="mirror") / share
    squares = uniform_filter(values**2, size, mode="mirror") / share
    found: Thumbnail = np.sqrt(np.maximum(squares - mean**2, 0)).astype(np.float32)
    return found


class SignalPlanes:
    """The signals of each plane of an image that has a mask, read as often as they are asked for.

    Few and small ones are kept, so that they are read once.

    Parameters
    ----------
    source
        With `foreground`.
    options
        How its files are opened.
    """

    def __init__(self, source: ImageSource, options: ImageOptions) -> None:
        assert source.foreground is not None
        self.foreground = source.foreground
        self.planes = planes_of(source, self.foreground)
        self._source, self._options = source, options
        nbytes = 4 * math.prod(thumbnail_size(self.foreground)) * len(self.foreground.channels)
        self._is_kept = nbytes * len(self.planes) <= KEPT_BYTES
        self._kept: dict[tuple[int, int], list[Thumbnail]] = {}

    def __iter__(self) -> Iterator[tuple[int, int, list[Thumbnail]]]:
        for t, z in self.planes:
            signals = self._kept.get((t, z))
            if signals is None:
                thumbnail = read_thumbnail(self._source, self._options, t, z)
                signals = signals_of(self.foreground, thumbnail)
            if self._is_kept:
                self._kept[t, z] = signals
            yield t, z, signals


def sketch_signals(source: ImageSource, planes: SignalPlanes) -> list[Sketch]:
    """Return the histogram of each signal, of all planes of an image together."""
    is_whole = _is_whole(source, planes.foreground)
    found: list[Sketch] = []
    for _, _, signals in planes:
        own = [sketch(signal, is_whole) for signal in signals]
        found = [merge(pair) for pair in zip(found, own, strict=True)] if found else own
    return found


def _is_whole(source: ImageSource, foreground: Foreground) -> bool:
    return (
        str(source.kind.dtype) in _SMALL
        and foreground.method not in ("saturation", "local_std")
        and foreground.resolution.zoom == (1.0, 1.0, 1.0)
        and "mean" not in (foreground.project_z, foreground.project_t)
    )

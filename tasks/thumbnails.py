"""The tasks that make small pictures of fields and of references: means of blocks of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .area import Taps, add_area, area_taps
from .image import ImageOptions
from .read import Channels, read_boxes
from .reference import Reference, light_of
from .source import ImageSource, SourceError

#: Blocks along y and x, or fewer where a field has not so many pixels.
BLOCKS = 64
#: A block of which more than this share is saturated is saturated.
MOST_SATURATED = 0.01


def make_thumbnails(
    sources: Sequence[ImageSource],
    options: ImageOptions,
    channels: Sequence[int],
    saturations: Sequence[float | None],
) -> list[NDArray[np.float32] | str]:
    """Make thumbnails of images, one after another.

    Parameters
    ----------
    sources
        The images.
    options
        How their files are opened.
    channels
        That are looked at.
    saturations
        For each image, as in `thumbnail`.

    Returns
    -------
    found
        For each image its thumbnail, or one sentence that says why it cannot be read.
    """
    found: list[NDArray[np.float32] | str] = []
    for source, saturation in zip(sources, saturations, strict=True):
        try:
            found.append(thumbnail(source, options, channels, saturation))
        except SourceError as error:
            found.append(str(error))
    return found


def thumbnail(
    source: ImageSource,
    options: ImageOptions,
    channels: Sequence[int],
    saturation: float | None,
) -> NDArray[np.float32]:
    """Return means of blocks of an image's middle plane and time, at the level that is cut.

    Parameters
    ----------
    source, options, channels
        As in `make_thumbnails`.
    saturation
        The value at which pixels are saturated: they are left out. None for the largest that their
        type holds; floats have none then.

    Returns
    -------
    thumbnail
        float32, shape (channels, y, x); infinite where more than `MOST_SATURATED` of a block is
        saturated, NaN where it has no finite pixel.
    """
    kind = replace(source.kind, planes=source.kind.planes[:, list(channels)])
    if saturation is None and kind.dtype.kind in "iu":
        saturation = float(np.iinfo(kind.dtype).max)
    t, z = kind.planes.shape[0] // 2, kind.planes.shape[2] // 2
    _, height, width = kind.resolution.shape
    rows, columns = _taps(height), _taps(width)
    shape = (len(channels), len(rows.index), len(columns.index))
    total, count, full = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        is_full = np.zeros(part.shape, bool) if saturation is None else part >= saturation
        is_good = np.isfinite(part) & ~is_full
        good = np.where(is_good, part, 0)
        own = range(shape[0])[channels] if isinstance(channels, slice) else channels
        for k, channel in enumerate(own):
            for sums, values in ((total, good), (count, is_good), (full, is_full)):
                target = sums[channel : channel + 1]
                add_area(target, values[k : k + 1], y, x, rows, columns)

    box = np.array([(t, t + 1, z, z + 1, 0, height, 0, width)], np.int64)
    read_boxes(replace(source, kind=kind), options, box, take)
    known = count + full
    means = np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)
    found: NDArray[np.float32] = np.where(full > MOST_SATURATED * known, np.inf, means).astype(
        np.float32
    )
    return found


def shrink_dark(dark: Reference) -> tuple[NDArray[np.float32], int]:
    """Return means of blocks of a dark field, shape (y, x), and how many pixels are no number."""
    pixels = dark.pixels()
    return _shrunk(pixels), int(np.count_nonzero(~np.isfinite(pixels)))


def shrink_flat(flat: Reference, dark: float | Reference) -> tuple[NDArray[np.float32], int, float]:
    """Look at a flat field.

    Returns
    -------
    blocks
        float32, shape (y, x): means of blocks of flat - dark.
    below
        How many pixels of flat are not above dark.
    mean
        Of flat - dark.
    """
    light = light_of(flat, dark)
    return _shrunk(light), int(np.count_nonzero(~(light > 0))), float(light.mean())


def _taps(length: int) -> Taps:
    """Return the pixels of each block along an axis."""
    blocks = min(BLOCKS, length)
    return area_taps(0.0, length / blocks, blocks, length, reflect=False)


def _shrunk(pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    rows, columns = (_taps(length) for length in pixels.shape)
    sums = np.zeros((1, len(rows.index), len(columns.index)))
    add_area(sums, pixels[None], 0, 0, rows, columns)
    means: NDArray[np.float64] = sums[0] * (sums[0].size / pixels.size)
    return means.astype(np.float32)

"""The task that finds the sharpest plane of stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .focus import FocusScore
from .image import BAND_BYTES, ImageOptions
from .read import read_boxes
from .scratch import scratch
from .source import ImageSource, SourceError
from .takes import copying


def find_sharpest(
    sources: Sequence[ImageSource], options: ImageOptions, channels: Sequence[int]
) -> list[list[list[int]] | str]:
    """Find the sharpest planes of images, one after another.

    Parameters
    ----------
    sources
        The images.
    options
        How their files are opened.
    channels
        That are looked at.

    Returns
    -------
    found
        For each image the planes as a list of channels for each time, or one sentence that says why
        it cannot be read.
    """
    found: list[list[list[int]] | str] = []
    for source in sources:
        try:
            planes = sharpest_planes(source, options, channels)
            found.append(planes.tolist())
        except SourceError as error:
            found.append(str(error))
    return found


def sharpest_planes(
    source: ImageSource, options: ImageOptions, channels: Sequence[int]
) -> NDArray[np.int32]:
    """Return the sharpest plane of an image by `FocusScore`, int32, shape (t, channels).

    All of it is read once, in bands of rows, at the level that is cut. The first of equals wins.
    """
    kind = replace(source.kind, planes=source.kind.planes[:, list(channels)])
    n_t, n_c, n_z, _ = kind.planes.shape
    _, height, width = kind.resolution.shape
    scores = [[[FocusScore() for _ in range(n_z)] for _ in range(n_c)] for _ in range(n_t)]
    depth, rows = kind.segment[2], kind.segment[3]
    rows *= max(1, BAND_BYTES // (n_c * depth * rows * width * kind.dtype.itemsize))
    only = replace(source, kind=kind)
    for t in range(n_t):
        for z in range(0, n_z, depth):
            for y in range(0, height, rows):
                box = (t, t + 1, z, min(z + depth, n_z), y, min(y + rows, height), 0, width)
                boxes = np.array([box], np.int64)
                band = scratch("focus", (n_c, box[3] - z, box[5] - y, width), kind.dtype)
                read_boxes(only, options, boxes, copying([band], boxes))
                for c in range(n_c):
                    for plane in range(box[3] - z):
                        scores[t][c][z + plane].add(band[c, plane])
    values = np.array([[[score.value for score in own] for own in time] for time in scores])
    planes: NDArray[np.int32] = values.argmax(axis=2).astype(np.int32)
    return planes

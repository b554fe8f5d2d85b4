"""The task that cuts one shard: read, cut, encode, write."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grid import reflect_index, source_span
from .read import read_windows
from .scratch import scratch
from .shard import encode_chunk, write_shard
from .source import ImageSource, SourceError
from .statistics import channel_moments, moments_dtype


@dataclass(frozen=True)
class PatchSpec:
    """What every patch of a store is: a window of an image, and the border around it.

    Attributes
    ----------
    channels
        Number of them.
    size
        (y, x) of the window in pixels, without the border.
    dtype
        Of the store.
    pad
        What lies beyond an image's edges: "reflect" or a value.
    codec, level
        Of a chunk.
    rows_per_shard
        Entries in a shard's index.
    margin_px
        Width of the border on each side in y and x.
    """

    channels: int
    size: tuple[int, int]
    dtype: np.dtype[Any]
    pad: str | float
    codec: str
    level: int
    rows_per_shard: int
    margin_px: int = 0

    @property
    def stored_size(self) -> tuple[int, int]:
        """(y, x) of a stored patch in pixels: the window and its border."""
        return self.size[0] + 2 * self.margin_px, self.size[1] + 2 * self.margin_px

    @property
    def nbytes(self) -> int:
        """Size of a stored patch, uncompressed."""
        return self.channels * math.prod(self.stored_size) * self.dtype.itemsize


@dataclass(frozen=True)
class ShardSpec:
    """What one task does.

    Attributes
    ----------
    shard
        Its number.
    path, tmp
        Of the shard file, and the folder for what is not finished.
    images, sources
        Rows in `images/` and the sources of all images in this shard.
    source
        int32, shape (n,): index in `sources` of each row.
    t, z
        int32, shape (n,).
    y, x
        int64, shape (n,): top-left corners of the windows in the image.
    void
        Images (rows in `images/`) whose rows are left out because they cannot be read.
    """

    shard: int
    path: str
    tmp: str
    patch: PatchSpec
    images: tuple[int, ...]
    sources: tuple[ImageSource, ...]
    source: NDArray[np.int32]
    t: NDArray[np.int32]
    z: NDArray[np.int32]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    void: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ShardResult:
    """What a task hands back: small, and none of it pixels.

    Attributes
    ----------
    nbytes, checksum
        Of the file, as `write_shard` returns them.
    moments
        Records of `moments_dtype`, shape (rows, c).
    valid
        bool, shape (rows,).
    seconds
        That the task took.
    """

    shard: int
    nbytes: int
    checksum: int
    moments: NDArray[Any]
    valid: NDArray[np.bool_]
    seconds: float


def cut_shard(spec: ShardSpec) -> ShardResult:
    """Cut one shard and move it into place.

    Raises
    ------
    SourceError
        Where an image cannot be read; its `image` says which.
    """
    began = time.perf_counter()
    rows = len(spec.source)
    moments = np.zeros((rows, spec.patch.channels), moments_dtype(spec.patch.dtype))
    valid = ~np.isin(np.asarray(spec.images, np.int64)[spec.source], list(spec.void))
    nbytes, checksum = write_shard(
        Path(spec.path), Path(spec.tmp), _chunks(spec, valid, moments), spec.patch.rows_per_shard
    )
    seconds = time.perf_counter() - began
    return ShardResult(spec.shard, nbytes, checksum, moments, valid, seconds)


def _chunks(
    spec: ShardSpec, valid: NDArray[np.bool_], moments: NDArray[Any]
) -> Iterator[bytes | None]:
    """Yield the encoded rows in order, plane by plane, and fill in their moments."""
    plane = np.stack([spec.source, spec.t, spec.z], axis=1)
    changes = np.flatnonzero((plane[1:] != plane[:-1]).any(axis=1)) + 1
    for rows in np.split(np.arange(len(plane)), changes):
        if not valid[rows[0]]:
            yield from [None] * len(rows)
            continue
        source, t, z = plane[rows[0]].tolist()
        image = spec.sources[source]
        try:
            patches = cut_plane(image, t, z, spec.y[rows], spec.x[rows], spec.patch)
        except SourceError as error:
            raise SourceError(error.text, spec.images[source]) from error
        held = held_pixels(spec.y[rows], spec.x[rows], spec.patch.size, image.shape)
        for row, patch, (height, width) in zip(rows.tolist(), patches, held.tolist(), strict=True):
            # Padding is no measurement, and a border is its neighbours': neither counts.
            window = without_border(patch, spec.patch.margin_px)
            channel_moments(window[:, :height, :width], moments[row])
            yield encode_chunk(patch, spec.patch.codec, spec.patch.level)


def held_pixels(
    y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Return how many rows and columns of each window lie inside the image, int64, shape (n, 2)."""
    ends = np.stack([shape[0] - y, shape[1] - x], axis=1)
    return np.minimum(ends, size)


def without_border(patch: NDArray[Any], margin_px: int) -> NDArray[Any]:
    """Return the window of a stored patch (..., y, x), a view."""
    height, width = patch.shape[-2:]
    return patch[..., margin_px : height - margin_px, margin_px : width - margin_px]


def cut_plane(
    source: ImageSource,
    t: int,
    z: int,
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    patch: PatchSpec,
) -> NDArray[Any]:
    """Cut patches out of one plane.

    Parameters
    ----------
    y, x
        int64, shape (n,): top-left corners of their windows; a border lies around these.

    Returns
    -------
    patches
        Shape (n, c, y, x), borders included, C order, of the store's type; valid until the same
        thread calls again.
    """
    y, x = y - patch.margin_px, x - patch.margin_px
    height, width = patch.stored_size
    reflect = patch.pad == "reflect"
    patches = scratch("patches", (len(y), patch.channels, height, width), patch.dtype)
    y0, y1 = source_span(y, height, source.shape[0], reflect)
    x0, x1 = source_span(x, width, source.shape[1], reflect)
    windows = np.stack([y0, y1, x0, x1], axis=1)
    beyond = (y < 0) | (x < 0) | (y + height > source.shape[0]) | (x + width > source.shape[1])
    targets: list[NDArray[Any]] = list(patches)
    for i in np.flatnonzero(beyond).tolist():
        if not reflect:
            patches[i] = patch.pad
        # What is read never takes more room than the patch. Mirrored pixels are moved about
        # afterwards; a value is left around what is read into its place.
        top, left = (0, 0) if reflect else (y0[i] - y[i], x0[i] - x[i])
        targets[i] = patches[i, :, top : top + y1[i] - y0[i], left : left + x1[i] - x0[i]]
    read_windows(source, t, z, windows, targets)
    if reflect:
        for i in np.flatnonzero(beyond).tolist():
            rows = reflect_index(int(y[i]), height, source.shape[0]) - y0[i]
            columns = reflect_index(int(x[i]), width, source.shape[1]) - x0[i]
            patches[i] = targets[i][:, rows[:, None], columns]  # indexing makes a copy
    return patches

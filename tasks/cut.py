"""The task that cuts one shard: read, cut, encode, write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions
from .patches import PatchSpec, cut_patches
from .resolution import Resolution
from .shard import ShardTarget, encode_chunk
from .source import ImageSource, SourceError
from .statistics import channel_moments, moments_dtype


@dataclass(frozen=True)
class ShardSpec:
    """What one task does.

    Attributes
    ----------
    shard
        Its number.
    target
        Where it is written.
    images, sources
        Rows in `images/` and the sources of all images in this shard.
    options
        How files are opened.
    source
        int32, shape (n,): index in `sources` of each row.
    corners
        int64, shape (n, 4): t, and z, y and x of the windows, in level-0 pixels.
    void
        Images (rows in `images/`) whose rows are left out because they cannot be read.
    """

    shard: int
    target: ShardTarget
    patch: PatchSpec
    options: ImageOptions
    images: tuple[int, ...]
    sources: tuple[ImageSource, ...]
    source: NDArray[np.int32]
    corners: NDArray[np.int64]
    void: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ShardResult:
    """What a task hands back: small, and none of it pixels.

    Attributes
    ----------
    nbytes, checksum
        Of the file, as `write_chunks` returns them.
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
    chunks = _chunks(spec, valid, moments)
    nbytes, checksum = spec.target.write(chunks, spec.patch.rows_per_shard)
    seconds = time.perf_counter() - began
    return ShardResult(spec.shard, nbytes, checksum, moments, valid, seconds)


def _chunks(
    spec: ShardSpec, valid: NDArray[np.bool_], moments: NDArray[Any]
) -> Iterator[bytes | None]:
    """Yield the encoded rows in order, image by image, and fill in their moments."""
    changes = np.flatnonzero(spec.source[1:] != spec.source[:-1]) + 1
    for rows in np.split(np.arange(len(spec.source)), changes):
        if not valid[rows[0]]:
            yield from [None] * len(rows)
            continue
        number = int(spec.source[rows[0]])
        image, corners = spec.sources[number], spec.corners[rows]
        try:
            patches = cut_patches(image, spec.options, corners, spec.patch)
        except SourceError as error:
            raise SourceError(error.text, spec.images[number], error.detail) from error
        held = held_pixels(corners[:, 1:], spec.patch.size, image.kind.resolution)
        for row, patch, own in zip(rows.tolist(), patches, held.tolist(), strict=True):
            # Padding is no measurement, and a border is its neighbours': neither counts.
            window = without_border(patch, spec.patch.margin_px)
            channel_moments(inside(window, own), moments[row])
            yield encode_chunk(patch, spec.patch.codec, spec.patch.level)


def held_pixels(
    corners: NDArray[np.int64], size: Sequence[int], resolution: Resolution
) -> NDArray[np.int64]:
    """Return how many pixels of each window lie inside the image, int64, shape (n, 3).

    Parameters
    ----------
    corners
        int64, shape (n, 3): z, y and x, in level-0 pixels.
    size
        (z, y, x) of the window, in pixels of the patch.
    resolution
        At which the image is cut.
    """
    positions = [resolution.positions(axis, corners[:, axis]) for axis in range(3)]
    held: NDArray[np.int64] = np.minimum(
        np.array(resolution.size) - np.stack(positions, axis=1), np.array(size)
    )
    return held


def without_border(patch: NDArray[Any], margin_px: int) -> NDArray[Any]:
    """Return the window of a stored patch (..., y, x), a view."""
    height, width = patch.shape[-2:]
    return patch[..., margin_px : height - margin_px, margin_px : width - margin_px]


def inside(window: NDArray[Any], held: Sequence[int]) -> NDArray[Any]:
    """Return what of a window (c, y, x) or (c, z, y, x) lies inside the image, a view.

    Parameters
    ----------
    held
        (z, y, x) as `held_pixels` returns them.
    """
    depth, height, width = held
    window = window[..., :height, :width]
    return window[:, :depth] if window.ndim == 4 else window

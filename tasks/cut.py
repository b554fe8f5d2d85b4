"""The task that cuts one shard: read, cut, encode, write; one file for each field."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .histograms import Histograms
from .image import ImageOptions
from .patches import PatchSpec, cut_counted
from .records import note_annotation, record_dtype
from .shard import ShardTarget, encode_chunk
from .source import ImageSource, SourceError
from .statistics import channel_moments
from .windows import own_pixels, own_spans


@dataclass(frozen=True)
class ShardSpec:
    """What one task does.

    Attributes
    ----------
    shard
        Its number.
    targets
        Where it is written: the file of `image`, and those of `fields`.
    fields
        The masks and label maps.
    images, sources
        Rows in `images/` and the sources of all images in this shard.
    options
        How files are opened.
    source
        int32, shape (n,): index in `sources` of each row.
    corners
        int64, shape (n, 4): t, and z, y and x of the windows, in level-0 pixels.
    splits
        uint8, shape (n,): the split of each row.
    void
        Images (rows in `images/`) whose rows are left out because they cannot be read.
    """

    shard: int
    targets: tuple[ShardTarget, ...]
    patch: PatchSpec
    fields: tuple[AnnotationField, ...]
    options: ImageOptions
    images: tuple[int, ...]
    sources: tuple[ImageSource, ...]
    source: NDArray[np.int32]
    corners: NDArray[np.int64]
    splits: NDArray[np.uint8]
    void: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ShardResult:
    """What a task hands back: small, and none of it pixels.

    Attributes
    ----------
    files
        Bytes and checksum of each file, as `write_chunks` returns them.
    records
        Of `record_dtype`, shape (rows,).
    histograms
        Of its valid rows, `Histograms.packed`.
    valid
        bool, shape (rows,).
    seconds
        That the task took.
    """

    shard: int
    files: tuple[tuple[int, int], ...]
    records: NDArray[Any]
    histograms: bytes
    valid: NDArray[np.bool_]
    seconds: float


def cut_shard(spec: ShardSpec) -> ShardResult:
    """Cut one shard and move its files into place.

    Raises
    ------
    SourceError
        Where an image cannot be read; its `image` says which.
    """
    began = time.perf_counter()
    records = np.zeros(
        len(spec.source), record_dtype(spec.patch.dtype, spec.patch.channels, spec.fields)
    )
    valid = ~np.isin(np.asarray(spec.images, np.int64)[spec.source], list(spec.void))
    histograms = Histograms(spec.patch.dtype)
    # What annotates a patch is made with it, and compresses well: it is kept until its turn.
    annotations: list[list[bytes | None]] = [[] for _ in spec.fields]
    image, *others = spec.targets
    rows_per_shard = spec.patch.rows_per_shard
    files = [image.write(_chunks(spec, valid, records, histograms, annotations), rows_per_shard)]
    files += [
        target.write(chunks, rows_per_shard)
        for target, chunks in zip(others, annotations, strict=True)
    ]
    seconds = time.perf_counter() - began
    return ShardResult(spec.shard, tuple(files), records, histograms.packed(), valid, seconds)


def _chunks(
    spec: ShardSpec,
    valid: NDArray[np.bool_],
    records: NDArray[Any],
    histograms: Histograms,
    annotations: Sequence[list[bytes | None]],
) -> Iterator[bytes | None]:
    """Yield the encoded rows in order, image by image, and fill in all else that they have."""
    changes = np.flatnonzero(spec.source[1:] != spec.source[:-1]) + 1
    for rows in np.split(np.arange(len(spec.source)), changes):
        if not valid[rows[0]]:
            yield from [None] * len(rows)
            for chunks in annotations:
                chunks += [None] * len(rows)
            continue
        number = int(spec.source[rows[0]])
        try:
            yield from _image_chunks(
                spec, spec.sources[number], rows, records, histograms, annotations
            )
        except SourceError as error:
            raise SourceError(error.text, spec.images[number], error.detail) from error


def _image_chunks(
    spec: ShardSpec,
    image: ImageSource,
    rows: NDArray[np.intp],
    records: NDArray[Any],
    histograms: Histograms,
    annotations: Sequence[list[bytes | None]],
) -> Iterator[bytes]:
    """Yield the encoded rows of one image."""
    patch, corners = spec.patch, spec.corners[rows]
    patches, clipped = cut_counted(image, spec.options, corners, patch)
    spans = own_spans(corners[:, 1:], patch.size, image.kind.resolution)
    for row, pixels, count, own in zip(rows.tolist(), patches, clipped, spans, strict=True):
        # Padding is no measurement, and a border is its neighbours': neither counts.
        window = pixels if patch.output_size else own_pixels(pixels, patch.margin_px, own)
        channel_moments(window, records[row]["moments"])
        records[row]["clipped"] = count
        histograms.add(int(spec.splits[row]), window)
        yield encode_chunk(pixels, patch.codec, patch.level)
    windows = patches.reshape(len(rows), patch.channels, -1, *patches.shape[-2:])
    for field, annotation, chunks in zip(spec.fields, image.annotations, annotations, strict=True):
        cut = annotation.cut(image, spec.options, corners, patch, field, windows)
        for row, pixels, own in zip(rows.tolist(), cut, spans, strict=True):
            note_annotation(field, pixels, patch.margin_px, own, records[row])
            stored = np.ascontiguousarray(pixels, field.dtype.newbyteorder("<"))
            chunks.append(encode_chunk(stored, patch.codec, patch.level))

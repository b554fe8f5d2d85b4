"""Decodes every patch, mask and label map of a store, and compares it with what the store says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reader import Store
from ..reader.columns import Columns
from ..reader.errors import DamagedStoreError
from ..reader.format import MISSING, index_nbytes, shard_name, unpack_index
from ..reader.remote import Place
from ..reader.staged import read_part
from ..tasks.annotation import AnnotationField
from ..tasks.records import note_annotation, record_dtype
from ..tasks.resolution import Resolution
from ..tasks.scratch import scratch
from ..tasks.statistics import channel_moments, is_exact
from ..tasks.windows import own_pixels, own_spans
from .classes import ClassColumn, class_columns
from .recipe import Recipe
from .split_statistics import SplitStatistics
from .summary import row_columns


def verify_patches(store: Store) -> tuple[int, list[str]]:
    """Decode everything, shard by shard, and compare it with columns and statistics.

    Returns
    -------
    patches, damage
        How many are right; a sentence for each thing that is not what was written.
    """
    damage: list[str] = []
    patches = 0
    part = read_part(store.path)
    there = [name for name in store.splits if part is None or name in part.splits]
    field = store.fields["image"]
    annotations = _annotations(store)
    record = record_dtype(field.dtype, len(store.channels), annotations)
    labels = _labels(store, annotations)
    found = SplitStatistics(
        field.dtype, tuple(store.splits), tuple(store.channels), is_exact(field.dtype)
    )
    rows = len(store.index["valid"])
    for shard, start in enumerate(range(0, rows, field.rows_per_shard)):
        own = np.arange(start, min(start + field.rows_per_shard, rows))
        ranges = (store.splits[name] for name in there)
        own = np.concatenate([own[:0], *(own[(own >= a) & (own < b)] for a, b in ranges)])
        valid = store.index["valid"][own]
        damage += _absent(store, shard, own[~valid])
        records = np.zeros(len(own), record)
        right = np.zeros(len(own), bool)
        for at in np.flatnonzero(valid).tolist():
            try:
                row = int(own[at])
                pixels = _note_row(store, annotations, row, records[at])
                found.histograms.add(int(store.index["split"][row]), pixels)
                right[at] = True
            except DamagedStoreError as error:
                damage.append(str(error))
        patches += int(right.sum())
        damage += _compare_rows(store, own[right], records[right], labels)
        for number, (first, last) in enumerate(store.splits.values()):
            inside = right & (own >= first) & (own < last)
            if inside.any():
                found.add(number, records[inside])
    if not damage:
        damage += _compare_statistics(store, found, there)
    return patches, damage


def _annotations(store: Store) -> tuple[AnnotationField, ...]:
    """Return the masks and label maps of a store."""
    found = []
    for name, field in store.fields.items():
        if name == "image":
            continue
        found.append(AnnotationField(name, field.dtype, field.classes, field.ignore))
    return tuple(found)


def _labels(store: Store, annotations: Sequence[AnnotationField]) -> tuple[ClassColumn, ...]:
    """Return the columns of `index/` that masks, label maps and tables [classes.NAME] make."""
    recipe = Recipe.from_dict(store.attributes["recipe"])
    names = [column for table in recipe.classes.values() if (column := table.of_images)]
    columns = {name: store.images[name].tolist() for name in names}
    images = [
        {name: values[number] for name, values in columns.items()}
        for number in range(len(store.images["status"]))
    ]
    return class_columns(recipe, annotations, images)


def _note_row(
    store: Store, annotations: Sequence[AnnotationField], row: int, record: NDArray[Any]
) -> NDArray[Any]:
    """Decode a row, fill in its record, and return the patch's own pixels (c, ...)."""
    into = {
        name: scratch(f"verify {name}", (1, *field.shape), field.dtype)
        for name, field in store.fields.items()
    }
    store.read_rows_into(np.array([row], np.int64), into)
    margin = store.attributes.get("margin_px", 0)
    spans = _own_spans(store, row, margin)
    own = own_pixels(into["image"][0], margin, spans)
    channel_moments(own, record["moments"])
    for field in annotations:
        (pixels,) = into[field.name]
        volume = pixels.reshape(-1, *pixels.shape[-2:])
        note_annotation(field, volume, margin, spans, record)
    return own


def _own_spans(store: Store, row: int, margin: int) -> NDArray[np.int64]:
    """Return which pixels of a row's window lie in the image, as `own_spans` does."""
    *_, height, width = store.fields["image"].shape
    is_3d = len(store.axes) == 4
    depth = store.fields["image"].shape[1] if is_3d else 1
    size = (depth, height - 2 * margin, width - 2 * margin)
    if "window" in store.attributes:  # a picture made of a window, all of which counts
        return np.array([[0, length] for length in size])
    image = store.index["image"][row]
    z, y, x = store.images["cut_shape"][image].tolist()
    scale = tuple(store.images["cut_scale"][image].tolist())
    corners = np.array([[store.index[axis][row] for axis in "zyx"]], np.int64)
    if not is_3d:
        corners[:, 0] = 0  # a plane of its own, whichever it is
    resolution = Resolution(0, (z, y, x), (1.0, 1.0, 1.0), scale)
    own: NDArray[np.int64] = own_spans(corners, size, resolution)[0]
    return own


def _absent(store: Store, shard: int, void: NDArray[np.int64]) -> Iterator[str]:
    """Yield rows that have a chunk although they are void."""
    for field in store.fields.values() if void.size else ():
        path = store.path / field.name / shard_name(shard, 1 + len(field.shape))
        data = content_of(path)
        if data is None:
            continue
        end = np.frombuffer(data, np.uint8)[-index_nbytes(field.rows_per_shard) :]
        index = unpack_index(end)
        if index is None:
            continue  # reading the shard's valid rows says so
        for row in void.tolist():
            if index[row % field.rows_per_shard, 0] != MISSING:
                yield f"{path}: patch {row} is void and has a chunk"


def content_of(path: Place) -> bytes | None:
    """Return what is in a file, None where it is not there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _compare_rows(
    store: Store, rows: NDArray[np.int64], records: NDArray[Any], labels: Sequence[ClassColumn]
) -> Iterator[str]:
    columns = {
        f"{statistic}_{channel}": values
        for number, channel in enumerate(store.channels)
        for statistic, values in row_columns(
            records["moments"][:, number], store.fields["image"].dtype
        ).items()
    }
    image = store.index["image"][rows].astype(np.int32)
    columns |= {label.name: label.values(records, image) for label in labels}
    for name, values in columns.items():
        written = store.index[name][rows]
        wrong = rows[~((values == written) | ((values != values) & (written != written)))]
        for row in wrong.tolist():
            yield f"{store.path}/index/{name}: patch {row} is not what was written"


def _compare_statistics(
    store: Store, found: SplitStatistics, there: Sequence[str]
) -> Iterator[str]:
    said = found.as_dict()
    for split in there:
        for name in store.channels:
            written = dict(store.attributes["statistics"][split][name])
            # How much was clipped is not in the patches any more.
            if written | {"clipped": None} != said[split][name] | {"clipped": None}:
                yield f"{store.path}/zarr.json: the statistics of {name} in {split} are wrong"
    written_columns = Columns(store.path / "statistics", None, ("value", "count"))
    values, counts = written_columns["value"], written_columns["count"]
    own_values, own_counts = found.arrays()
    if part_of_all := len(there) < len(store.splits):
        places = np.searchsorted(values, own_values).clip(max=max(0, len(values) - 1))
        widened = np.zeros_like(counts)
        widened[:, :, places] = own_counts
        own_values, own_counts = values, widened
    for number, split in enumerate(store.splits):
        if split not in there:
            continue
        same = part_of_all or np.array_equal(values, own_values)
        if not same or not np.array_equal(counts[number], own_counts[number]):
            yield f"{store.path}/statistics/count: the histograms of {split} are wrong"

"""Checks a store from end to end: every patch decoded, every checksum and column compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..reader import Store, open_store
from ..reader.errors import DamagedStoreError
from ..reader.format import MISSING, index_nbytes, shard_name, unpack_index
from ..reader.root import read_json
from ..tasks.cut import held_pixels
from ..tasks.scratch import scratch
from ..tasks.statistics import channel_moments, is_exact, moments_dtype
from .finish import root_digest
from .summary import Merged, row_columns


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    patches
        That were decoded and found right.
    damage
        A sentence for each thing that is not what was written.
    """

    patches: int
    damage: tuple[str, ...]


def verify(store: str | Path) -> Verification:
    """Check a complete store.

    Raises
    ------
    PatchmillError
        Where it is no store, is not complete, or its metadata cannot be read at all.
    """
    opened = open_store(store)
    damage = [*_metadata(opened), *_columns(opened)]
    if damage:
        # Rows cannot be judged by columns that are damaged themselves.
        return Verification(0, tuple(damage))
    patches, found = _patches(opened)
    return Verification(patches, (*found, *_unexpected(opened)))


def _metadata(store: Store) -> Iterator[str]:
    expected = dict(store.attributes["sha256"])
    if expected.pop("zarr.json", None) != root_digest(read_json(store.path / "zarr.json")):
        yield f"{store.path}/zarr.json: is not what was written"
    for name, digest in expected.items():
        path = store.path / name
        if not path.is_file():
            yield f"{path}: is missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{path}: is not what was written"
    for path in sorted(store.path.rglob("zarr.json")):
        name = path.relative_to(store.path).as_posix()
        if name != "zarr.json" and name not in expected:
            yield f"{path}: does not belong to the store"


def _columns(store: Store) -> Iterator[str]:
    """Yield what is wrong with the columns: chunks that are not there, values that cannot be."""
    for group in ("index", "images", "candidates"):
        for path in sorted((store.path / group).glob("*/zarr.json")):
            try:
                array: Any = zarr.open_array(path.parent, mode="r")
                if array.nchunks_initialized != array.nchunks and array.size:
                    yield f"{path.parent}: {array.nchunks - array.nchunks_initialized} chunks miss"
                array[...]
            except Exception as error:  # zarr raises what its codecs raise: any kind
                yield f"{path.parent}: cannot be read ({error})"
    try:
        index = {name: store.index[name] for name in ("image", "y", "x", "split", "valid")}
        shapes = store.images["shape"]
    except (DamagedStoreError, KeyError) as error:
        yield str(error)
        return
    kept = zarr.open_array(store.path / "candidates" / "kept", mode="r")
    if int(np.sum(kept[...])) != len(index["valid"]):
        yield f"{store.path}/candidates/kept: does not fit the number of patches"
    for number, (name, (start, stop)) in enumerate(store.splits.items()):
        if (index["split"][start:stop] != number).any():
            yield f"{store.path}/index/split: rows {start} to {stop} are not all of {name}"
    if not ((index["image"] >= 0) & (index["image"] < len(shapes))).all():
        yield f"{store.path}/index/image: names images that images/ does not have"
        return
    shape = shapes[index["image"]]
    for name, axis in (("y", 3), ("x", 4)):
        if not ((index[name] >= 0) & (index[name] < shape[:, axis])).all():
            yield f"{store.path}/index/{name}: has corners outside of their images"


def _patches(store: Store) -> tuple[int, list[str]]:
    """Decode everything, shard by shard, and compare it with columns and statistics."""
    damage: list[str] = []
    patches = 0
    merged = {
        split: [Merged(is_exact(store.fields["image"].dtype)) for _ in store.channels]
        for split in store.splits
    }
    field = store.fields["image"]
    rows = len(store.index["valid"])
    for shard, start in enumerate(range(0, rows, field.rows_per_shard)):
        own = np.arange(start, min(start + field.rows_per_shard, rows))
        valid = store.index["valid"][own]
        damage += _absent(store, shard, own[~valid])
        moments = np.zeros((len(own), len(store.channels)), moments_dtype(field.dtype))
        right = np.zeros(len(own), bool)
        for at in np.flatnonzero(valid).tolist():
            try:
                _measure(store, int(own[at]), moments[at])
                right[at] = True
            except DamagedStoreError as error:
                damage.append(str(error))
        patches += int(right.sum())
        damage += _compare_rows(store, own[right], moments[right])
        for split, channels in merged.items():
            first, last = store.splits[split]
            inside = right & (own >= first) & (own < last)
            for number, channel in enumerate(channels):
                channel.add(moments[inside, number])
    if not damage:
        damage += _compare_statistics(store, merged)
    return patches, damage


def _measure(store: Store, row: int, out: NDArray[Any]) -> None:
    field = store.fields["image"]
    patch = scratch("verify", (1, *field.shape), field.dtype)
    store.read_rows_into(np.array([row], np.int64), {"image": patch})
    y, x = (store.index[name][row : row + 1] for name in ("y", "x"))
    shape = store.images["shape"][store.index["image"][row], 3:].tolist()
    height, width = held_pixels(y, x, (field.shape[-2], field.shape[-1]), (shape[0], shape[1]))[0]
    channel_moments(patch[0, ..., :height, :width], out)


def _absent(store: Store, shard: int, void: NDArray[np.int64]) -> Iterator[str]:
    """Yield rows that have a chunk although they are void."""
    field = store.fields["image"]
    path = store.path / "image" / shard_name(shard, 1 + len(field.shape))
    if not void.size or not path.is_file():
        return
    data = np.fromfile(path, np.uint8)
    index = unpack_index(data[-index_nbytes(field.rows_per_shard) :])
    if index is None:
        return  # reading the shard's valid rows says so
    for row in void.tolist():
        if index[row % field.rows_per_shard, 0] != MISSING:
            yield f"{path}: patch {row} is void and has a chunk"


def _compare_rows(store: Store, rows: NDArray[np.int64], moments: NDArray[Any]) -> Iterator[str]:
    for number, channel in enumerate(store.channels):
        columns = row_columns(moments[:, number], store.fields["image"].dtype)
        for statistic, values in columns.items():
            name = f"{statistic}_{channel}"
            written = store.index[name][rows]
            wrong = rows[~((values == written) | ((values != values) & (written != written)))]
            for row in wrong.tolist():
                yield f"{store.path}/index/{name}: patch {row} is not what was written"


def _compare_statistics(store: Store, merged: dict[str, list[Merged]]) -> Iterator[str]:
    for split, channels in merged.items():
        for name, channel in zip(store.channels, channels, strict=True):
            if store.attributes["statistics"][split][name] != channel.as_dict():
                yield f"{store.path}/zarr.json: the statistics of {name} in {split} are wrong"


def _unexpected(store: Store) -> Iterator[str]:
    """Yield files of a field that are none of its shards."""
    for field in store.fields.values():
        ndim = 1 + len(field.shape)
        shards = -(-field.rows // field.rows_per_shard)
        expected = {shard_name(shard, ndim) for shard in range(shards)} | {"zarr.json"}
        for path in sorted((store.path / field.name).iterdir()):
            if path.name not in expected:
                yield f"{path}: does not belong to the store"

"""Finishes a store: its columns, its statistics, and last of all the mark that it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..reader.columns import Columns
from ..reader.errors import StoreError
from ..reader.format import ATTRIBUTE
from ..tasks.statistics import is_exact
from .candidates import REASONS
from .columns import CHUNK_ROWS, add_column, every_chunk_written, write_column, write_texts
from .create import FIELDS, attributes, consolidated, metadata_below, metadata_digests
from .digests import digest_json
from .ledger import Ledger
from .planning import NO_SPLIT, Plan
from .run_folder import RunFolder
from .summary import Merged, row_columns

#: What `images/status` holds.
STATUS = ("ok", "failed")

#: The statistics of each channel, by split and by image.
SplitStatistics = dict[str, list[Merged]]
ImageStatistics = dict[int, list[Merged]]


def finish_store(plan: Plan, run: RunFolder, ledger: Ledger, failed: dict[int, str]) -> None:
    """Write everything that is left to write, and mark the store as complete.

    Each group is made aside and moved into place; after a crash all of it is done again.

    Parameters
    ----------
    failed
        Images (rows in `images/`) that could not be cut, and why.
    """
    with every_chunk_written():
        staged = run.staging("index")
        by_split, by_image, void = _write_index(staged, plan, ledger)
        below = _place(run, staged, "index")
        staged = run.staging("images")
        _write_images(staged, plan, failed, by_image)
        below |= _place(run, staged, "images")
        staged = run.staging("candidates")
        _write_candidates(staged, plan)
        below |= _place(run, staged, "candidates")
    below = _in_order(below | _field_metadata(run))
    own = attributes(plan, complete=True) | {
        "void": void,
        "statistics": {
            split: {
                name: channel.as_dict()
                for name, channel in zip(plan.channels, channels, strict=True)
            }
            for split, channels in by_split.items()
        },
        "sha256": metadata_digests(below),
    }
    write_root(run, own, below)


def write_root(run: RunFolder, own: dict[str, Any], below: Mapping[str, bytes]) -> None:
    """Replace the root's metadata, whole or not at all; a complete one gets its own sha256.

    Parameters
    ----------
    below
        Every other zarr.json of a complete store, by its path in it.
    """
    root: dict[str, Any] = {
        "attributes": {ATTRIBUTE: own},
        "zarr_format": 3,
        "node_type": "group",
    }
    if own["complete"]:
        root["consolidated_metadata"] = consolidated(below)
        own["sha256"]["zarr.json"] = root_digest(root)
    run.store.put(run.stage_json("zarr.json", root), "zarr.json")


def root_digest(root: dict[str, Any]) -> str:
    """Return the sha256 of the root's canonical JSON without the key that holds it."""
    own = root["attributes"][ATTRIBUTE]
    others = {key: value for key, value in own["sha256"].items() if key != "zarr.json"}
    bare = {**root, "attributes": {ATTRIBUTE: {**own, "sha256": others}}}
    return digest_json(bare)


def failed_images(images: Columns) -> tuple[tuple[str, str], ...]:
    """Return id and reason of every image of a complete store that has no patches, or void ones."""
    failed = np.flatnonzero(images["status"] == STATUS.index("failed"))
    return tuple((str(images["id"][n]), str(images["reason"][n])) for n in failed.tolist())


def _place(run: RunFolder, staged: Path, name: str) -> dict[str, bytes]:
    """Bring a group to its place; return every zarr.json of it, by its path in the store."""
    below = metadata_below(staged)
    path = staged / "zarr.json"
    content = json.loads(path.read_text())
    content["consolidated_metadata"] = consolidated(below)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    below["zarr.json"] = path.read_bytes()
    run.store.put(staged, name)
    return {f"{name}/{each}": data for each, data in below.items()}


def _field_metadata(run: RunFolder) -> dict[str, bytes]:
    found = {f"{field}/zarr.json": run.store.read(f"{field}/zarr.json") for field in FIELDS}
    gone = [name for name, data in found.items() if data is None]
    if gone:
        raise StoreError(f"{run.store}/{gone[0]} is gone; run the same command again")
    return {name: data for name, data in found.items() if data is not None}


def _in_order(below: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return metadata folder by folder, which is another order than that of the texts."""
    return dict(sorted(below.items(), key=lambda item: item[0].split("/")))


def _blocks(plan: Plan) -> Iterator[tuple[range, slice]]:
    """Yield runs of shards with their rows, of bounded size and aligned to the columns' chunks."""
    at_once = max(1, CHUNK_ROWS // plan.patch.rows_per_shard)
    for first in range(0, plan.n_shards, at_once):
        shards = range(first, min(first + at_once, plan.n_shards))
        yield shards, slice(plan.shard_rows(shards[0]).start, plan.shard_rows(shards[-1]).stop)


def _write_index(
    staged: Path, plan: Plan, ledger: Ledger
) -> tuple[SplitStatistics, ImageStatistics, int]:
    """Write `index/`, block by block, and merge the statistics on the way, in row order."""
    group = zarr.create_group(staged, zarr_format=3)
    rows = plan.rows
    exact = is_exact(plan.patch.dtype)
    for name, values in rows.columns.items():
        named = {"names": list(plan.splits.names)} if name == "split" else None
        write_column(group, name, values, ["patch"], named)
    levels = np.array([image.source.kind.resolution.level for image in plan.images], np.uint8)
    write_column(group, "level", levels[rows.columns["image"]], ["patch"])
    for name, planes in _focus_columns(plan):
        write_column(group, name, planes, ["patch"])
    shape = (len(rows),)
    valid_column = add_column(group, "valid", np.dtype(bool), shape, ["patch"])
    measured: dict[str, zarr.Array[Any]] = {}
    for channel in plan.channels:
        for statistic in ("mean", "std", "min", "max"):
            dtype = plan.patch.dtype if statistic in ("min", "max") else np.dtype(np.float64)
            name = f"{statistic}_{channel}"
            measured[name] = add_column(group, name, dtype, shape, ["patch"])

    def merged() -> list[Merged]:
        return [Merged(exact) for _ in plan.channels]

    by_split = {name: merged() for name in plan.splits.names}
    by_image: ImageStatistics = {}
    void = 0
    for shards, where in _blocks(plan):
        moments = np.concatenate([ledger.moments(shard) for shard in shards])
        valid = np.concatenate([ledger.shards[shard].valid for shard in shards])
        valid_column[where] = valid
        void += int((~valid).sum())
        for number, channel in enumerate(plan.channels):
            columns = row_columns(moments[:, number], plan.patch.dtype)
            for statistic, values in columns.items():
                measured[f"{statistic}_{channel}"][where] = values
        for number, part in _runs(rows.columns["split"][where]):
            _add(by_split[plan.splits.names[number]], moments[part])
        for number, part in _runs(rows.columns["image"][where]):
            _add(by_image.setdefault(number, merged()), moments[part])
    return by_split, by_image, void


def _focus_columns(plan: Plan) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Yield for each channel the plane of each row, where every channel has a focus of its own."""
    if plan.recipe.patches.focus != "each":
        return
    image, t = plan.rows.columns["image"], plan.rows.columns["t"]
    first = np.cumsum([0, *(len(own.times) for own in plan.images)])
    focus = np.concatenate([own.focus for own in plan.images if own.focus is not None])
    begins = np.array([own.times.start for own in plan.images])
    for number, channel in enumerate(plan.channels):
        yield f"focus_{channel}", focus[first[image] + t - begins[image], number]


def _add(channels: list[Merged], moments: NDArray[Any]) -> None:
    for number, channel in enumerate(channels):
        channel.add(moments[:, number])


def _runs(values: NDArray[Any]) -> Iterator[tuple[int, slice]]:
    """Yield each value with the run of places where it stands."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = [0, *edges.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        yield int(values[start]), slice(start, stop)


def _write_images(
    staged: Path, plan: Plan, failed: dict[int, str], by_image: ImageStatistics
) -> None:
    """Write `images/`: those of the plan in its order, then those found bad at the survey."""
    group = zarr.create_group(staged, zarr_format=3)
    bad = [files for files, _ in plan.failed]
    every = [*(image.files for image in plan.images), *bad]
    reasons = [failed.get(number, "") for number in range(len(plan.images))]
    reasons += [reason for _, reason in plan.failed]

    def texts(name: str, values: list[str]) -> None:
        write_texts(group, name, values, "image")

    texts("id", [files.id for files in every])
    texts("path", [files.files[0].relative for files in every])
    texts("files", [json.dumps([file.relative for file in files.files]) for files in every])
    described = [dict(files.groups) for files in every]
    for name in dict.fromkeys(name for columns in described for name in columns):
        if name == "split":
            continue  # it says the split, which has a column of its own
        # Only images that are one of several in a file have an item.
        texts(name, [columns.get(name, "") for columns in described])
    texts("reason", reasons)
    texts(
        "checksum",
        [json.dumps(sums) if any(sums) else "" for sums in plan.checksums] + [""] * len(bad),
    )

    def column(name: str, values: NDArray[Any], second: str = "", names: Any = None) -> None:
        dimensions = ["image", second] if second else ["image"]
        write_column(group, name, values, dimensions, names and {"names": names})

    status = np.array([bool(reason) for reason in reasons], np.uint8)
    column("status", status, names=list(STATUS))
    split = np.concatenate([plan.image_splits, np.full(len(bad), NO_SPLIT, np.uint8)])
    column("split", split, names=list(plan.splits.names))
    column(
        "shape",
        np.array([image.shape for image in plan.images] + [(0,) * 5] * len(bad), np.int64),
        "axis",
    )
    resolutions = [image.source.kind.resolution for image in plan.images]
    sizes = [resolution.size for resolution in resolutions] + [(0,) * 3] * len(bad)
    column("cut_shape", np.array(sizes, np.int64), "space")
    scales = [resolution.scale for resolution in resolutions] + [(1.0,) * 3] * len(bad)
    column("cut_scale", np.array(scales, np.float64), "space")
    unknown = (np.nan,) * 3
    column(
        "voxel_um",
        np.array([image.voxel_um for image in plan.images] + [unknown] * len(bad), np.float64),
        "space",
    )
    empty = [Merged(True) for _ in plan.channels]
    merged = [by_image.get(number, empty) for number in range(len(every))]
    of: dict[str, Any] = {
        "count": (np.int64, lambda m: m.count),
        "mean": (np.float64, lambda m: m.mean),
        "deviations": (np.float64, lambda m: m.deviations),
        "min": (plan.patch.dtype, lambda m: 0 if m.low is None else m.low),
        "max": (plan.patch.dtype, lambda m: 0 if m.high is None else m.high),
    }
    for name, (dtype, value) in of.items():
        values = [[value(channel) for channel in channels] for channels in merged]
        column(name, np.array(values, dtype).reshape(len(every), len(plan.channels)), "channel")


def _write_candidates(staged: Path, plan: Plan) -> None:
    group = zarr.create_group(staged, zarr_format=3)
    for name, values in plan.rows.candidates.items():
        named = {"names": list(REASONS)} if name == "reason" else None
        write_column(group, name, values, ["candidate"], named)

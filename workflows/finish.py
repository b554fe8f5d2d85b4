"""Finishes a store: its columns, its statistics, and last of all the mark that it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ..reader.columns import Columns
from ..reader.errors import StoreError
from ..reader.format import ATTRIBUTE
from .columns import every_chunk_written, write_column
from .create import attributes, consolidate, consolidated, metadata_digests
from .digests import digest_json
from .finished_images import STATUS, write_images
from .finished_index import write_index
from .ledger import Ledger
from .planned import Plan
from .run_folder import RunFolder


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
        by_split, by_image, void = write_index(staged, plan, ledger)
        below = _place(run, staged, "index")
        staged = run.staging("images")
        write_images(staged, plan, failed, by_image)
        below |= _place(run, staged, "images")
        staged = run.staging("statistics")
        by_split.write(zarr.create_group(staged, zarr_format=3))
        below |= _place(run, staged, "statistics")
        staged = run.staging("candidates")
        _write_candidates(staged, plan)
        below |= _place(run, staged, "candidates")
    below = _in_order(below | _field_metadata(plan, run))
    own = attributes(plan, complete=True) | {
        "void": void,
        "statistics": by_split.as_dict(),
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
    below = consolidate(staged)
    run.store.put(staged, name)
    return {f"{name}/{each}": data for each, data in below.items()}


def _field_metadata(plan: Plan, run: RunFolder) -> dict[str, bytes]:
    groups = {name.partition("/")[0] for name in plan.field_axes if "/" in name}
    names = [f"{name}/zarr.json" for name in (*plan.field_axes, *sorted(groups))]
    found = {name: run.store.read(name) for name in names}
    gone = [name for name, data in found.items() if data is None]
    if gone:
        raise StoreError(f"{run.store}/{gone[0]} is gone; run the same command again")
    return {name: data for name, data in found.items() if data is not None}


def _in_order(below: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return metadata folder by folder, which is another order than that of the texts."""
    return dict(sorted(below.items(), key=lambda item: item[0].split("/")))


def _write_candidates(staged: Path, plan: Plan) -> None:
    group = zarr.create_group(staged, zarr_format=3)
    names = {"reason": plan.rows.reasons, **plan.rows.names}
    for name, values in plan.rows.candidates.items():
        named = {"names": list(names[name])} if name in names else None
        write_column(group, name, values, ["candidate"], named)

"""Creates a store's metadata: done once, by the driver alone."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import zarr

from ..reader.format import ATTRIBUTE, FORMAT
from .columns import add_field
from .planning import Plan
from .run_folder import RunFolder

#: Fields that a store has; each is one array of the same rows and shards.
FIELDS = ("image",)


def create_store(plan: Plan, run: RunFolder) -> None:
    """Make the incomplete store: its root group and the arrays of its fields, without a shard.

    It is made aside and moved into place, so that there is no half-made one.
    """
    staged = run.staging("create")
    root = zarr.create_group(
        staged, zarr_format=3, attributes={ATTRIBUTE: attributes(plan, complete=False)}
    )
    for field in FIELDS:
        add_field(root, field, len(plan.rows), plan.patch, plan.axes)
    run.move_into_place(staged, run.store)


def attributes(plan: Plan, complete: bool) -> dict[str, Any]:
    """Return the store's own attributes that are known before anything is cut."""
    margin = plan.patch.margin_px
    return {
        "format": FORMAT,
        "complete": complete,
        "plan": plan.digest,
        "recipe": plan.recipe.canonical(),
        "software": plan.software,
        "axes": list(plan.axes),
        "channels": list(plan.channels),
        "voxel_um": voxel_um(plan),
        "fields": list(FIELDS),
        # Only where there is one, so that a store without is what it was before there were any.
        **({"margin_px": margin} if margin else {}),
        "splits": {
            name: list(rows) for name, rows in zip(plan.splits.names, plan.rows.splits, strict=True)
        },
    }


def voxel_um(plan: Plan) -> dict[str, Any]:
    """Return the voxel size, (z, y, x) in micrometres: what was asked for, and what there is.

    Nothing is rescaled, so the real one is the images' own; None where it is unknown or differs.
    """
    sizes = {
        tuple(None if math.isnan(value) else value for value in image.voxel_um)
        for image in plan.images
    }
    return {"nominal": None, "real": list(sizes.pop()) if len(sizes) == 1 else None}


def consolidated(group: Path) -> dict[str, Any]:
    """Return a group's `consolidated_metadata`: what is below it, for readers that ask for it.

    Source: zarr-python's extension of zarr v3, which xarray looks for first.
    """
    below = {
        path.parent.relative_to(group).as_posix(): json.loads(path.read_text())
        for path in sorted(group.rglob("zarr.json"))
        if path.parent != group
    }
    for metadata in below.values():
        metadata.pop("consolidated_metadata", None)
    return {"kind": "inline", "must_understand": False, "metadata": below}


def metadata_digests(store: Path) -> dict[str, str]:
    """Return the sha256 of every zarr.json below the root's, by its path in the store."""
    found = {}
    for folder, _, names in os.walk(store):
        if "zarr.json" in names and Path(folder) != store:
            path = Path(folder) / "zarr.json"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(store).as_posix()] = digest
    return dict(sorted(found.items()))

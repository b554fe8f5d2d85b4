"""Creates a store's metadata: done once, by the driver alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from ..reader.format import ATTRIBUTE, FORMAT
from ..tasks.annotation import AnnotationField
from .columns import add_field
from .planned import Plan
from .resolutions import cut_voxel_um, wanted_voxel_um
from .run_folder import RunFolder


def create_store(plan: Plan, run: RunFolder) -> None:
    """Make the incomplete store: its root group and the arrays of its fields, without a shard.

    It is made aside and moved into place, so that there is no half-made one.
    """
    staged = run.staging("create")
    root = zarr.create_group(
        staged, zarr_format=3, attributes={ATTRIBUTE: attributes(plan, complete=False)}
    )
    patch, axes = plan.patch, plan.field_axes
    add_field(root, "image", len(plan.rows), patch, patch.shape, patch.dtype, axes["image"])
    for field in plan.annotations:
        kind, _, name = field.name.partition("/")
        add_field(
            root.require_group(kind),
            name,
            len(plan.rows),
            patch,
            patch.shape[1:],
            field.dtype,
            axes[field.name],
            field_attributes(field),
        )
    for kind in {field.name.partition("/")[0] for field in plan.annotations}:
        consolidate(staged / kind)
    run.store.put(staged)


def field_attributes(field: AnnotationField) -> dict[str, Any]:
    """Return what the array of a mask says of its numbers."""
    if not field.is_mask:
        return {}
    return {"classes": {name: number for number, name in field.classes}, "ignore": field.ignore}


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
        "fields": list(plan.field_axes),
        # Only where there is one, so that a store without is what it was before there were any.
        **({"margin_px": margin} if margin else {}),
        **({"steps": list(plan.steps)} if plan.steps else {}),
        # A step has made pictures of another size of windows of this one, (z, y, x).
        **({"window": list(plan.patch.size)} if plan.patch.output_size else {}),
        "splits": {
            name: list(rows) for name, rows in zip(plan.splits.names, plan.rows.splits, strict=True)
        },
    }


def voxel_um(plan: Plan) -> dict[str, Any]:
    """Return the voxel size of patches, (z, y, x) in micrometres: asked for, and what there is.

    None where it is unknown, or where images differ.
    """
    nominal = wanted_voxel_um(plan.recipe.patches)
    sizes = {_or_none(cut_voxel_um(image)) for image in plan.images}
    return {
        "nominal": None if nominal is None else list(_or_none(nominal)),
        "real": list(sizes.pop()) if len(sizes) == 1 else None,
    }


def _or_none(lengths: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(length) else length for length in lengths)


def metadata_below(group: Path) -> dict[str, bytes]:
    """Return every zarr.json of a group but its own, by its path in it, folder by folder."""
    return {
        path.relative_to(group).as_posix(): path.read_bytes()
        for path in sorted(group.rglob("zarr.json"))
        if path.parent != group
    }


def consolidated(below: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a group's `consolidated_metadata`: what is below it, for readers that ask for it.

    Source: zarr-python's extension of zarr v3, which xarray looks for first.
    """
    found = {path.removesuffix("/zarr.json"): json.loads(data) for path, data in below.items()}
    for metadata in found.values():
        metadata.pop("consolidated_metadata", None)
    return {"kind": "inline", "must_understand": False, "metadata": found}


def consolidate(group: Path) -> dict[str, bytes]:
    """Write into a group's metadata what is below it; return every zarr.json by its path in it."""
    below = metadata_below(group)
    path = group / "zarr.json"
    content = json.loads(path.read_text())
    content["consolidated_metadata"] = consolidated(below)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return below | {"zarr.json": path.read_bytes()}


def metadata_digests(below: Mapping[str, bytes]) -> dict[str, str]:
    """Return the sha256 of every zarr.json below the root's, by its path in the store."""
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(below.items())}

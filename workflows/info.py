"""What there is to say of a store, or of a plan: as JSON values, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..reader import open_store
from ..reader.remote import Place
from ..tasks.remote_objects import object_sizes
from .finish import failed_images
from .planned import Plan, candidate_counts


def describe_store(path: str | Path) -> dict[str, Any]:
    """Return what a store holds, as JSON values; an incomplete one too.

    Parameters
    ----------
    path
        Its folder, or its URL, with keys and options from the environment.
    """
    store = open_store(path, allow_incomplete=True)
    own = store.attributes
    field = store.fields["image"]
    described: dict[str, Any] = {
        "store": str(store.path),
        "complete": store.is_complete,
        "format": own["format"],
        "patches": field.rows,
        "void": own.get("void"),
        "patch": {
            "axes": list(store.axes),
            "shape": list(field.shape),
            "margin_px": own.get("margin_px", 0),
            "dtype": str(field.dtype),
        },
        "channels": list(store.channels),
        "fields": {
            name: {"shape": list(other.shape), "dtype": str(other.dtype)}
            for name, other in store.fields.items()
        },
        "steps": own.get("steps", []),
        "voxel_um": own["voxel_um"],
        "codec": field.codec,
        "patches_per_shard": field.rows_per_shard,
        "shards": -(-field.rows // field.rows_per_shard),
        "bytes": _nbytes(store.path),
        "splits": {name: stop - start for name, (start, stop) in store.splits.items()},
        "statistics": own.get("statistics", {}),
        "software": own["software"],
        "recipe": own["recipe"],
        "plan": own["plan"],
    }
    if store.is_complete:
        described["images"] = len(store.images["status"])
        described["failed"] = [
            {"image": image, "reason": reason} for image, reason in failed_images(store.images)
        ]
    return described


def _nbytes(place: Place) -> int | None:
    """Return the bytes of all files of a store; None for a web server, which lists none."""
    if isinstance(place, Path):
        return sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
    if str(place).startswith("http"):
        return None
    return sum(object_sizes(place.client).values())


def store_lines(described: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that `patchmill info` prints."""
    patch = described["patch"]
    yield f"{described['store']}: {'complete' if described['complete'] else 'not complete'}"
    yield f"patches   {described['patches']:,} of {_patch(patch)}"
    if described["void"]:
        yield f"void      {described['void']:,}, of images that could not be cut"
    yield f"channels  {', '.join(described['channels'])}"
    for name, other in list(described["fields"].items())[1:]:
        yield f"with      {name}, {other['dtype']}"
    for number, step in enumerate(described["steps"]):
        yield f"{'' if number else 'steps':10}{_step(step)}"
    nbytes = "" if described["bytes"] is None else f", {human_bytes(described['bytes'])} in all"
    yield (
        f"files     {described['shards']:,} shards of {described['patches_per_shard']:,} patches, "
        f"{described['codec']}{nbytes}"
    )
    for split, count in described["splits"].items():
        yield f"{split:9} {count:,} patches"
        for channel, numbers in described["statistics"].get(split, {}).items():
            if numbers["count"]:
                yield (
                    f"          {channel}: mean {_number(numbers['mean'])}, "
                    f"std {_number(numbers['std'])}, "
                    f"{_number(numbers['min'])} to {_number(numbers['max'])}{_middle(numbers)}"
                )
    for failed in described.get("failed", []):
        yield f"failed    {failed['image']}: {failed['reason']}"
    if not described["complete"]:
        yield "run the same `patchmill prepare` again to finish it"


def _step(step: dict[str, Any]) -> str:
    """Say what a step did, and from which images it learnt what it needed."""
    said = str(step["name"])
    if "from" in step:
        said += (
            f", learnt from {', '.join(step['from']) if step['from'] != 'all' else 'all splits'}"
        )
    if step.get("pedestal"):
        said += f", pedestal {step['pedestal']:g}"
    return said


def _middle(numbers: dict[str, Any]) -> str:
    """Say where most pixels lie, and how many lay outside the store's type."""
    percents = numbers.get("percentiles", {})
    said = f"; 1 % {_number(percents['1'])}, 99 % {_number(percents['99'])}" if percents else ""
    low, high = (count / numbers["count"] for count in numbers.get("clipped", (0, 0)))
    return said + (f"; clipped {low:.2%} below, {high:.2%} above" if low or high else "")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return what a plan will do, as JSON values."""
    return {
        "plan": plan.digest,
        "images": len(plan.images),
        "failed": [{"image": files.id, "reason": reason} for files, reason in plan.failed],
        "left_out": [{"image": i, "reason": reason} for i, reason in plan.found.left_out],
        "unused_channels": dict(plan.found.unused_channels),
        "notes": list(plan.notes),
        "channels": list(plan.channels),
        "patch": {
            "axes": list(plan.axes),
            "shape": list(plan.patch.shape),
            "margin_px": plan.patch.margin_px,
            "dtype": str(plan.patch.dtype),
        },
        "candidates": len(plan.rows.candidates["image"]),
        "rejected": candidate_counts(plan.rows),
        "patches": len(plan.rows),
        "splits": {
            share.name: {
                "patches": share.patches,
                "groups": share.groups,
                "wanted": share.wanted,
                "reached": share.reached,
            }
            for share in plan.splits.table
        },
        "shards": plan.n_shards,
        "patches_per_shard": plan.patch.rows_per_shard,
        "files": plan.n_shards * len(plan.field_axes),
        "patch_bytes": plan.cost.patch_bytes,
        "fields": list(plan.field_axes),
        "scores_bytes": plan.scores_bytes,
        "measured_bytes": [list(each) for each in plan.measured_bytes],
        "decoded_bytes": plan.cost.decoded_bytes,
        "needed_bytes": plan.cost.needed_bytes,
        "peak_bytes_per_thread": plan.cost.peak_bytes,
    }


def plan_lines(described: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that `patchmill plan` prints."""
    yield f"images      {described['images']:,}, channels {', '.join(described['channels'])}"
    for kind, what in (("failed", "cannot be used"), ("left_out", "left out")):
        for image in described[kind]:
            yield f"  {what}: {image['image']}: {image['reason']}"
    for channel, files in described["unused_channels"].items():
        yield f"  channel {channel} is not in images.channels: {files} files left out"
    for note in described["notes"]:
        yield f"  note: {note}"
    patch = described["patch"]
    yield f"candidates  {described['candidates']:,}"
    for reason, count in described["rejected"].items():
        yield f"  rejected  {count:,} ({reason})"
    yield f"patches     {described['patches']:,} of {_patch(patch)}"
    if others := described["fields"][1:]:
        yield f"  with      {', '.join(others)}"
    for name, share in described["splits"].items():
        wanted = "" if share["wanted"] is None else f", wanted {share['wanted']:.1%}"
        yield (
            f"  {name:9} {share['patches']:,} in {share['groups']:,} groups: "
            f"{share['reached']:.1%}{wanted}"
        )
    yield (
        f"shards      {described['shards']:,} of {described['patches_per_shard']:,} patches, "
        f"{described['files']:,} files, {human_bytes(described['patch_bytes'])} uncompressed"
    )
    if described["scores_bytes"]:
        yield f"scores      {human_bytes(described['scores_bytes'])} to read, once, for this plan"
    for name, nbytes in described["measured_bytes"]:
        yield f"statistics  {human_bytes(nbytes)} to read, once, before the run: {name}"
    decoded, peak = described["decoded_bytes"], described["peak_bytes_per_thread"]
    ratio = decoded / max(1, described["needed_bytes"])
    yield f"decoding    {human_bytes(decoded)}, {ratio:.2f} times what is needed"
    yield f"memory      {human_bytes(peak)} per worker thread, at most"


def _patch(patch: dict[str, Any]) -> str:
    size = " x ".join(f"{n} {axis}" for n, axis in zip(patch["shape"], patch["axes"], strict=True))
    border = f", a border of {patch['margin_px']} px included" if patch["margin_px"] else ""
    return f"{size}, {patch['dtype']}{border}"


def human_bytes(count: float) -> str:
    """Write a number of bytes for people, in powers of ten.

    Examples
    --------
    >>> human_bytes(64_000_000)
    '64.0 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"

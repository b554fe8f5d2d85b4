"""Writes the columns of a store's images: those of the plan, then those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from .columns import write_column, write_texts
from .finished_index import ImageStatistics
from .planned import NO_SPLIT, Plan

#: What `images/status` holds.
STATUS = ("ok", "failed")


def write_images(
    staged: Path, plan: Plan, failed: dict[int, str], by_image: dict[int, ImageStatistics]
) -> None:
    """Write `images/`: those of the plan in its order, then those found bad at the survey.

    Parameters
    ----------
    failed
        Images (rows in `images/`) that could not be cut, and why.
    by_image
        Statistics of those that have rows.
    """
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
    none = ImageStatistics(len(plan.channels), exact=True)
    found = [by_image.get(number, none) for number in range(len(every))]
    of: dict[str, Any] = {
        "count": (np.int64, lambda m: m.count),
        "mean": (np.float64, lambda m: m.mean),
        "deviations": (np.float64, lambda m: m.deviations),
        "min": (plan.patch.dtype, lambda m: 0 if m.low is None else m.low),
        "max": (plan.patch.dtype, lambda m: 0 if m.high is None else m.high),
    }
    for name, (dtype, value) in of.items():
        values = [[value(channel) for channel in own.merged] for own in found]
        column(name, np.array(values, dtype).reshape(len(every), len(plan.channels)), "channel")
    clipped = np.stack([own.clipped for own in found])
    for side, name in enumerate(("clipped_low", "clipped_high")):
        column(name, clipped[:, :, side], "channel")

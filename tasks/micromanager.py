"""What Micro-Manager says of its files: what it was to take, and in how many of them it lies."""

from __future__ import annotations

import math

import tifffile

from .ome_set import MAX_PLANES
from .source import SourceError


def check_micromanager(tif: tifffile.TiffFile, path: str) -> None:
    """Raise for what spreads over a folder, and for what no memory holds."""
    if not tif.is_micromanager:
        return
    if tif.is_ndtiff:
        raise SourceError(
            f"{path}: is part of an NDTiff data set, which is a folder of files; write it as "
            "OME-TIFF or OME-Zarr"
        )
    declared = math.prod(_summary(tif).values())
    if declared > MAX_PLANES:
        raise SourceError(
            f"{path}: its Micro-Manager metadata declares {declared} planes; at most {MAX_PLANES} "
            "are read; mend it or leave it out"
        )


def not_taken(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Return a note where Micro-Manager stopped before it had taken all."""
    if series.kind != "mmstack":
        return ()
    found = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
    less = {a: n for a, n in _summary(tif).items() if found.get(a, 1) < n}
    if not less:
        return ()
    text = ", ".join(f"{found.get(axis, 1)} of {n} along {axis}" for axis, n in less.items())
    return (f"holds less than Micro-Manager was to take ({text}); what is there is read",)


def _summary(tif: tifffile.TiffFile) -> dict[str, int]:
    """Return how many planes Micro-Manager was to take along each axis."""
    summary = (tif.micromanager_metadata or {}).get("Summary") or {}
    keys = {"R": "Positions", "T": "Frames", "Z": "Slices", "C": "Channels"}
    return {axis: max(1, int(summary.get(key) or 1)) for axis, key in keys.items()}

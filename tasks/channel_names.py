"""What a TIFF calls its channels: dyes by its vendor's metadata, else colours of its samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tifffile

from .ome import image_of, names_and_voxel
from .tiff_axes import TiffAxes
from .tiff_colours import sample_names


def channel_names(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, axes: TiffAxes
) -> tuple[str, ...]:
    """Return the names of the channels; empty strings where the file does not say.

    Parameters
    ----------
    tif
        The file.
    series
        The image in it.
    axes
        What its dimensions are.
    """
    count = axes.samples or dict(axes.leading).get("C", 1)
    names = [str(name) for name in _named(tif, series)]
    if len(names) == count and any(names):
        return tuple(names)
    if axes.samples:
        return sample_names(series.keyframe, axes.samples)
    return ("",) * count


def _named(tif: Any, series: Any) -> Sequence[Any]:
    """Return what the vendor's metadata says, whatever their number."""
    if series.kind == "ome":
        return names_and_voxel(image_of(tif, series))[0]
    if series.kind == "mmstack":
        summary = (tif.micromanager_metadata or {}).get("Summary", {})
        names = summary.get("ChNames", ())
        return names if isinstance(names, list | tuple) else ()
    if series.kind == "qpi":
        return [_qptiff_name(page.description) for page in series if page is not None]
    if series.kind == "lsm":
        colours = (tif.lsm_metadata or {}).get("ChannelColors") or {}
        return colours.get("ColorNames") or ()
    return ()


def _qptiff_name(description: str) -> str:
    """Return the dye of a page (PerkinElmer, "QPTIFF file format")."""
    found = re.search(r"<Name>([^<]*)</Name>", description or "")
    return found.group(1).strip() if found else ""

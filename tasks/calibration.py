"""The size of a pixel in a TIFF: from what its vendor's software writes, else from its tags."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tifffile

from . import vendor_calibration as vendor
from .image import UNKNOWN_VOXEL, VoxelSize
from .resolution_tags import size_by_tags
from .vendor_calibration import positive

#: Larger pixels are those of scanners and printers, of less than 1000 dots per inch.
LARGEST_UM = 25.4

_Applies = Callable[[tifffile.TiffFile, tifffile.TiffPageSeries], bool]
_Reads = Callable[[Any, Any], VoxelSize]
#: Who is asked, in this order: the formats before those that are written into them.
_SOURCES: tuple[tuple[_Applies, _Reads], ...] = (
    (lambda tif, series: series.kind == "ome", vendor.ome),
    (lambda tif, series: bool(tif.is_lsm), vendor.lsm),
    (lambda tif, series: bool(tif.is_micromanager), vendor.micromanager),
    (lambda tif, series: bool(tif.is_ndpi), vendor.ndpi),
    (lambda tif, series: bool(tif.is_svs), vendor.svs),
    (lambda tif, series: series.kind == "scn", vendor.scn),
    (lambda tif, series: bool(tif.is_philips), vendor.philips),
    (lambda tif, series: bool(tif.is_bif), vendor.bif),
    (lambda tif, series: bool(tif.is_qpi), vendor.qptiff),
    (lambda tif, series: bool(tif.is_metaseries), vendor.metaseries),
    (lambda tif, series: bool(tif.is_stk), vendor.stk),
    (lambda tif, series: bool(tif.is_fluoview), vendor.fluoview),
    (lambda tif, series: bool(tif.is_sis), vendor.sis),
    (lambda tif, series: bool(tif.is_fei), vendor.fei),
    (lambda tif, series: bool(tif.is_sem), vendor.zeiss_sem),
    (lambda tif, series: bool(tif.is_imagej), vendor.imagej),
)
#: Where these say nothing, the resolution tags say nothing either.
_FINAL = (vendor.ome, vendor.imagej)


def voxel_size(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[VoxelSize, tuple[str, ...]]:
    """Return the voxel size of an image, and notes on what was guessed.

    Parameters
    ----------
    tif
        The file.
    series
        The image in it.

    Returns
    -------
    voxel_um
        (z, y, x) in micrometres, NaN where it is not known.
    notes
        Where it comes from the resolution tags, which any program writes, or cannot be read.
    """
    notes: list[str] = []
    z = math.nan
    for applies, read in _SOURCES:
        if not applies(tif, series):
            continue
        try:
            z, y, x = _whole(read(tif, series))
        except Exception as error:
            # Of a vendor's metadata anything may be missing or broken; the pixels are as good.
            what = f"{type(error).__name__}: {error}".replace("\n", " ")
            notes.append(f"the size of its pixels cannot be read ({what[:100]})")
            continue
        if not math.isnan(x):
            return (z, y, x), tuple(notes)
        if read in _FINAL:
            return UNKNOWN_VOXEL, tuple(notes)
    _, y, x = _whole((math.nan, *size_by_tags(series.keyframe)))
    if math.isnan(x) or max(y, x) > LARGEST_UM:
        return (z, math.nan, math.nan), tuple(notes)
    notes.append(f"its pixel size of {y:.4g} x {x:.4g} µm (y, x) comes from the resolution tags")
    return (z, y, x), tuple(notes)


def _whole(voxel: VoxelSize) -> VoxelSize:
    """Return lengths above 0; y and x stand in for each other."""
    z, y, x = map(positive, voxel)
    return z, (x if math.isnan(y) else y), (y if math.isnan(x) else x)

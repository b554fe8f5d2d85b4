"""The size of a voxel as each vendor's software writes it into a TIFF.

Every function takes the open file and the series of pages that is the image, and returns (z, y, x)
in micrometres, NaN where nothing is said. Its docstring names what it reads, and where that is
described.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from .image import UNKNOWN_VOXEL, VoxelSize
from .ome import image_of, names_and_voxel
from .resolution_tags import size_by_tags
from .units import micrometres_of


def positive(value: Any) -> float:
    """Return a number above 0, whatever its sign; NaN for anything else.

    Examples
    --------
    >>> positive("-0.25"), positive("none"), positive(0)
    (0.25, nan, nan)
    """
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        return math.nan
    return number if 0 < number < math.inf else math.nan


def _unit(name: Any) -> float:
    """Return a unit in micrometres, NaN for what is none. ImageJ escapes the micro sign."""
    return micrometres_of(str(name).strip(" \0").lower().replace("\\u00b5", "µ"))


def ome(tif: Any, series: Any) -> VoxelSize:
    """PhysicalSizeX, Y, Z of the OME schema."""
    return names_and_voxel(image_of(tif, series))[1]


def imagej(tif: Any, series: Any) -> VoxelSize:
    """Resolution tags, in the unit that the description names; z is `spacing`.

    ij.io.TiffEncoder and ij.io.FileOpener write and read it so: the ResolutionUnit tag is none.
    """
    meta = tif.imagej_metadata or {}
    unit = _unit(meta.get("unit", ""))
    if math.isnan(unit):
        return UNKNOWN_VOXEL
    return positive(meta.get("spacing")) * unit, *size_by_tags(series.keyframe, unit)


def ndpi(tif: Any, series: Any) -> VoxelSize:
    """Hamamatsu: resolution tags (OpenSlide, "Hamamatsu format")."""
    return math.nan, *size_by_tags(series.keyframe)


def svs(tif: Any, series: Any) -> VoxelSize:
    """`|MPP = 0.499` in the description of the first page (Aperio, "Digital Slides and TIFF")."""
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", series.keyframe.description or "")
    return math.nan, math.nan, positive(found and found.group(1))


def scn(tif: Any, series: Any) -> VoxelSize:
    """Nanometres of the view over its pixels (OpenSlide, "Leica format")."""
    number = 0
    own = tif.series.index(series)
    for image in ElementTree.fromstring(tif.scn_metadata).iterfind("{*}collection/{*}image"):
        view = image.find("{*}view")
        for pixels in image.findall("{*}pixels"):
            if number == own and view is not None:
                y, x = (
                    positive(view.get(key)) / positive(pixels.get(key)) / 1000
                    for key in ("sizeY", "sizeX")
                )
                return math.nan, y, x
            number += 1
    return UNKNOWN_VOXEL


def philips(tif: Any, series: Any) -> VoxelSize:
    """DICOM_PIXEL_SPACING: millimetres from row to row, and column to column."""
    elements = ElementTree.fromstring(tif.philips_metadata).iterfind(
        './/DataObject[@ObjectType="PixelDataRepresentation"]'
        '/Attribute[@Name="DICOM_PIXEL_SPACING"]'
    )
    for element in elements:
        y, x = (element.text or "").replace('"', "").split()
        return math.nan, float(y) * 1000, float(x) * 1000
    return UNKNOWN_VOXEL


def bif(tif: Any, series: Any) -> VoxelSize:
    """ScanRes of the iScan element, micrometres (OpenSlide, "Ventana format")."""
    for page in tif.pages:
        xmp = page.aspage().tags.valueof(700) or b""
        text = xmp.decode(errors="replace") if isinstance(xmp, bytes) else str(xmp)
        found = re.search(r'ScanRes="([0-9.]+)"', text)
        if found:
            return math.nan, math.nan, float(found.group(1))
    return UNKNOWN_VOXEL


def qptiff(tif: Any, series: Any) -> VoxelSize:
    """Resolution tags, else PixelSizeMicrons of the XML description."""
    y, x = size_by_tags(series.keyframe)
    if math.isnan(x):
        text = re.search(r"<PixelSizeMicrons>\s*([0-9.]+)", series.keyframe.description or "")
        x = positive(text and text.group(1))
    return math.nan, y, x


def metaseries(tif: Any, series: Any) -> VoxelSize:
    """MetaMorph and MetaXpress: spatial-calibration in the description, when it is on."""
    plane = tif.metaseries_metadata.get("PlaneInfo", {})
    unit = _unit(plane.get("spatial-calibration-units", ""))
    if plane.get("spatial-calibration-state") is not True:
        return UNKNOWN_VOXEL
    y, x = (positive(plane.get(f"spatial-calibration-{axis}")) * unit for axis in "yx")
    return math.nan, y, x


def stk(tif: Any, series: Any) -> VoxelSize:
    """MetaMorph: XCalibration, YCalibration in CalibrationUnits, ZDistance in micrometres."""
    meta = tif.stk_metadata or {}
    distance = np.asarray(meta.get("ZDistance", math.nan), np.float64).ravel()
    z = float(distance[-1]) if len(distance) else math.nan
    unit = _unit(meta.get("CalibrationUnits", ""))
    if not meta.get("SpatialCalibration"):
        return z, math.nan, math.nan
    y, x = (_fraction(meta.get(f"{axis}Calibration")) * unit for axis in "YX")
    return z, y, x


def _fraction(value: Any) -> float:
    parts = value if isinstance(value, tuple) else (value, 1)
    return positive(parts[0]) / positive(parts[1])


def lsm(tif: Any, series: Any) -> VoxelSize:
    """Zeiss LSM: VoxelSizeX, Y, Z in metres."""
    meta = tif.lsm_metadata or {}
    z, y, x = (positive(meta.get(f"VoxelSize{axis}")) * 1e6 for axis in "ZYX")
    return z, y, x


def micromanager(tif: Any, series: Any) -> VoxelSize:
    """Micro-Manager: PixelSize_um and z-step_um of the summary, PixelSizeUm of a plane."""
    summary = (tif.micromanager_metadata or {}).get("Summary", {})
    own = series.keyframe.tags.valueof(51123)
    own = json.loads(own) if isinstance(own, str | bytes) else own or {}
    keys = (summary.get("PixelSize_um"), summary.get("PixelSizeUm"), own.get("PixelSizeUm"))
    pixel = next((size for size in map(positive, keys) if not math.isnan(size)), math.nan)
    return positive(summary.get("z-step_um")), pixel, pixel


def fluoview(tif: Any, series: Any) -> VoxelSize:
    """Olympus FluoView: (name, length, origin, resolution, unit) of each dimension."""
    found = {}
    for name, _, _, step, unit, *_ in (tif.fluoview_metadata or {}).get("Dimensions", ()):
        scale = _unit(unit)
        found[str(name).strip().upper()[:1]] = positive(step) * scale
    return (
        found.get("Z", math.nan),
        found.get("Y", math.nan),
        found.get("X", math.nan),
    )


def sis(tif: Any, series: Any) -> VoxelSize:
    """Olympus SIS: pixelsizex and pixelsizey in metres."""
    meta = tif.sis_metadata or {}
    y, x = (positive(meta.get(f"pixelsize{axis}")) * 1e6 for axis in "yx")
    return math.nan, y, x


def fei(tif: Any, series: Any) -> VoxelSize:
    """FEI and Thermo Fisher electron microscopes: PixelWidth and PixelHeight in metres."""
    scan = (tif.fei_metadata or {}).get("Scan", {})
    return (
        math.nan,
        positive(scan.get("PixelHeight")) * 1e6,
        positive(scan.get("PixelWidth")) * 1e6,
    )


def zeiss_sem(tif: Any, series: Any) -> VoxelSize:
    """Zeiss electron microscopes: (name, size, unit) of a pixel."""
    _, size, unit = (*(tif.sem_metadata or {}).get("ap_image_pixel_size", ()), None, None, None)[:3]
    size_um = positive(size) * _unit(unit)
    return math.nan, size_um, size_um

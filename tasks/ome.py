"""What the metadata of an OME-TIFF or an ImageJ file says of its planes."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import tifffile

#: Micrometres in the units of length that OME-XML uses for pixels.
_MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


def declared_planes(tif: tifffile.TiffFile) -> int | None:
    """Return the number of planes that the metadata speaks of, None where it does not."""
    if tif.is_ome and tif.ome_metadata:
        pixels = _ome_pixels(tif.ome_metadata)
        if len(pixels) == 1:
            return math.prod(int(pixels[0].get(f"Size{axis}", 1)) for axis in "TCZ")
    elif tif.is_imagej and tif.imagej_metadata:
        images = tif.imagej_metadata.get("images")
        if images is not None:
            return int(images)
    return None


def _ome_pixels(xml: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(xml).findall(".//{*}Image/{*}Pixels")


def names_and_voxel(tif: tifffile.TiffFile) -> tuple[tuple[str, ...], tuple[float, float, float]]:
    """Return the channel names and the voxel size (z, y, x) in micrometres of an OME-TIFF."""
    unknown = (math.nan, math.nan, math.nan)
    pixels = _ome_pixels(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else []
    if not pixels:
        return (), unknown
    names = tuple(c.get("Name", "") for c in pixels[0].findall("{*}Channel"))

    def length(axis: str) -> float:
        value = pixels[0].get(f"PhysicalSize{axis}", "")
        scale = _MICROMETRES.get(pixels[0].get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
        return float(value) * scale if re.fullmatch(r"[0-9.eE+-]+", value) else math.nan

    return names, (length("Z"), length("Y"), length("X"))

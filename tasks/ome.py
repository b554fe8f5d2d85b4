"""What the OME-XML of a TIFF says of its images, channels and planes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import tifffile

from .image import UNKNOWN_VOXEL, VoxelSize
from .units import micrometres_of


def images_of(root: Element) -> list[Element]:
    """Return the Image elements that have pixels."""
    return [image for image in root.findall("{*}Image") if image.find("{*}Pixels") is not None]


def tiff_data(image: Element) -> Iterator[tuple[Element, Element | None]]:
    """Yield the TiffData elements of an image, each with its UUID element where it has one."""
    for data in image.iterfind("{*}Pixels/{*}TiffData"):
        yield data, data.find("{*}UUID")


def plane_count(image: Element) -> int:
    """Return how many planes an image declares; samples of a pixel count as channels."""
    pixels = image.find("{*}Pixels")
    assert pixels is not None
    return math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "TCZ")


def image_of(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Element | None:
    """Return the Image element that a series was made of; None where that is not certain."""
    if series.kind != "ome" or not tif.ome_metadata:
        return None
    images = images_of(ElementTree.fromstring(tif.ome_metadata))
    if len(images) == len(tif.series):
        return images[tif.series.index(series)]
    # tifffile leaves out images without data.
    named = [image for image in images if image.get("Name") == series.name]
    return named[0] if len(named) == 1 else None


def names_and_voxel(image: Element | None) -> tuple[tuple[str, ...], VoxelSize]:
    """Return the channel names and the voxel size (z, y, x) in micrometres."""
    pixels = None if image is None else image.find("{*}Pixels")
    if pixels is None:
        return (), UNKNOWN_VOXEL
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    return names, (_length(pixels, "Z"), _length(pixels, "Y"), _length(pixels, "X"))


def significant_bits(image: Element | None) -> int:
    """Return how many bits of a pixel's value are filled; 0 where that is not said."""
    pixels = None if image is None else image.find("{*}Pixels")
    found = "" if pixels is None else pixels.get("SignificantBits", "")
    return int(found) if re.fullmatch(r"[0-9]{1,2}", found) else 0


def _length(pixels: Element, axis: str) -> float:
    value = pixels.get(f"PhysicalSize{axis}", "")
    scale = micrometres_of(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return float(value) * scale if re.fullmatch(r"[0-9.]+([eE][+-]?[0-9]+)?", value) else math.nan


def declared_planes(tif: tifffile.TiffFile) -> list[int]:
    """Return how many planes the metadata speaks of, for each image; none where it does not."""
    if tif.is_ome and tif.ome_metadata:
        return [plane_count(image) for image in images_of(ElementTree.fromstring(tif.ome_metadata))]
    if tif.is_imagej and tif.imagej_metadata:
        images = tif.imagej_metadata.get("images")
        return [] if images is None else [int(images)]
    return []

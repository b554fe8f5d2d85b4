"""What the XML beside a BigDataViewer file says of its views: SpimData 0.2.

Described at https://imagej.net/plugins/bdv/ ("the XML file format").
"""

from __future__ import annotations

import math
import posixpath
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from .bytes import open_bytes
from .image import UNKNOWN_VOXEL, ImageOptions, VoxelSize
from .source import SourceError, naming
from .units import micrometres_of

_MAX_BYTES = 256 << 20
_MAX_TIMEPOINTS = 1_000_000


@dataclass(frozen=True)
class Setup:
    """One view setup: what a microscope saw from one angle, in one channel.

    Attributes
    ----------
    name
        Of the setup; may be empty.
    attributes
        Ids by kind, such as ("channel", "1"), ("tile", "0"); sorted.
    channel
        The name of its channel; may be empty.
    voxel_um
        (z, y, x), NaN where it is unknown.
    registration
        Its transforms at the first time point, as text.
    """

    name: str
    attributes: tuple[tuple[str, str], ...]
    channel: str
    voxel_um: VoxelSize
    registration: str


@dataclass(frozen=True)
class SpimData:
    """An XML of BigDataViewer.

    Attributes
    ----------
    path
        Of the XML.
    setups
        By their number.
    timepoints
        Numbers of the time points; empty where they are not a range.
    """

    path: str
    setups: dict[int, Setup]
    timepoints: tuple[int, ...]


def read_spimdata(path: str, options: ImageOptions) -> SpimData | None:
    """Read the XML of the same name as an HDF5 file; None where there is none.

    Parameters
    ----------
    path
        Of the HDF5 file.
    options
        Options of the remote store, where `path` is a URL.
    """
    beside = re.sub(r"\.[^./]+$", "", path) + ".xml"
    try:
        file = open_bytes(beside, options.storage)
    except FileNotFoundError:
        return None
    with naming(beside, "read the XML of the views"):
        try:
            if file.size > _MAX_BYTES:
                raise SourceError(f"{beside}: has {file.size} bytes, too many for an XML of views")
            root = ElementTree.fromstring(file.pread(file.size, 0))
        finally:
            file.close()
        named = root.findtext(".//ImageLoader/hdf5", "").strip().replace("\\", "/")
        if posixpath.basename(named) != posixpath.basename(path):
            raise SourceError(
                f"{beside}: belongs to {named or 'no HDF5 file'}, not to {path}; give them names "
                "that fit, or take it away"
            )
        return SpimData(beside, _setups(root), _timepoints(root))


def _setups(root: ElementTree.Element) -> dict[int, Setup]:
    names = {
        (group.get("name", ""), item.findtext("id", "").strip()): item.findtext("name", "").strip()
        for group in root.findall(".//ViewSetups/Attributes")
        for item in group
    }
    transforms: dict[str, str] = {}
    for view in root.findall(".//ViewRegistrations/ViewRegistration"):
        text = " ".join(" ".join(affine.itertext()) for affine in view.iter("affine"))
        transforms.setdefault(view.get("setup", ""), " ".join(text.split()))
    found = {}
    for setup in root.findall(".//ViewSetups/ViewSetup"):
        number = setup.findtext("id", "").strip()
        attributes = {item.tag: (item.text or "").strip() for item in setup.findall("attributes/*")}
        found[int(number)] = Setup(
            name=setup.findtext("name", "").strip(),
            attributes=tuple(sorted(attributes.items())),
            channel=names.get(("channel", attributes.get("channel", "")), ""),
            voxel_um=_voxel(setup.find("voxelSize")),
            registration=transforms.get(number, ""),
        )
    return found


def _voxel(element: ElementTree.Element | None) -> VoxelSize:
    """Return (z, y, x); in the XML it stands as "x y z" with a unit, which may be "pixel"."""
    if element is None:
        return UNKNOWN_VOXEL
    unit = micrometres_of(element.findtext("unit", ""))
    sizes = element.findtext("size", "").split()
    if len(sizes) != 3 or math.isnan(unit):
        return UNKNOWN_VOXEL
    x, y, z = (float(size) * unit for size in sizes)
    return z, y, x


def _timepoints(root: ElementTree.Element) -> tuple[int, ...]:
    element = root.find(".//SequenceDescription/Timepoints")
    if element is None or element.get("type") != "range":
        return ()
    first, last = (int(element.findtext(word, "0")) for word in ("first", "last"))
    if last - first > _MAX_TIMEPOINTS:
        raise ValueError(f"declares time points {first} to {last}")
    return tuple(range(first, last + 1))

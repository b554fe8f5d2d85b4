"""The files that an OME-TIFF belongs to: its own, those that hold the other planes, a companion.

The OME-XML stands in the file itself, in a master file or in a companion (`*.companion.ome`), and
names the files of its planes. See "Multi-file OME-TIFF filesets" and "BinaryOnly" in
https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..reader.remote import is_remote
from .ome import images_of, plane_count, tiff_data
from .source import SourceError

#: More planes than this are a lie, for which memory is not spent.
MAX_PLANES = 10_000_000


@dataclass(frozen=True)
class OmeSet:
    """Files that belong together.

    Attributes
    ----------
    xml
        OME-XML of the images to read, no others.
    first
        The TIFF that is opened with it; planes without the name of a file lie there.
    files
        Absolute paths of all files, the companion's too; that of the XML comes first.
    notes
        What was guessed.
    """

    xml: str
    first: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def elsewhere(path: str, xml: str) -> str | None:
    """Return the path of the file that has the OME-XML, None where it is this one.

    Raises
    ------
    SourceError
        Where that file is not there.
    """
    only = ElementTree.fromstring(xml).find("{*}BinaryOnly")
    if only is None:
        return None
    name = only.get("MetadataFile", "")
    found = _beside(path, name)
    if found is None:
        raise SourceError(
            f"{path}: its OME-XML lies in {name!r}, which is not in the same folder; "
            "bring it back, or leave the file out"
        )
    return found


def own_set(path: str, xml: str, companion: bool = False, holder: str | None = None) -> OmeSet:
    """Return the files of the images that have planes in a file.

    Parameters
    ----------
    path
        Of the file that has the XML.
    xml
        The OME-XML.
    companion
        Whether that file is the XML alone, without pixels.
    holder
        The file whose images are meant, where it is another one. For a companion without a holder
        all images are meant.

    Raises
    ------
    SourceError
        Where files are missing, or more planes are declared than there can be.
    """
    root = ElementTree.fromstring(xml)
    images = images_of(root)
    _check_sizes(path, images)
    if holder is not None or not companion:
        own = [image for image in images if _lies_in(image, holder or path, path, root)]
        for image in [image for image in images if own and image not in own]:
            root.remove(image)
        images = own or images
    named = _named(images, root)
    notes: tuple[str, ...] = ()
    uuids = [uuid for image in images for _, uuid in tiff_data(image) if uuid is not None]
    alone = len(named) == 1 and len(uuids) == sum(map(len, named.values()))
    if not companion and alone and _beside(path, next(iter(named))) is None:
        # A file that lists itself alone, under the name that it had once.
        (former,) = named
        notes = (f"its OME-XML calls it {former!r}; that is taken for its former name",)
        for uuid in named.pop(former):
            uuid.set("FileName", Path(path).name)
    members = _found(path, list(named))
    if companion:
        if not members:
            raise SourceError(f"{path}: names no TIFF of its planes; give the TIFF instead")
        root.attrib.pop("UUID", None)  # it is the companion's, and no plane's
    return OmeSet(
        xml=ElementTree.tostring(root, encoding="unicode"),
        first=members[0] if companion else path,
        files=tuple(dict.fromkeys(map(absolute, [path, *members]))),
        notes=notes,
    )


def absolute(path: str) -> str:
    """Return a path that does not depend on the working folder; URLs as they are."""
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100


def _check_sizes(path: str, images: list[Element]) -> None:
    for image in images:
        runs = (data.get("PlaneCount", data.get("NumPlanes", 0)) for data, _ in tiff_data(image))
        largest = max(plane_count(image), *map(int, runs), 0)
        if largest > MAX_PLANES:
            raise SourceError(
                f"{path}: its OME-XML declares {largest} planes; at most {MAX_PLANES} are read; "
                "mend it or leave it out"
            )


def _lies_in(image: Element, holder: str, path: str, root: Element) -> bool:
    """Whether an image has planes in a file."""
    name = Path(holder).name.lower()
    for _, uuid in tiff_data(image):
        if uuid is None:
            inside = holder == path
        elif holder == path and root.get("UUID") == uuid.text:
            inside = True
        else:
            inside = PureWindowsPath(uuid.get("FileName", "")).name.lower() == name
        if inside:
            return True
    return False


def _named(images: list[Element], root: Element) -> dict[str, list[Element]]:
    """Return the UUID elements that name a file, by its name; the XML's own may be renamed."""
    named: dict[str, list[Element]] = {}
    for image in images:
        for _, uuid in tiff_data(image):
            if uuid is not None and (root.get("UUID") is None or uuid.text != root.get("UUID")):
                named.setdefault(uuid.get("FileName", ""), []).append(uuid)
    return named


def _found(path: str, names: list[str]) -> list[str]:
    """Return the paths of files of the set."""
    paths = {name: _beside(path, name) for name in names}
    missing = [name for name, found in paths.items() if found is None]
    if missing:
        raise SourceError(
            f"{path}: its OME-XML spreads the image over files of which {len(missing)} are not "
            f"{'found by URL' if is_remote(path) else 'in its folder'} "
            f"({', '.join(map(repr, missing[:3]))}); "
            f"{'copy the set to a disk' if is_remote(path) else 'bring them back'}, or leave it out"
        )
    return [found for found in paths.values() if found is not None]


def _beside(path: str, name: str) -> str | None:
    """Return the path of a file in the same folder or below, None where there is none.

    A name that leads elsewhere is not followed: it may be anybody's file, or a pipe.
    """
    parts = PureWindowsPath(name)
    if is_remote(path) or not name or parts.anchor or ".." in parts.parts:
        return None
    found = Path(path).parent / Path(*parts.parts)
    return str(found) if found.is_file() else None

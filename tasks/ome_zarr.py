"""What the metadata of OME-Zarr says: which arrays are levels, their axes, sizes and channels.

The specification: https://ngff.openmicroscopy.org. 0.1 to 0.5 are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .source import SourceError
from .units import micrometres_of

_VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5")
#: Of 0.1 and 0.2, which do not name them.
_FIVE = ("t", "c", "z", "y", "x")
#: What axes of these types are called, whatever their own name is.
_TYPES = {"channel": "c", "time": "t"}


@dataclass(frozen=True)
class Multiscale:
    """An image as its group describes it.

    Attributes
    ----------
    paths
        Of the levels in the group, finest first.
    names
        Of the dimensions, for `axes_of`; None where they have none.
    lengths_um
        What a step along each dimension of each level is in micrometres, NaN where unknown.
    channels
        Names of the channels; none where the file does not say.
    notes
        What was guessed.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...] | None
    lengths_um: tuple[tuple[float, ...], ...]
    channels: tuple[str, ...]
    notes: tuple[str, ...]

    def only(self, path: str) -> Multiscale | None:
        """Return the image that one of the levels is by itself; None where it is none of them."""
        if path not in self.paths:
            return None
        lengths = self.lengths_um[self.paths.index(path)]
        return replace(self, paths=(path,), lengths_um=(lengths,))


def multiscale_of(path: str, attributes: Mapping[str, Any], inside: str = "") -> Multiscale | None:
    """Return the image that a group's attributes describe, None where they describe none.

    Parameters
    ----------
    path
        Of the file, for errors.
    attributes
        Of the group: `.zattrs` of zarr v2, `attributes` of v3.
    inside
        Of the group in the file, for errors.

    Raises
    ------
    SourceError
        For a version that is not read.
    """
    ome = ome_of(attributes)
    found = ome.get("multiscales")
    if not found:
        return None
    first = found[0]
    version = first.get("version") or ome.get("version")
    notes = []
    if "coordinateSystems" in first or (version is not None and str(version) not in _VERSIONS):
        level = f"{inside}/{first['datasets'][0]['path']}".strip("/")
        raise SourceError(
            f"{path}: is OME-Zarr {version or 'later than 0.5'}, and 0.1 to 0.5 are read; write it "
            f'as 0.5, or read its array alone with images.dataset = "{level}"'
        )
    if len(found) > 1:
        notes.append(f"it has {len(found)} multiscales; the first is read")
    axes = _axes(first, version, notes)
    datasets = first["datasets"]
    lengths = tuple(_lengths_um(d, first, axes, path) for d in datasets)
    if axes:
        _note_lengths(axes, lengths[0], notes)
    labels = tuple(str(c.get("label", "")) for c in ome.get("omero", {}).get("channels", ()))
    return Multiscale(
        paths=tuple(dataset["path"].strip("/") for dataset in datasets),
        names=tuple(_word(axis) for axis in axes) if axes else None,
        lengths_um=lengths,
        channels=labels,
        notes=tuple(notes),
    )


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where the metadata of OME-Zarr stands: in `ome` since 0.5, bare before."""
    ome: Mapping[str, Any] = attributes.get("ome", attributes)
    return ome


def _axes(multiscale: Mapping[str, Any], version: Any, notes: list[str]) -> list[dict[str, Any]]:
    """Return the axes as 0.4 writes them."""
    axes = multiscale.get("axes")
    if axes:
        return [{"name": a} if isinstance(a, str) else a for a in axes]
    if version in ("0.1", "0.2"):
        notes.append(f"OME-Zarr {version} does not name axes; they are read as t, c, z, y, x")
        return [{"name": name} for name in _FIVE]
    return []


def _word(axis: Mapping[str, Any]) -> str:
    return _TYPES.get(axis.get("type", ""), str(axis.get("name", "")))


def _lengths_um(
    dataset: Mapping[str, Any],
    multiscale: Mapping[str, Any],
    axes: Sequence[Mapping[str, Any]],
    path: str,
) -> tuple[float, ...]:
    """Return a level's steps; its own scale applies first, then that of all levels."""
    lengths = [micrometres_of(axis.get("unit")) for axis in axes]
    scales = [
        transformation["scale"]
        for owner in (dataset, multiscale)
        for transformation in owner.get("coordinateTransformations", ())
        if transformation["type"] == "scale" and "scale" in transformation
    ]
    if not scales:
        return (math.nan,) * len(axes)
    for scale in scales:
        if len(scale) != len(axes):
            raise SourceError(
                f"{path}: has {len(axes)} axes and a scale of {len(scale)} numbers; mend its "
                "metadata"
            )
        lengths = [length * float(factor) for length, factor in zip(lengths, scale, strict=True)]
    return tuple(length if 0 < length < math.inf else math.nan for length in lengths)


def _note_lengths(
    axes: Sequence[Mapping[str, Any]], lengths: Sequence[float], notes: list[str]
) -> None:
    """Say why the size of a pixel is not known, though there is a number."""
    for axis, length in zip(axes, lengths, strict=True):
        word = _word(axis).lower()
        if word not in ("y", "x") or not math.isnan(length):
            continue
        if not axis.get("unit"):
            why = "has no unit"
        elif math.isnan(micrometres_of(axis["unit"])):
            why = f"is in {axis['unit']!r}, which is no known length"
        else:
            why = "is absent, or not above 0"
        notes.append(f"its scale along {word} {why}; the size of a pixel is not known there")


def refuse_group(path: str, inside: str, attributes: Mapping[str, Any], is_zip: bool) -> None:
    """Raise a SourceError for a group that OME-Zarr knows and that is no image.

    Parameters
    ----------
    path
        Of the file.
    inside
        Of the group in it.
    attributes
        Of the group.
    is_zip
        Whether globs cannot see what is inside.
    """
    ome = ome_of(attributes)
    group = f"{path}/{inside}".rstrip("/")

    def images(glob: str, example: str) -> str:
        if is_zip:
            return f'read one of its images with images.dataset = "{inside}{example}", or unpack it'
        return f'name its images: images.paths = ["{group}/{glob}"]'

    if inside:
        inside += "/"
    if "plate" in ome:
        wells = [str(well["path"]) for well in ome["plate"].get("wells", ())]
        example = f"{wells[0]}/0" if wells else ""
        raise SourceError(
            f"{path}: is a plate with the wells {_few(wells)}; " + images("*/*/*", example)
        )
    if "well" in ome:
        fields = [str(image["path"]) for image in ome["well"].get("images", ())]
        raise SourceError(
            f"{path}: is a well with the images {_few(fields)}; "
            + images("*", fields[0] if fields else "")
        )
    if isinstance(ome.get("labels"), list):
        names = [str(name) for name in ome["labels"]]
        raise SourceError(
            f"{path}: is a group of label images ({_few(names)}); name one with images.dataset = "
            f'"{inside}{names[0] if names else ""}"'
        )
    if "tables" in attributes or "encoding-type" in attributes:
        raise SourceError(f"{path}: is a group of tables, not an image; leave it out")
    version = ome.get("version") if "ome" in attributes else None
    if version is not None and str(version) not in _VERSIONS:
        raise SourceError(
            f"{path}: is OME-Zarr {version} and no image of 0.1 to 0.5, which are read; name an "
            "image in it with images.dataset, or write it as 0.5"
        )


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""Opens zarr: OME-Zarr 0.1 to 0.5, and plain arrays of zarr v2 and v3, in a folder or a zip."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import axes_of
from .image import ArrayImage, ImageOptions, VoxelSize
from .limits import check_segment_bytes
from .ome_zarr import Multiscale, multiscale_of, ome_of, refuse_group
from .source import SourceError

if TYPE_CHECKING:
    import zarr

    from .zarr_files import ZarrFiles


def open_zarr(path: str, options: ImageOptions) -> ArrayImage:
    """Open a zarr group or array as an image.

    Parameters
    ----------
    path
        Of a folder or a zip; or the URL of a folder.
    options
        `dataset` names a group or an array in it; `axes` wins over what the file says.

    Raises
    ------
    SourceError
        Where it is no image, or holds several; where its axes are not known. Other exceptions are
        what damaged metadata makes zarr raise.
    """
    from .zarr_files import ZarrFiles  # zarr takes a third of a second: only those who read it pay

    files = ZarrFiles(path, options)
    try:
        return _open(files, (options.dataset or "").strip("/"), options)
    except BaseException:
        files.close()
        raise


def _open(files: ZarrFiles, inside: str, options: ImageOptions) -> ArrayImage:
    import zarr

    node = files.node(inside)
    if node is None:
        raise SourceError(_absent(files, inside))
    if isinstance(node, zarr.Array):
        return _image(files, [node], _level_of(files, inside), options)
    attributes = node.attrs.asdict()
    multiscale = multiscale_of(files.path, attributes, inside)
    if multiscale is not None:
        levels = [_level(files, f"{inside}/{level}".strip("/")) for level in multiscale.paths]
        return _image(files, levels, multiscale, options)
    refuse_group(files.path, inside, attributes, files.is_zip)
    if "bioformats2raw.layout" in ome_of(attributes):
        series = _series(files, inside, node)
        return _open(files, _the_one(files, inside, series, "series"), options)
    arrays = sorted(node.array_keys())
    if not arrays:
        raise SourceError(_no_array(files, inside, sorted(node.group_keys())))
    return _open(files, _the_one(files, inside, arrays, "arrays"), options)


def _absent(files: ZarrFiles, inside: str) -> str:
    if inside:
        return f'{files.path}: has no "{inside}" in it; check images.dataset'
    return (
        f"{files.path}: is no zarr group or array (it has no zarr.json, .zgroup or .zarray); check "
        "images.paths, or leave it out"
    )


def _no_array(files: ZarrFiles, inside: str, groups: list[str]) -> str:
    if not groups:
        return f"{files.path}: is a zarr group with no array in it; leave it out"
    return (
        f"{files.path}: is a zarr group with no array in it, but the groups {', '.join(groups)}; "
        f'name one with images.dataset = "{_join(inside, groups[0])}", or leave it out'
    )


def _level(files: ZarrFiles, name: str) -> zarr.Array[Any]:
    import zarr

    found = files.node(name)
    if not isinstance(found, zarr.Array):
        raise SourceError(
            f'{files.path}: its metadata names "{name}" as a level, which is no array in it; copy '
            "it again or leave it out"
        )
    return found


def _level_of(files: ZarrFiles, inside: str) -> Multiscale | None:
    """Return what the group above an array says of it, where the array is a level of an image."""
    above, _, name = inside.rpartition("/")
    group = files.node(above) if inside else None
    # Of a version that is not read, the array alone is.
    with suppress(SourceError):
        multiscale = multiscale_of(files.path, group.attrs.asdict()) if group is not None else None
        return multiscale.only(name) if multiscale is not None else None
    return None


def _series(files: ZarrFiles, inside: str, group: zarr.Group) -> list[str]:
    """Return the images of a bioformats2raw layout.

    Source: https://ngff.openmicroscopy.org/0.5, "bf2raw".
    """
    listing = files.node(_join(inside, "OME"))
    listed = ome_of(listing.attrs.asdict()).get("series") if listing is not None else None
    if listed:
        return [str(name) for name in listed]
    return sorted((name for name in group.group_keys() if name.isdecimal()), key=int)


def _the_one(files: ZarrFiles, inside: str, names: list[str], what: str) -> str:
    if len(names) == 1:
        return _join(inside, names[0])
    raise SourceError(
        f"{files.path}: has {len(names)} {what} ({', '.join(names[:8])}); name the one that is "
        f'meant, for instance images.dataset = "{_join(inside, names[0] if names else "0")}"'
    )


def _join(inside: str, name: str) -> str:
    return f"{inside}/{name}".strip("/")


def _image(
    files: ZarrFiles,
    arrays: list[zarr.Array[Any]],
    multiscale: Multiscale | None,
    options: ImageOptions,
) -> ArrayImage:
    first = arrays[0]
    names = multiscale.names if multiscale else None
    notes = list(multiscale.notes) if multiscale else []
    axes = axes_of(files.path, first.shape, names or _dimension_names(first), options)
    for array in arrays:
        _check_array(files.path, array, first, options)
    channels = multiscale.channels if multiscale else ()
    n_channels = first.shape[axes.index("C")] if "C" in axes else 1
    if channels and len(channels) != n_channels:
        notes.append(
            f"it has {n_channels} channels and names for {len(channels)}; they are left out"
        )
        channels = ()
    if first.dtype.kind == "b":
        notes.append("its pixels are true or false; they are read as 1 and 0")

    def check() -> None:
        for array in arrays:
            image.notes += _check_chunks(files, array)

    image = ArrayImage(
        arrays,
        axes,
        channels=channels,
        voxel_um=_voxel(axes, multiscale),
        notes=notes,
        dtype=np.uint8 if first.dtype.kind == "b" else None,
        check=check,
        close=files.close,
    )
    return image


def _dimension_names(array: zarr.Array[Any]) -> Any:
    """Return the names that zarr v3 has for dimensions, or those that xarray writes into v2."""
    names = getattr(array.metadata, "dimension_names", None)
    return names or array.attrs.get("_ARRAY_DIMENSIONS")


def _voxel(axes: str, multiscale: Multiscale | None) -> VoxelSize:
    lengths = multiscale.lengths_um[0] if multiscale else ()
    # There are none where the file has no axes, or the recipe more.
    known = dict(zip(axes, lengths, strict=False))
    return known.get("Z", math.nan), known.get("Y", math.nan), known.get("X", math.nan)


def _check_array(
    path: str, array: zarr.Array[Any], first: zarr.Array[Any], options: ImageOptions
) -> None:
    if array.dtype != first.dtype or len(array.shape) != len(first.shape):
        raise SourceError(
            f"{path}: its levels differ: {first.shape} {first.dtype}, then {array.shape} "
            f"{array.dtype}; write the pyramid anew"
        )
    # A chunk may be larger than its array, and is decoded whole.
    check_segment_bytes(path, math.prod(array.chunks) * array.dtype.itemsize, options)


def _check_chunks(files: ZarrFiles, array: zarr.Array[Any]) -> tuple[str, ...]:
    """Return notes on chunks that are absent, which zarr takes for a constant.

    Raises
    ------
    SourceError
        Where none is there at all, or what the absent ones hold is not defined.
    """
    present, possible = files.chunks(array)
    name = f'"{array.path}"' if array.path else "the array"
    if present is None:
        return ("its files cannot be listed: whether chunks are missing was not looked at",)
    if present == 0:
        raise SourceError(
            f"{files.path}: {name} has no pixels: none of its {possible} chunks is there; copy it "
            "again or leave it out"
        )
    if present == possible:
        return ()
    fill = array.metadata.fill_value
    if fill is None:
        raise SourceError(
            f"{files.path}: {name} lacks {possible - present} of {possible} chunks, and does not "
            "say what an absent one holds (fill_value is null); copy it again or leave it out"
        )
    return (f"{name} lacks {possible - present} of {possible} chunks: they are read as {fill!s}",)

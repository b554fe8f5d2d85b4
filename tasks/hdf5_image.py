"""Opens HDF5: Imaris, BigDataViewer, or any data set by its name."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reader.remote import is_remote
from .axes import axes_of
from .bdv import is_bdv, open_bdv
from .bytes import open_bytes
from .hdf5_attributes import CheckedHeaps, attribute, checked
from .hdf5_opened import Hdf5Image
from .hdf5_stored import check_filters, dataset_at
from .hdf5_volumes import ROWS
from .image import UNKNOWN_VOXEL, ImageOptions, VoxelSize
from .imaris import is_imaris, open_imaris
from .source import SourceError

if TYPE_CHECKING:
    import h5py

#: Data sets that an error names.
_NAMED = 12


def open_hdf5(path: str, options: ImageOptions) -> Hdf5Image:
    """Open an HDF5 file.

    Parameters
    ----------
    path
        Of the file, or a URL.
    options
        `dataset` names the data set, or the view setup of BigDataViewer; without it the file must
        hold one image alone. `axes` says what the dimensions are, where the file does not.

    Raises
    ------
    SourceError
        Where h5py or a filter is not installed, or where it is not clear what the image is.
    """
    file = _open(path, options)
    try:
        if is_imaris(file):
            return open_imaris(path, file, options)
        if is_bdv(file):
            return open_bdv(path, file, options)
        return _open_dataset(path, file, options)
    except BaseException:
        file.close()
        raise


def _open(path: str, options: ImageOptions) -> h5py.File:
    try:
        import h5py
    except ImportError:
        raise SourceError(
            f"{path}: is HDF5, which needs h5py; pip install 'patchmill[hdf5]', for the workers too"
        ) from None
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (its import registers compressions)
    if is_remote(path):
        return h5py.File(CheckedHeaps(open_bytes(path, options.storage).file()), "r")
    try:
        # Locks fail on some network file systems, and where somebody has the file open.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        truncated = re.search(r"eof = (\d+), .*stored_eof = (\d+)", str(error))
        if truncated:
            raise SourceError(
                f"{path}: is truncated: it has {truncated[1]} of {truncated[2]} bytes; copy it "
                "again or leave it out"
            ) from None
        if "locking flag" in str(error):
            # This process has it open, with a lock.
            return h5py.File(path, "r")
        raise


def _open_dataset(path: str, file: h5py.File, options: ImageOptions) -> Hdf5Image:
    """Open the data set that the recipe names, or the only one that can be an image."""
    notes: tuple[str, ...] = ()
    with checked(file) as first:
        # As below, for the heaps that virtual data sets are opened with.
        _candidates(first) if options.dataset is None else first.get(options.dataset)
    if options.dataset is not None:
        dataset = _named(path, file, options.dataset)
    else:
        found = _candidates(file)
        if len(found) != 1:
            raise SourceError(_which(path, found))
        dataset = found[0]
        notes = (f"its image is {dataset.name}, the only data set of two or more dimensions",)
    if dataset.shape is None or dataset.dtype.kind not in "buif":
        raise SourceError(
            f"{path}: {dataset.name} holds {dataset.dtype}, not numbers in an array; name another "
            "with images.dataset"
        )
    check_filters(path, dataset)
    axes = axes_of(f"{path}: {dataset.name}", dataset.shape, _axis_names(dataset), options)
    return Hdf5Image(
        path,
        file,
        [dataset],
        axes,
        lambda: (dataset,),
        options=options,
        voxel_um=_voxel_of(dataset),
        segments=None if dataset.chunks else [_rows(dataset.shape, axes)],
        notes=notes,
        dtype=np.uint8 if dataset.dtype.kind == "b" else None,
    )


def _named(path: str, file: h5py.File, name: str) -> h5py.Dataset:
    import h5py

    # Also where a link on the way to it leads nowhere, which dataset_at explains.
    if isinstance(file.get(name, getlink=True) and file.get(name), h5py.Group) or (
        name.strip("/").split("/")[0] not in file
    ):
        candidates = _candidates(file)
        held = _listed(candidates) if candidates else "none"
        raise SourceError(
            f"{path}: images.dataset = {name!r} is no data set in it; it holds {held}"
        )
    return dataset_at(path, file, name)


def _candidates(file: h5py.File) -> list[h5py.Dataset]:
    """Return the data sets that may be images, a few more than an error names."""
    import h5py

    found: list[h5py.Dataset] = []

    def look(_: str, item: Any) -> bool | None:
        if (
            isinstance(item, h5py.Dataset)
            and item.shape is not None
            and item.ndim >= 2
            and item.dtype.kind in "buif"
        ):
            found.append(item)
        return True if len(found) > _NAMED else None

    file.visititems(look)
    return found


def _listed(found: list[h5py.Dataset]) -> str:
    more = " and more" if len(found) > _NAMED else ""
    return ", ".join(f"{d.name} {d.shape} {d.dtype}" for d in found[:_NAMED]) + more


def _which(path: str, found: list[h5py.Dataset]) -> str:
    if not found:
        return f"{path}: holds no data set of two or more dimensions; leave it out"
    return (
        f"{path}: holds several data sets: {_listed(found)}; name one, as in images.dataset = "
        f'"{found[0].name.lstrip("/")}"'
    )


def _axis_names(dataset: h5py.Dataset) -> list[str | None] | None:
    """Return what a data set calls its dimensions: by labels, or by ilastik's (vigra's) tags."""
    # `dataset.dims` has them too, and ends the process where they are damaged.
    found = attribute(dataset, "DIMENSION_LABELS")
    labels = [] if found is None else [_text(label) for label in np.ravel(found)]
    if any(labels):
        return list(labels)
    tags = attribute(dataset, "axistags")
    if tags is None:
        return None
    try:
        return [str(axis["key"]) for axis in json.loads(tags)["axes"]]
    except (ValueError, KeyError, TypeError):
        return None


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def _voxel_of(dataset: h5py.Dataset) -> VoxelSize:
    """Return what `element_size_um` says, (z, y, x): a convention of Fiji's HDF5 plug-in."""
    found = attribute(dataset, "element_size_um")
    sizes = np.ravel(() if found is None else found)
    if sizes.dtype.kind not in "uif" or len(sizes) not in (2, 3):
        return UNKNOWN_VOXEL
    z, y, x = [math.nan, *map(float, sizes)][-3:]
    return z, y, x


def _rows(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return what is read at once of a data set without chunks: rows as they lie in the file."""
    outer, inner = sorted((axes.index("Y"), axes.index("X")))
    return tuple(
        length if n >= inner else min(ROWS, length) if n == outer else 1
        for n, length in enumerate(shape)
    )

"""What is stored of a data set of an HDF5 file, and where: whether its pixels are really there.

HDF5 reads what was never written, and what lies in a file that is gone, as its fill value without
a word; so it must be asked what is stored, not what can be read.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..reader.remote import is_remote
from .source import SourceError

if TYPE_CHECKING:
    import h5py

#: Of Fletcher-32, behind the bytes of a chunk.
_CHECKSUM_BYTES = 4


def dataset_at(path: str, file: h5py.File, name: str) -> h5py.Dataset:
    """Return a data set of a file.

    Raises
    ------
    SourceError
        Where it is not there, or a link on the way to it leads nowhere.
    """
    import h5py

    try:
        found = file[name]
    except KeyError:
        raise SourceError(f"{path}: {_why_missing(file, name)}") from None
    if not isinstance(found, h5py.Dataset):
        raise SourceError(f"{path}: {name} is not a data set; mend the file or leave it out")
    dataset: h5py.Dataset = found
    return dataset


def _why_missing(file: h5py.File, name: str) -> str:
    import h5py

    parts = name.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        part = "/".join(parts[:end])
        link = file.get(part, getlink=True) if file.get(part) is None else None
        if isinstance(link, h5py.ExternalLink):
            return (
                f"{part} lies in another file, {link.filename}, which cannot be opened; "
                "bring it back or leave the image out"
            )
    return f"has no data set {name}; mend the file or leave it out"


def check_filters(path: str, dataset: h5py.Dataset) -> None:
    """Raise a SourceError where chunks are compressed in a way that HDF5 does not know here."""
    import h5py

    plist = dataset.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            called = name.decode("utf-8", "replace").split(";")[0] or "unnamed"
            raise SourceError(
                f"{path}: {dataset.name} is compressed with the HDF5 filter {code} ({called}), "
                "which is not installed; pip install hdf5plugin, for the workers too"
            )


def chunks_stored(path: str, dataset: h5py.Dataset) -> tuple[int, int]:
    """Return how many chunks are stored, and how many there should be."""
    import h5py

    if dataset.external:
        raise SourceError(
            f"{path}: the pixels of {dataset.name} lie in raw files beside it, such as "
            f"{dataset.external[0][0]}, which is not read; copy the file with h5repack -l CONTI"
        )
    if dataset.is_virtual:
        return _chunks_of_sources(path, dataset)
    if dataset.chunks is not None:
        # get_num_chunks counts those that are stored.
        there, expected = dataset.id.get_num_chunks(), _chunks_of(dataset)
        _check_places(path, dataset)
    else:
        compact = dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT
        there, expected = int(compact or dataset.id.get_storage_size() > 0), 1
    if there == 0:
        raise SourceError(
            f"{path}: {dataset.name} is declared with shape {dataset.shape}, but none of its "
            "pixels was ever written; leave it out"
        )
    return there, expected


def _check_places(path: str, dataset: h5py.Dataset) -> None:
    """Raise where a chunk does not lie in the file, or has no bytes.

    HDF5 takes memory for whatever length its index says, and crashes on a checksum of nothing.
    """
    size = dataset.file.id.get_filesize()
    least = 1 + (_CHECKSUM_BYTES if dataset.fletcher32 else 0)

    def look(chunk: Any) -> Any:
        is_there = chunk.size >= least and chunk.byte_offset + chunk.size <= size
        return None if is_there else chunk  # which ends the search

    found = dataset.id.chunk_iter(look)
    if found is not None:
        raise SourceError(
            f"{path}: the chunk of {dataset.name} at {found.chunk_offset} has {found.size} bytes "
            f"at {found.byte_offset}, and the file has {size}; it is truncated or damaged; mend it "
            "or leave it out"
        )


def _chunks_of(dataset: h5py.Dataset) -> int:
    return math.prod(
        -(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )


def sources_of(path: str, dataset: h5py.Dataset) -> list[tuple[str, Any]]:
    """Return the files that a virtual data set takes pixels from, each with the mapping.

    A relative name is looked for beside the file, as HDF5 does (H5Pset_virtual_prefix).
    """
    if not dataset.is_virtual:
        return []
    if is_remote(path):
        raise SourceError(
            f"{path}: {dataset.name} is a virtual data set, which is read on a mounted file system "
            "only; copy it there"
        )
    holder = os.fspath(dataset.file.filename)
    found = []
    for source in dataset.virtual_sources():
        if "%" in source.file_name or "%" in source.dset_name:
            raise SourceError(
                f"{path}: {dataset.name} names its sources by a pattern, {source.file_name}, which "
                "is not read; copy the data set into a file of its own"
            )
        name = source.file_name
        found.append((holder if name == "." else str(Path(holder).parent / name), source))
    return found


def _chunks_of_sources(path: str, dataset: h5py.Dataset) -> tuple[int, int]:
    import h5py

    there = expected = mapped = 0
    for name, source in sources_of(path, dataset):
        if not Path(name).is_file():
            raise SourceError(
                f"{path}: {dataset.name} takes pixels from {name}, which is not there; bring it "
                "back or leave the image out"
            )
        try:
            with h5py.File(name, "r", locking=False) as file:
                pixels = dataset_at(name, file, source.dset_name)
                check_filters(name, pixels)
                _check_source(name, pixels, source)
                stored = chunks_stored(name, pixels)
        except SourceError as error:
            raise SourceError(f"{path}: {dataset.name} takes pixels from {error}") from None
        there, expected = there + stored[0], expected + stored[1]
        mapped += source.vspace.get_select_npoints()
    if mapped < dataset.size:
        raise SourceError(
            f"{path}: {dataset.size - mapped} of the {dataset.size} pixels of {dataset.name} come "
            "from no file; copy the part that is there into a file of its own"
        )
    return there, expected


def _check_source(name: str, pixels: h5py.Dataset, source: Any) -> None:
    """Refuse a source that is smaller than what is taken from it: the rest would be fill."""
    if pixels.is_virtual:
        raise SourceError(
            f"{name}, where {pixels.name} is virtual again; copy it into a file of its own"
        )
    wanted = source.src_space.get_simple_extent_dims()
    if wanted:
        fits = len(wanted) == pixels.ndim and all(
            have >= want for have, want in zip(pixels.shape, wanted, strict=True)
        )
    else:  # all of it
        fits = pixels.size >= source.vspace.get_select_npoints()
    if not fits:
        raise SourceError(
            f"{name}, but more than the shape {pixels.shape} of {pixels.name} holds; make both anew"
        )

"""Which reader opens a path: taken from what the file begins with, not from its name.

Another format is one more function here, or a user's own by `images.reader`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..reader.remote import is_remote
from .bioio_image import open_bioio
from .bytes import open_bytes
from .hdf5_image import open_hdf5
from .image import ImageOptions, ImageReader
from .npy_image import open_npy
from .picture import open_picture
from .source import SourceError
from .table import open_table
from .tiff import open_tiff
from .users_own import users_function
from .zarr_image import open_zarr

Opener = Callable[[str, ImageOptions], ImageReader]

#: Enough to tell formats apart: XML is OME's where it comes to that element soon.
_BEGINNING_BYTES = 1024

#: What a file begins with, and who opens it.
_MAGIC: list[tuple[bytes, Opener]] = [
    (b"II*\0", open_tiff),
    (b"MM\0*", open_tiff),
    (b"II+\0", open_tiff),  # BigTIFF
    (b"MM\0+", open_tiff),
    (b"<OME", open_tiff),  # the companion of an OME-TIFF
    (b"\x93NUMPY", open_npy),
    (b"\x89HDF\r\n\x1a\n", open_hdf5),
    (b"PAR1", open_table),
    (b"PK\x03\x04", open_zarr),
    (b"PK\x05\x06", open_zarr),
    (b"\x89PNG\r\n\x1a\n", open_picture),
    (b"\xff\xd8\xff", open_picture),
    (b"BM", open_picture),
    (b"RIFF", open_picture),  # WebP
]


def open_image(path: str, options: ImageOptions) -> ImageReader:
    """Open an image.

    Parameters
    ----------
    path
        Of a file, of a folder that is a zarr group or array, or a URL.
    options
        What the recipe says about it.

    Raises
    ------
    SourceError
        Where nobody opens it. Other exceptions are what a damaged file makes a library raise.
    """
    if options.reader is not None:
        reader: Callable[[str], ImageReader] = users_function(options.reader, "images.reader")
        return reader(path)
    return _opener_of(path, options)(path, options)


def _opener_of(path: str, options: ImageOptions) -> Opener:
    local = not is_remote(path)
    if local and Path(path).is_dir():
        return open_zarr
    if not local and path.rstrip("/").endswith(".zarr"):
        return open_zarr
    try:
        with open_bytes(path, options.storage) as file:
            begin = file.pread(min(_BEGINNING_BYTES, file.size), 0)
    except FileNotFoundError:
        if local:
            raise
        return open_zarr  # a prefix of an object store
    for magic, opener in _MAGIC:
        if begin.startswith(magic):
            return opener
    if begin.startswith(b"<?xml") and b"<OME" in begin:
        return open_tiff
    if not begin:
        raise SourceError(f"{path}: is empty; leave it out")
    return open_bioio

"""The task that surveys a batch of files: what each of them holds, without reading a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .identity import identity_of
from .image import ImageOptions
from .limits import check_segment_bytes
from .opened import OpenImage
from .source import FileInfo, Level, SourceError, naming


def survey_files(
    paths: Sequence[str], options: ImageOptions, content: bool
) -> list[FileInfo | str]:
    """Describe files, one after another.

    Parameters
    ----------
    paths
        Of the files.
    options, content
        As in `describe`.

    Returns
    -------
    found
        For each file what is in it, or one sentence that says why it cannot be read.
    """
    found: list[FileInfo | str] = []
    for path in paths:
        try:
            found.append(describe(path, options, content))
        except SourceError as error:
            found.append(str(error))
    return found


def describe(path: str, options: ImageOptions, content: bool = False) -> FileInfo:
    """Survey one path.

    Parameters
    ----------
    path
        Of a file, a folder or a URL.
    options
        What the recipe says about it.
    content
        Whether the identity includes the sha256 of all of it.

    Raises
    ------
    SourceError
        Where it is damaged, or holds what cannot be cut into patches.
    """
    # Before it is opened: a pipe would wait for its other end.
    identity = identity_of((path,), content=False, storage=options.storage)
    image = OpenImage(path, options)
    reader = image.reader
    with naming(path, "be surveyed"):
        _check_shapes(path, image.shapes)
        _check_size(path, image, options)
        dtype = _dtype_name(path, reader.dtype)
        members = tuple(reader.files)
        if content or len(members) > 1:
            identity = identity_of(members or (path,), content, options.storage)
        reader.check()
        n, *shape = image.shapes[0]
        channels = tuple(reader.channels)
        items = tuple(reader.items)
        if "N" in reader.axes and not items:
            items = tuple(str(number) for number in range(n))
        return FileInfo(
            identity=identity,
            members=members if len(members) > 1 else (),
            items=items,
            shape=_five(shape),
            dtype=dtype,
            channels=channels if len(channels) == shape[1] else ("",) * shape[1],
            levels=tuple(
                Level((level[3], level[4], level[5]), _five(segment[1:]))
                for level, segment in zip(image.shapes, image.segments, strict=True)
            ),
            voxel_um=tuple(map(float, reader.voxel_um)),  # type: ignore[arg-type]
            held_bytes=int(reader.held_bytes),
            notes=tuple(reader.notes),
            significant_bits=int(getattr(reader, "significant_bits", 0)),
        )


def _five(lengths: Sequence[int]) -> tuple[int, int, int, int, int]:
    t, c, z, y, x = lengths
    return t, c, z, y, x


def _check_shapes(path: str, shapes: Sequence[Sequence[int]]) -> None:
    if not shapes or min(map(min, shapes)) < 1:
        raise SourceError(f"{path}: holds no image; mend it or leave it out")
    for finer, coarser in pairwise(shapes):
        if list(finer[:3]) != list(coarser[:3]) or any(
            b > a for a, b in zip(finer[3:], coarser[3:], strict=True)
        ):
            raise SourceError(
                f"{path}: its levels do not belong together: {tuple(finer)}, then "
                f"{tuple(coarser)} (n, t, c, z, y, x); write the pyramid anew"
            )


def _check_size(path: str, image: OpenImage, options: ImageOptions) -> None:
    height, width = image.shapes[0][4:]
    if height * width > options.max_pixels:
        raise SourceError(
            f"{path}: declares {height} x {width} pixels, more than images.max_pixels = "
            f"{options.max_pixels}; raise the limit if that is true, or leave it out"
        )
    itemsize = image.reader.dtype.itemsize
    largest = max(int(np.prod(segment[1:], dtype=object)) * itemsize for segment in image.segments)
    check_segment_bytes(path, largest, options)


def _dtype_name(path: str, dtype: np.dtype[Any]) -> str:
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise SourceError(
            f"{path}: has pixels of type {dtype}; integers and floats of up to 64 bit are read"
        )
    return str(dtype.newbyteorder("="))

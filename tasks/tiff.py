"""Opens a TIFF and says what is in it, without reading a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import tifffile

from .intact import check_chain, check_planes, segment_shape
from .ome import names_and_voxel
from .source import FileInfo, SourceError, identity_of, naming

#: Rows of an uncompressed strip are read as they are needed; this many count as one segment.
RAW_SEGMENT_ROWS = 64
_PAGE_AXES = ("YX", "YXS", "SYX")
#: What must be decoded at once may hold at most this much.
MAX_SEGMENT_BYTES = 2 << 30


def describe(path: str, axes: str | None = None, content: bool = False) -> FileInfo:
    """Survey one TIFF.

    Parameters
    ----------
    path
        Of the file.
    axes
        What the dimensions before the page's own are, for files that do not say, such as "CYX".
    content
        Whether the identity includes the sha256 of the file.

    Raises
    ------
    SourceError
        Where the file is damaged, or holds what cannot be cut into patches.
    """
    identity = identity_of(path, content)
    with naming(path, "be opened as a TIFF"), tifffile.TiffFile(path) as tif:
        series = only_series(tif, path)
        leading, samples = _axes_of(series, path, axes)
        sizes = {axis: length for axis, length in leading if axis in "TCZ"}
        strides = _strides(leading)
        check_chain(tif, path, identity.size_bytes)
        check_planes(tif, series, path, identity.size_bytes)
        page = series.keyframe
        n_channels = samples or sizes.get("C", 1)
        names, voxel_um = names_and_voxel(tif)
        if not any(names) and samples in (3, 4) and page.photometric in (2, 6):
            names = ("R", "G", "B", "A")[:samples]
        if len(names) != n_channels:
            names = ("",) * n_channels
        segment, segment_bytes = _segment(series)
        if segment_bytes > MAX_SEGMENT_BYTES:
            raise SourceError(
                f"{path}: its strips or tiles must be decoded whole and hold {segment_bytes} "
                f"bytes each; at most {MAX_SEGMENT_BYTES} are read; write smaller ones"
            )
        return FileInfo(
            identity=identity,
            shape=(
                sizes.get("T", 1),
                n_channels,
                sizes.get("Z", 1),
                int(page.imagelength),
                int(page.imagewidth),
            ),
            dtype=_dtype_name(series, path),
            channels=names,
            strides=strides,
            samples=samples,
            segment=segment,
            segment_bytes=segment_bytes,
            voxel_um=voxel_um,
        )


def only_series(tif: tifffile.TiffFile, path: str) -> tifffile.TiffPageSeries:
    """Return the file's image; an error where there is none, or more than one of its kind.

    Overviews, labels and thumbnails have another shape and are not the image.
    """
    if not tif.series or 0 in tif.series[0].shape:
        raise SourceError(f"{path}: holds no image; mend it or leave it out")
    first = tif.series[0]
    alike = [s for s in tif.series if s.shape == first.shape and s.dtype == first.dtype]
    if len(alike) > 1:
        raise SourceError(
            f"{path}: holds {len(alike)} images of shape {first.shape}; "
            "write one image per file, or leave it out"
        )
    return first


def _axes_of(
    series: tifffile.TiffPageSeries, path: str, axes: str | None
) -> tuple[list[tuple[str, int]], int]:
    """Return the dimensions before the page's own, and the samples that are channels (or 0)."""
    page = series.keyframe
    own, found = str(page.axes), str(series.axes)
    if axes is not None:
        if len(axes) != len(found):
            raise SourceError(
                f"{path}: has axes {found} of shape {series.shape}, but images.axes = {axes!r}; "
                f"write {len(found)} letters"
            )
        found = axes
    # Separate samples of a pixel may go by the name of channels.
    if own not in _PAGE_AXES or page.imagedepth != 1:
        raise SourceError(f"{path}: has pages of axes {own}; only Y, X and S are read")
    if found[-len(own) :].replace("C", "S") != own:
        raise SourceError(
            f"{path}: has pages of axes {own}, and {found} does not end in them; "
            "correct images.axes or write the file with channels before y and x"
        )
    leading = list(zip(found[: -len(own)], series.shape[: -len(own)], strict=True))
    suggested = ("Z" if "S" in own else "C") + own
    for axis, length in leading:
        if axis not in "TCZ" and length > 1:
            raise SourceError(
                f"{path}: has {length} planes along an axis {axis!r} that the file does not name; "
                f'say what they are with images.axes, for instance "{suggested}"'
            )
    samples = int(series.shape[-1 if own == "YXS" else -3]) if "S" in own else 0
    if samples and dict(leading).get("C", 1) > 1:
        raise SourceError(f"{path}: has both channels (C) and samples of a pixel (S)")
    return [(axis, int(length)) for axis, length in leading], samples


def _strides(leading: list[tuple[str, int]]) -> tuple[int, int, int]:
    strides, step = {"T": 0, "C": 0, "Z": 0}, 1
    for axis, length in reversed(leading):
        strides[axis] = step
        step *= length
    return strides["T"], strides["C"], strides["Z"]


def is_raw(page: tifffile.TiffPage) -> bool:
    """Whether rows of the page can be read as they lie in the file, without decoding."""
    plain = page.predictor == 1 and page.fillorder == 1 and not page.is_tiled
    return bool(plain and page.is_contiguous)


def _segment(series: tifffile.TiffPageSeries) -> tuple[tuple[int, int], int]:
    page: Any = series.keyframe
    height, width = segment_shape(page)
    if is_raw(page):
        height = min(RAW_SEGMENT_ROWS, int(page.imagelength))
    together = page.samplesperpixel if page.planarconfig == 1 else 1
    return (height, width), height * width * together * page.dtype.itemsize


def _dtype_name(series: tifffile.TiffPageSeries, path: str) -> str:
    dtype = np.dtype(series.dtype).newbyteorder("=")
    if dtype.kind not in "uif" or (dtype.kind in "ui" and dtype.itemsize > 4):
        raise SourceError(
            f"{path}: has pixels of type {dtype}; integers of 8, 16 and 32 bit and floats are read"
        )
    return str(dtype)

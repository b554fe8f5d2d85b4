"""Opens a TIFF and says what is in it, without reading a pixel.

Everything that a later read relies on is checked here: one kind of page, planes that are all
there, and segments (strips or tiles) that lie inside the file.
"""

from __future__ import annotations

import hashlib
import math
import re
import stat
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from .source import FileIdentity, FileInfo, SourceError

#: Rows of an uncompressed strip are read as they are needed; this many count as one segment.
RAW_SEGMENT_ROWS = 64
#: Micrometres in the units of length that OME-XML uses for pixels.
_MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_PAGE_AXES = ("YX", "YXS", "SYX")
#: What must be decoded at once may hold at most this much.
MAX_SEGMENT_BYTES = 2 << 30


@contextmanager
def naming(path: str, doing: str) -> Iterator[None]:
    """Turn whatever a broken file makes a decoder raise into one sentence with its name.

    Broken TIFFs raise TypeError, IndexError, ZeroDivisionError, MemoryError and more, so nothing
    narrower than Exception will do.
    """
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError:
        raise SourceError(f"{path}: the file is gone; bring it back or leave it out") from None
    except PermissionError:
        raise SourceError(f"{path}: may not be read; give read permission") from None
    except Exception as error:
        what = f"{type(error).__name__}: {error}".strip(": ").replace("\n", " ")
        raise SourceError(
            f"{path}: cannot {doing} ({what[:300]}); the file is damaged or of a kind that "
            f"tifffile {tifffile.__version__} does not read; mend it or leave it out"
        ) from error


def identity_of(path: str, content: bool) -> FileIdentity:
    """Return what tells a file from its later self.

    Parameters
    ----------
    path
        Of the file.
    content
        Whether to read it all for its sha256.
    """
    with naming(path, "look at the file"):
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            # To open a pipe would wait for its other end.
            raise SourceError(f"{path}: is not a regular file; leave it out")
        sha256 = ""
        if content:
            with Path(path).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileIdentity(found.st_size, found.st_mtime_ns, sha256)


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
        _check_chain(tif, path, identity.size_bytes)
        check_planes(tif, series, path, identity.size_bytes)
        page = series.keyframe
        n_channels = samples or sizes.get("C", 1)
        names, voxel_um = _ome(tif)
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


def _check_chain(tif: tifffile.TiffFile, path: str, size_bytes: int) -> None:
    """Raise where the list of pages leads out of the file.

    tifffile logs that, and goes on with the pages before.
    """
    at = tif.pages.next_page_offset
    if at is None:
        return
    tif.filehandle.seek(at)
    data = tif.filehandle.read(tif.tiff.offsetsize)
    next_page = size_bytes
    if len(data) == tif.tiff.offsetsize:
        next_page = struct.unpack(tif.tiff.offsetformat, data)[0]
    # An offset of an earlier page, where pages lie at equal distances, is inside the file.
    if next_page + tif.tiff.tagnosize > size_bytes:
        raise SourceError(
            f"{path}: its list of pages goes on at byte {next_page}, and the file has "
            f"{size_bytes}; it is truncated; mend it or leave it out"
        )


def check_planes(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: str, size_bytes: int
) -> None:
    """Raise where planes that are declared are not there, or lie outside the file.

    tifffile opens a truncated OME or ImageJ series without a word and fills in other planes.
    """
    count = math.prod(series.shape) // math.prod(series.keyframe.shape)
    declared = _declared_planes(tif)
    samples = series.keyframe.samplesperpixel
    if declared is not None and declared not in (count, count * samples):
        raise SourceError(
            f"{path}: declares {declared} planes and has {count}; it is truncated or its "
            "metadata is wrong; mend it or leave it out"
        )
    if series.is_multifile:
        raise SourceError(
            f"{path}: its OME-XML spreads the image over several files; "
            "write one file per image, or one per channel and join them by images.pattern"
        )
    if series.is_truncated:
        # The planes lie one after another behind the first; there are no pages for the others.
        offset, end = series.dataoffset, 0
        if offset is not None:
            end = offset + math.prod(series.shape) * series.dtype.itemsize
        if offset is None or end > size_bytes:
            raise SourceError(f"{path}: is truncated: {end} bytes are declared, {size_bytes} there")
        return
    key = series.keyframe
    expected = _segment_count(key)
    for number in range(count):
        page: Any = series[number]
        if page is None:
            raise SourceError(f"{path}: plane {number} of {count} is missing; it is truncated")
        if page.keyframe.shape != key.shape or page.keyframe.dtype != key.dtype:
            raise SourceError(
                f"{path}: page {number} is {page.keyframe.shape} {page.keyframe.dtype}, "
                f"page 0 is {key.shape} {key.dtype}; write pages of one kind"
            )
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) < expected or len(counts) < expected:
            raise SourceError(
                f"{path}: page {number} lists {min(len(offsets), len(counts))} segments "
                f"of {expected}; it is truncated or damaged"
            )
        for at, nbytes in zip(offsets, counts, strict=False):
            # A tile without bytes is empty by convention (sparse files of GDAL and others).
            if at + nbytes > size_bytes or (nbytes <= 0 and not key.is_tiled):
                raise SourceError(
                    f"{path}: page {number} lists a segment of {nbytes} bytes at {at}, "
                    f"and the file has {size_bytes}; it is truncated or damaged"
                )


def _segment_count(page: tifffile.TiffPage) -> int:
    height, width = _segment_shape(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return planes * math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)


def _segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def is_raw(page: tifffile.TiffPage) -> bool:
    """Whether rows of the page can be read as they lie in the file, without decoding."""
    plain = page.predictor == 1 and page.fillorder == 1 and not page.is_tiled
    return bool(plain and page.is_contiguous)


def _segment(series: tifffile.TiffPageSeries) -> tuple[tuple[int, int], int]:
    page: Any = series.keyframe
    height, width = _segment_shape(page)
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


def _declared_planes(tif: tifffile.TiffFile) -> int | None:
    """Return the number of planes that the metadata speaks of, None where it does not."""
    if tif.is_ome and tif.ome_metadata:
        pixels = _ome_pixels(tif.ome_metadata)
        if len(pixels) == 1:
            return math.prod(int(pixels[0].get(f"Size{axis}", 1)) for axis in "TCZ")
    elif tif.is_imagej and tif.imagej_metadata:
        images = tif.imagej_metadata.get("images")
        if images is not None:
            return int(images)
    return None


def _ome_pixels(xml: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(xml).findall(".//{*}Image/{*}Pixels")


def _ome(tif: tifffile.TiffFile) -> tuple[tuple[str, ...], tuple[float, float, float]]:
    """Return the channel names and the voxel size (z, y, x) in micrometres of an OME-TIFF."""
    unknown = (math.nan, math.nan, math.nan)
    pixels = _ome_pixels(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else []
    if not pixels:
        return (), unknown
    names = tuple(c.get("Name", "") for c in pixels[0].findall("{*}Channel"))

    def length(axis: str) -> float:
        value = pixels[0].get(f"PhysicalSize{axis}", "")
        scale = _MICROMETRES.get(pixels[0].get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
        return float(value) * scale if re.fullmatch(r"[0-9.eE+-]+", value) else math.nan

    return names, (length("Z"), length("Y"), length("X"))

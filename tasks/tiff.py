"""Opens a TIFF of any kind, and says what is in it without reading a pixel.

`tiff_series` picks the image, `tiff_axes` names its dimensions, `ome_set` finds the other files of
an OME-TIFF, `calibration` the size of a pixel; `TiffImage` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from ..reader.remote import is_remote
from .bytes import Bytes, open_bytes
from .calibration import voxel_size
from .channel_names import channel_names
from .image import ImageOptions
from .intact import file_of
from .micromanager import check_micromanager, not_taken
from .ome import image_of, significant_bits
from .ome_set import OmeSet, absolute, elsewhere, own_set
from .open_files import OpenFiles
from .page_chain import check_chain
from .source import SourceError
from .tiff_axes import TiffAxes
from .tiff_colours import PALETTE, notes_on, palette_of
from .tiff_image import TiffImage
from .tiff_series import image_series, levels_of

#: A companion is metadata; a larger file is something else.
_MAX_COMPANION_BYTES = 256 << 20


def open_tiff(path: str, options: ImageOptions) -> TiffImage:
    """Open a TIFF, or the companion (`*.companion.ome`) of an OME-TIFF.

    Parameters
    ----------
    path
        Of a file or a URL. Any file of an OME-TIFF set leads to the image that it is part of;
        `files` of what is returned are the paths of all.
    options
        `axes`, `dataset` (a series by number or name), `palette` and `storage` count.

    Raises
    ------
    SourceError
        Where it holds what cannot be cut into patches. Other exceptions are what a damaged file
        makes tifffile raise.
    """
    opened, ome = _open_set(path, options)
    try:
        return _image(opened, ome, options)
    except BaseException:
        opened.close()
        opened.data.close()
        raise


@dataclass(frozen=True)
class _Opened:
    """A TIFF, opened for its directories and for its bytes."""

    path: str
    data: Bytes
    file: BinaryIO
    tif: tifffile.TiffFile

    @classmethod
    def open(cls, path: str, data: Bytes, ome: OmeSet | None = None) -> _Opened:
        """Open a file; its bytes are closed where that fails."""
        file = None
        try:
            check_chain(data, path)
            file = data.file()
            # tifffile looks for the other files of a set in the folder of this one.
            name = Path(path).name if is_remote(path) else None
            if ome is None:
                tif = tifffile.TiffFile(file, name=name)
            else:
                # The XML counts, whatever the first page says of itself.
                tif = tifffile.TiffFile(file, name=name, omexml=ome.xml, is_shaped=False)
            return cls(path, data, file, tif)
        except BaseException:
            if file is not None:
                file.close()
            data.close()
            raise

    def close(self) -> None:
        """Close all but the bytes, which are read on."""
        self.tif.close()
        self.file.close()


def _open_set(path: str, options: ImageOptions) -> tuple[_Opened, OmeSet | None]:
    """Open the first file of the set that a file belongs to."""
    xml = _companion(path, options)
    if xml is not None:
        ome = own_set(path, xml, companion=True)
    else:
        opened = _Opened.open(path, open_bytes(path, options.storage))
        xml = _ome_xml(opened)
        if xml is None:
            return opened, None
        opened.close()
        opened.data.close()
        ome = _set_of(path, xml, options)
    return _Opened.open(ome.first, open_bytes(ome.first, options.storage), ome), ome


def _set_of(path: str, xml: str, options: ImageOptions) -> OmeSet:
    """Return the files of the image that a TIFF is part of, by its OME-XML."""
    other = elsewhere(path, xml)
    if other is None:
        return own_set(path, xml)
    found = _companion(other, options)
    companion = found is not None
    if found is None:
        opened = _Opened.open(other, open_bytes(other, options.storage))
        found = _ome_xml(opened)
        opened.close()
        opened.data.close()
    if found is None or elsewhere(other, found) is not None:
        raise SourceError(
            f"{path}: its OME-XML should lie in {Path(other).name!r}, where it is not; "
            "mend it or leave it out"
        )
    ome = own_set(other, found, companion, holder=path)
    if absolute(path) not in ome.files:
        raise SourceError(
            f"{path}: is not among the files that {Path(other).name!r} lists; leave it out"
        )
    return ome


def _companion(path: str, options: ImageOptions) -> str | None:
    """Return the OME-XML of a file that is nothing else; None for any other."""
    data = open_bytes(path, options.storage)
    try:
        head = data.pread(min(8, data.size), 0)
        if not head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<"):
            return None
        if data.size > _MAX_COMPANION_BYTES:
            raise SourceError(f"{path}: is no companion of an OME-TIFF; leave it out")
        return data.pread(data.size, 0).decode("utf-8-sig")
    finally:
        data.close()


def _ome_xml(opened: _Opened) -> str | None:
    return opened.tif.ome_metadata if opened.tif.pages else None


def _image(opened: _Opened, ome: OmeSet | None, options: ImageOptions) -> TiffImage:
    path, tif = opened.path, opened.tif
    if not tif.pages:
        raise SourceError(f"{path}: holds no image; mend it or leave it out")
    check_micromanager(tif, path)
    series, left_out = image_series(tif, path, options.dataset)
    levels, axes, no_levels = levels_of(series, path, options.axes)
    dtype = _dtype(series, path)
    palette = None
    if series.keyframe.photometric == PALETTE and options.palette == "colour":
        if axes.samples or dict(axes.leading).get("C", 1) > 1:
            raise SourceError(
                f'{path}: has both channels and a palette; set images.palette to "index"'
            )
        palette = palette_of(series, path)
        axes, dtype = TiffAxes(axes.leading, 3), palette.dtype
    voxel_um, guessed = voxel_size(tif, series)
    former = () if ome is None else ome.notes
    return TiffImage(
        path,
        tif,
        levels,
        axes,
        data=OpenFiles(path, opened.data, options.storage),
        files=_files_of(series, tif, path) if ome is None else ome.files,
        dtype=dtype,
        palette=palette,
        channels=channel_names(tif, series, axes),
        voxel_um=voxel_um,
        notes=(
            *former,
            *left_out,
            *no_levels,
            *notes_on(series),
            *guessed,
            *not_taken(tif, series),
        ),
        options=options,
        close=opened.close,
        significant_bits=0 if palette is not None else significant_bits(image_of(tif, series)),
    )


def _dtype(series: tifffile.TiffPageSeries, path: str) -> np.dtype[Any]:
    """Return the type of the pixels; single bits become 0 and 1."""
    page = series.keyframe
    found: Any = page.dtype
    if found is not None:
        found = np.dtype(series.dtype).newbyteorder("=")
    if found is None or found.kind not in "uifb" or found.itemsize > 8:
        what = f"{page.bitspersample} bit, SampleFormat {page.sampleformat}"
        raise SourceError(
            f"{path}: has pixels of type {found or what}; integers and floats of up to 64 bit "
            "are read; write it as one of them"
        )
    return np.dtype(np.uint8) if found.kind == "b" else found


def _files_of(
    series: tifffile.TiffPageSeries, tif: tifffile.TiffFile, path: str
) -> tuple[str, ...]:
    """Return the paths of the files that the pages of a series lie in."""
    if not series.is_multifile:
        return (absolute(path),)
    names = (Path(file_of(page, tif, path)).name for page in series if page is not None)
    own = Path(path)
    return tuple(dict.fromkeys(absolute(str(own.with_name(name))) for name in (own.name, *names)))

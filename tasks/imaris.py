"""Opens Imaris 5.5 files (.ims): HDF5 with one data set per level, time point and channel.

The layout is described at https://imaris.oxinst.com/support/imaris-file-format. Two traps: numbers
and names stand in attributes as arrays of single characters, and data sets are filled up to whole
chunks, so that only ImageSizeX, Y and Z of a channel's group say what is image.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import axes_of
from .hdf5_attributes import attribute
from .hdf5_opened import Hdf5Image
from .hdf5_volumes import Volumes
from .image import UNKNOWN_VOXEL, ImageOptions, VoxelSize
from .source import SourceError
from .units import micrometres_of

if TYPE_CHECKING:
    import h5py

_LEVEL = "DataSet/ResolutionLevel {}"
_UNNAMED = "(name not specified)"


def is_imaris(file: h5py.File) -> bool:
    """Return whether an HDF5 file is one of Imaris."""
    return _LEVEL.format(0) in file and "DataSetInfo" in file


def open_imaris(path: str, file: h5py.File, options: ImageOptions) -> Hdf5Image:
    """Open an Imaris file.

    Parameters
    ----------
    path
        Of the file, for errors.
    file
        The open file, which the image closes.
    options
        `axes` in place of "TCZYX", for files whose time points are depths, say.

    Returns
    -------
    image
        Axes TCZYX, with its levels; without what fills data sets up to whole chunks.
    """
    if options.dataset is not None:
        raise SourceError(
            f"{path}: an Imaris file holds one image, but images.dataset = {options.dataset!r}; "
            "leave images.dataset out"
        )
    times = _numbered(path, file, _LEVEL.format(0), "TimePoint")
    channels = _numbered(path, file, f"{_LEVEL.format(0)}/TimePoint 0", "Channel")
    declared = _number(file, "DataSetInfo/TimeInfo", "DatasetTimePoints")
    if declared > times:
        raise SourceError(
            f"{path}: declares {declared:.0f} time points, but has {times}; it was not written to "
            "the end; mend it or leave it out"
        )
    levels: list[Volumes] = []
    while _LEVEL.format(len(levels)) in file:
        groups = _groups(_LEVEL.format(len(levels)), times, channels)
        size = _size_of(path, file, groups[0][0])
        names = [[f"{group}/Data" for group in row] for row in groups]
        levels.append(Volumes(path, file, names, size))
    voxel_um, notes = _voxel_of(file, levels[0].shape)
    axes = axes_of(path, levels[0].shape, tuple("TCZYX"), options)
    as_it_is = axes == "TCZYX"
    if not as_it_is:
        levels = levels[:1]

    def datasets() -> Any:
        for number, level in enumerate(levels):
            for row in _groups(_LEVEL.format(number), times, channels):
                for group in row:
                    _check_size(path, file, group, level.shape[2:])
            yield from level.datasets()

    return Hdf5Image(
        path,
        file,
        levels,
        axes,
        datasets,
        options=options,
        channels=[_name_of(file, c) for c in range(channels)] if as_it_is else (),
        voxel_um=voxel_um,
        notes=notes,
    )


def _groups(level: str, times: int, channels: int) -> list[list[str]]:
    return [[f"{level}/TimePoint {t}/Channel {c}" for c in range(channels)] for t in range(times)]


def _numbered(path: str, file: h5py.File, group: str, word: str) -> int:
    """Return how many members "word 0", "word 1" … a group has."""
    members = list(file[group]) if group in file else []
    numbers = {int(m[1]) for m in (re.fullmatch(rf"{word} (\d+)", name) for name in members) if m}
    missing = sorted(set(range(max(numbers, default=0) + 1)) - numbers)
    if missing:
        raise SourceError(
            f"{path}: {group} has no {word} {missing[0]}; the file is damaged; mend it or leave it "
            "out"
        )
    return len(numbers)


def _text(file: h5py.File, group: str, name: str) -> str:
    """Return an attribute, "" where there is none: an array of characters, or a text."""
    value = attribute(file[group], name) if group in file else None
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip("\0 ")
    raw = np.asarray(value)
    joined = raw.tobytes() if raw.dtype.kind == "S" else str(value).encode()
    try:
        return joined.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return joined.decode("latin-1").strip("\0 ")


def _number(file: h5py.File, group: str, name: str) -> float:
    try:
        return float(_text(file, group, name))
    except ValueError:
        return math.nan


def _size_of(path: str, file: h5py.File, group: str) -> tuple[int, int, int]:
    """Return (z, y, x) of the image in a channel's data set."""
    found = [_text(file, group, f"ImageSize{axis}") for axis in "ZYX"]
    if not all(length.isdecimal() and int(length) for length in found):
        raise SourceError(
            f"{path}: {group} does not say how much of its data set is image (ImageSizeX, Y, Z); "
            "write the file anew with Imaris"
        )
    z, y, x = map(int, found)
    return z, y, x


def _check_size(path: str, file: h5py.File, group: str, size: tuple[int, ...]) -> None:
    if group in file and _size_of(path, file, group) != size:
        raise SourceError(
            f"{path}: {group} has {_size_of(path, file, group)} pixels (z, y, x), but the first "
            f"channel has {size}; parts of an image must be alike"
        )


def _name_of(file: h5py.File, channel: int) -> str:
    name = _text(file, f"DataSetInfo/Channel {channel}", "Name")
    return "" if name == _UNNAMED else name


def _voxel_of(file: h5py.File, shape: tuple[int, ...]) -> tuple[VoxelSize, tuple[str, ...]]:
    """Return (z, y, x) in micrometres, and what was guessed."""
    group = "DataSetInfo/Image"
    unit = micrometres_of(_text(file, group, "Unit") or "um")
    z, y, x = (
        (_number(file, group, f"ExtMax{n}") - _number(file, group, f"ExtMin{n}")) / length * unit
        for n, length in ((2, shape[2]), (1, shape[3]), (0, shape[4]))
    )
    if (z, y, x) == (1, 1, 1):
        # What Imaris writes where it knows nothing.
        return UNKNOWN_VOXEL, (
            "its voxels of 1 x 1 x 1 micrometres were never calibrated, and count as unknown",
        )
    return (z, y, x), ()

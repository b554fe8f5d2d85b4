"""One image of the survey: its files joined, plane by plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..tasks.source import FileInfo, ImageSource, SourceError
from .files import Found, ImageFiles
from .natural import natural_key
from .recipe import Recipe


@dataclass(frozen=True)
class SurveyedImage:
    """One image, and what its files hold.

    Attributes
    ----------
    shape
        Lengths of (t, c, z, y, x), of the chosen channels.
    channels
        Their names, in order.
    segment
        (height, width) of what must be decoded at once, in pixels.
    segment_bytes
        Its decoded size.
    voxel_um
        (z, y, x) in micrometres, NaN where unknown.
    """

    files: ImageFiles
    source: ImageSource
    shape: tuple[int, int, int, int, int]
    channels: tuple[str, ...]
    segment: tuple[int, int]
    segment_bytes: int
    voxel_um: tuple[float, float, float]

    @property
    def id(self) -> str:
        """What names the image."""
        return self.files.id


def join_files(
    recipe: Recipe, found: Found, files: ImageFiles, infos: Mapping[str, FileInfo | str]
) -> SurveyedImage:
    """Join the files of one image.

    Parameters
    ----------
    infos
        What is in each file, by its path, or why it cannot be read.

    Raises
    ------
    SourceError
        Where a file cannot be read, or the files do not fit each other.
    """
    described: list[FileInfo] = []
    for file in files.files:
        info = infos[file.path]
        if isinstance(info, str):
            raise SourceError(info)
        described.append(info)
    first = described[0]
    for file, info in zip(files.files, described, strict=True):
        if info.shape[3:] != first.shape[3:] or info.dtype != first.dtype:
            raise SourceError(
                f"its files differ: {files.files[0].relative} is {_kind(first)}, "
                f"{file.relative} is {_kind(info)}; join files of one kind"
            )
    ts = sorted({file.t or "" for file in files.files}, key=natural_key)
    zs = sorted({file.z or "" for file in files.files}, key=natural_key)
    names, numbers = _channels(recipe, found, first)
    n_t = len(ts) if ts != [""] else first.shape[0]
    n_z = len(zs) if zs != [""] else first.shape[2]
    planes = np.full((n_t, len(names), n_z, 3), -1, np.int32)
    for number, (file, info) in enumerate(zip(files.files, described, strict=True)):
        for axis, key in ((0, file.t), (1, file.channel), (2, file.z)):
            if key is not None and info.shape[axis] > 1:
                raise SourceError(
                    f"{file.relative} holds {info.shape[axis]} planes along {'TCZ'[axis]}, which "
                    "the pattern takes from its name; take the group out of images.pattern"
                )
        at_c = range(len(names)) if file.channel is None else [numbers.index(file.channel)]
        for t in range(info.shape[0]):
            for z in range(info.shape[2]):
                for c in at_c:
                    own = 0 if file.channel is not None else int(numbers[c])
                    at_t = t if file.t is None else ts.index(file.t)
                    at_z = z if file.z is None else zs.index(file.z)
                    planes[at_t, c, at_z] = (number, *info.plane(t, own, z))
    if (planes[..., 0] < 0).any():
        raise SourceError("its files have different numbers of planes; write files of one kind")
    height, width = first.shape[3:]
    source = ImageSource(
        id=files.id,
        paths=tuple(file.path for file in files.files),
        identities=tuple(info.identity for info in described),
        planes=planes,
        shape=(height, width),
        dtype=np.dtype(first.dtype),
    )
    return SurveyedImage(
        files=files,
        source=source,
        shape=(n_t, len(names), n_z, height, width),
        channels=names,
        segment=first.segment,
        segment_bytes=max(info.segment_bytes for info in described),
        voxel_um=first.voxel_um,
    )


def _kind(info: FileInfo) -> str:
    return f"{info.shape[3]} x {info.shape[4]} {info.dtype}"


def _channels(
    recipe: Recipe, found: Found, first: FileInfo
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of an image's channels, and the key of each: of a file, or inside one."""
    table = recipe.images.channels or {}
    if found.channels is not None:
        return tuple(table.get(key, key) for key in found.channels), tuple(found.channels)
    own = [name or f"c{number}" for number, name in enumerate(first.channels)]
    if len(set(own)) < len(own) or any("/" in name or name.startswith(".") for name in own):
        own = [f"c{number}" for number in range(len(own))]
    if not table:
        return tuple(own), tuple(str(number) for number in range(len(own)))
    numbers: list[str] = []
    for key in table:
        if key in own:
            numbers.append(str(own.index(key)))
        elif key.isdecimal() and int(key) < len(own):
            numbers.append(str(int(key)))
        else:
            raise SourceError(
                f"images.channels names {key!r}, and the file's channels are "
                f"{', '.join(f'{n} ({name})' for n, name in enumerate(own))}"
            )
    return tuple(table.values()), tuple(numbers)

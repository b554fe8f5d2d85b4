"""One image of the survey: its files joined, plane by plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..tasks.resolution import Resolution
from ..tasks.source import FileInfo, ImageKind, ImageSource, Level, SourceError
from .files import Found, ImageFiles
from .natural import natural_key
from .resolutions import choose_resolution, voxel_size

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedImage:
    """One image, and what its files hold.

    Attributes
    ----------
    shape
        Lengths of (t, c, z, y, x) at level 0, of the chosen channels.
    channels
        Their names, in order.
    voxel_um
        (z, y, x) of level 0 in micrometres, NaN where unknown.
    times
        That are cut, each by itself; only the first where they are projected.
    focus
        int32, shape (times, c): the plane of each channel where one is cut; None where all are.
    notes
        What was guessed of its first file.
    levels
        Of its pyramid, finest first.
    significant_bits
        Of a pixel's value, where its first file says how many its camera has; else 0.
    """

    files: ImageFiles
    source: ImageSource
    shape: tuple[int, int, int, int, int]
    channels: tuple[str, ...]
    voxel_um: tuple[float, float, float]
    times: range
    focus: NDArray[np.int32] | None = None
    notes: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    significant_bits: int = 0

    @property
    def id(self) -> str:
        """What names the image."""
        return self.files.id

    def described(self, columns: Mapping[str, str]) -> SurveyedImage:
        """Return the image with more columns."""
        files = replace(self.files, groups=(*self.files.groups, *columns.items()))
        return replace(self, files=files)


class Joiner:
    """Joins the files of images; what many images share is made once.

    Parameters
    ----------
    infos
        What is in each file, by its path, or why it cannot be read.
    """

    def __init__(self, recipe: Recipe, found: Found, infos: Mapping[str, FileInfo | str]) -> None:
        self.recipe, self.found, self.infos = recipe, found, infos
        self._kinds: dict[object, ImageKind] = {}
        self._levels: dict[tuple[Level, ...], tuple[Level, ...]] = {}

    def join(self, files: ImageFiles) -> SurveyedImage:
        """Join the files of one image.

        Raises
        ------
        SourceError
            Where a file cannot be read, or the files do not fit each other.
        """
        described = [self._info(file.path) for file in files.files]
        first = described[0]
        _check_alike(files, described)
        names, numbers = _channels(self.recipe, self.found, first)
        n_t, n_z = _lengths(files, first)
        patches = self.recipe.patches
        _check_number("t", patches.t, n_t)
        _check_number("z", patches.z, n_z)
        levels = _levels(files, first, n_z)
        voxel_um = voxel_size(self.recipe, files, first.voxel_um)
        resolution = choose_resolution(patches, [level.shape for level in levels], voxel_um)
        kind = self._kind(files, described, numbers, n_t, resolution, levels[resolution.level])
        source = ImageSource(
            id=files.id,
            paths=tuple(file.path for file in files.files),
            identities=tuple(info.identity for info in described),
            members=tuple(info.members for info in described),
            item=0,
            kind=kind,
        )
        times = range(1) if patches.project_t else range(n_t)
        if isinstance(patches.t, int):
            times = range(patches.t, patches.t + 1)
        shape = (len(times), len(names))
        return SurveyedImage(
            files=files,
            source=source,
            shape=(n_t, len(names), n_z, *first.shape[3:]),
            channels=names,
            voxel_um=voxel_um,
            times=times,
            focus=np.full(shape, patches.z, np.int32) if isinstance(patches.z, int) else None,
            notes=first.notes,
            levels=self._levels.setdefault(tuple(levels), tuple(levels)),
            significant_bits=first.significant_bits,
        )

    def _info(self, path: str) -> FileInfo:
        info = self.infos[path]
        if isinstance(info, str):
            raise SourceError(info)
        return info

    def _kind(
        self,
        files: ImageFiles,
        described: Sequence[FileInfo],
        numbers: Sequence[str],
        n_t: int,
        resolution: Resolution,
        level: Level,
    ) -> ImageKind:
        first = described[0]
        key = (first.shape, first.dtype, first.held_bytes, level, resolution, tuple(numbers))
        alone = len(files.files) == 1 and files.files[0].channel is None
        if alone and key in self._kinds:
            return self._kinds[key]
        planes = _planes(files, described, numbers, n_t, resolution.shape[0])
        patches = self.recipe.patches
        if isinstance(patches.t, int):
            planes = planes[patches.t : patches.t + 1]
        if isinstance(patches.z, int):
            planes = planes[:, :, patches.z : patches.z + 1]
            resolution = one_plane(resolution)
        kind = ImageKind(
            planes=planes,
            resolution=resolution,
            segment=level.segment,
            dtype=np.dtype(first.dtype),
            held_bytes=max(info.held_bytes for info in described),
        )
        if alone:
            self._kinds[key] = kind
        return kind


def one_plane(resolution: Resolution) -> Resolution:
    """Return the resolution of an image of which one plane was chosen."""
    return replace(resolution, shape=(1, *resolution.shape[1:]))


def _check_number(axis: str, value: int | str, length: int) -> None:
    if isinstance(value, int) and value >= length:
        raise SourceError(
            f"has {length} planes along {axis.upper()}, numbered from 0, and patches.{axis} = "
            f"{value}"
        )


def _check_alike(files: ImageFiles, described: Sequence[FileInfo]) -> None:
    first = described[0]
    for file, info in zip(files.files, described, strict=True):
        if info.shape[3:] != first.shape[3:] or info.dtype != first.dtype:
            raise SourceError(
                f"its files differ: {files.files[0].relative} is {_kind_text(first)}, "
                f"{file.relative} is {_kind_text(info)}; join files of one kind"
            )
        if (info.shape[0], info.shape[2]) != (first.shape[0], first.shape[2]):
            raise SourceError("its files have different numbers of planes; write files of one kind")
        if [level.shape for level in info.levels] != [level.shape for level in first.levels]:
            raise SourceError(
                f"its files differ: {files.files[0].relative} and {file.relative} have other "
                "levels; join files of one kind"
            )
        if len(files.files) > 1 and info.items:
            raise SourceError(
                f"{file.relative} holds {len(info.items)} images, which the pattern or manifest "
                "joins with others; give it without them"
            )
        for axis, key in ((0, file.t), (1, file.channel), (2, file.z)):
            if key is not None and info.shape[axis] > 1:
                raise SourceError(
                    f"{file.relative} holds {info.shape[axis]} planes along {'TCZ'[axis]}, which "
                    "the pattern takes from its name; take the group out of images.pattern"
                )


def _kind_text(info: FileInfo) -> str:
    return f"{info.shape[3]} x {info.shape[4]} {info.dtype}"


def _keys(values: Sequence[str | None]) -> list[str]:
    return sorted({value or "" for value in values}, key=natural_key)


def _lengths(files: ImageFiles, first: FileInfo) -> tuple[int, int]:
    """Return how many times and planes an image has, in its files or in their number."""
    ts, zs = _keys([file.t for file in files.files]), _keys([file.z for file in files.files])
    return (
        len(ts) if ts != [""] else first.shape[0],
        len(zs) if zs != [""] else first.shape[2],
    )


def _levels(files: ImageFiles, first: FileInfo, n_z: int) -> list[Level]:
    """Return the levels of an image; one whose planes are files has all planes at each level."""
    if files.files[0].z is None:
        return list(first.levels)
    return [Level((n_z, *level.shape[1:]), level.segment) for level in first.levels]


def _planes(
    files: ImageFiles,
    described: Sequence[FileInfo],
    numbers: Sequence[str],
    n_t: int,
    n_z: int,
) -> NDArray[np.int32]:
    """Return where each plane is, see `ImageKind.planes`."""
    ts, zs = _keys([file.t for file in files.files]), _keys([file.z for file in files.files])
    planes = np.full((n_t, len(numbers), n_z, 4), -1, np.int32)
    for number, (file, info) in enumerate(zip(files.files, described, strict=True)):
        at_t = range(info.shape[0]) if file.t is None else [ts.index(file.t)]
        at_z = range(n_z) if file.z is None else [zs.index(file.z)]
        at_c = range(len(numbers)) if file.channel is None else [numbers.index(file.channel)]
        own_c = [0 if file.channel is not None else int(numbers[c]) for c in at_c]
        own_t = range(info.shape[0])
        own_z = range(n_z) if file.z is None else range(1)
        place = np.ix_(list(at_t), list(at_c), list(at_z))
        inside = np.meshgrid([number], own_t, own_c, own_z, indexing="ij")
        planes[place] = np.stack([axis[0] for axis in inside], axis=-1)
    if (planes[..., 0] < 0).any():
        raise SourceError("its files have different numbers of planes; write files of one kind")
    return planes


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

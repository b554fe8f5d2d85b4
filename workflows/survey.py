"""Surveys the images of a recipe: on the cluster, one task per batch of files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from ..reader.errors import PatchmillError
from ..tasks.source import FileIdentity, FileInfo, ImageSource, SourceError
from ..tasks.survey import survey_files
from .cache import SurveyCache
from .dtypes import is_widening
from .errors import RecipeError
from .files import Found, ImageFiles
from .natural import natural_key
from .recipe import Recipe
from .window import result_of, run_windowed

#: Files that one task surveys.
BATCH_FILES = 64
#: Failures that an error lists before it only counts them.
MAX_LISTED = 10


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


@dataclass(frozen=True)
class Survey:
    """What was found: the images in order, and those that are left out with the reason."""

    images: tuple[SurveyedImage, ...]
    failed: tuple[tuple[ImageFiles, str], ...]


#: Opens a cluster, when there is something to survey.
Connect = Callable[[], AbstractContextManager[Client]]


def survey(recipe: Recipe, found: Found, connect: Connect) -> Survey:
    """Look at every file, at most once as long as it does not change.

    Parameters
    ----------
    recipe
        Says what files hold that do not say it themselves, and what becomes of faults.
    found
        The images and their files.
    connect
        Called only where something is not known from an earlier survey.

    Raises
    ------
    PatchmillError
        Where images cannot be read and `images.on_error` is "raise".
    """
    paths = [file.path for image in found.images for file in image.files]
    infos = _look(recipe, paths, connect)
    images: list[SurveyedImage] = []
    failed: list[tuple[ImageFiles, str]] = []
    for files in found.images:
        try:
            images.append(_combine(recipe, found, files, infos))
        except SourceError as error:
            failed.append((files, str(error)))
    if failed and recipe.images.on_error == "raise":
        raise PatchmillError(failure_text(failed, len(found.images)))
    return Survey(tuple(images), tuple(failed))


def failure_text(failed: Sequence[tuple[ImageFiles, str]], total: int) -> str:
    """Say which images cannot be cut, and what to do."""
    lines = [f"  {files.id}: {reason}" for files, reason in failed[:MAX_LISTED]]
    if len(failed) > MAX_LISTED:
        lines.append(f"  and {len(failed) - MAX_LISTED} more")
    return "\n".join(
        [
            f"{len(failed)} of {total} images cannot be used:",
            *lines,
            'mend them, leave them out with images.exclude, or write images.on_error = "skip"',
        ]
    )


def _look(recipe: Recipe, paths: list[str], connect: Connect) -> dict[str, FileInfo | str]:
    content = recipe.images.identity == "content"
    cache = SurveyCache(recipe.images.axes, content)
    infos: dict[str, FileInfo | str] = {}
    # A network file system answers many questions at once faster than one after another.
    with ThreadPoolExecutor(16) as pool:
        known = pool.map(lambda path: _known(path, cache), paths)
        infos.update({p: info for p, info in zip(paths, known, strict=True) if info is not None})
    unknown = [path for path in paths if path not in infos]
    if not unknown:
        return infos
    batches = deque(unknown[i : i + BATCH_FILES] for i in range(0, len(unknown), BATCH_FILES))
    with connect() as client:
        tasks = run_windowed(
            client,
            "survey",
            survey_files,
            batches,
            lambda batch: (batch, recipe.images.axes, content),
        )
        for batch, future in tasks:
            found_in_batch = result_of(future, f"survey of {batch[0]} to {batch[-1]}")
            for path, info in zip(batch, found_in_batch, strict=True):
                infos[path] = info
                if isinstance(info, FileInfo):
                    cache.put(path, info)
    return infos


def _known(path: str, cache: SurveyCache) -> FileInfo | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None  # the survey's task says what is wrong
    return cache.get(path, FileIdentity(stat.st_size, stat.st_mtime_ns))


def _combine(
    recipe: Recipe, found: Found, files: ImageFiles, infos: dict[str, FileInfo | str]
) -> SurveyedImage:
    """Join the files of one image."""
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


def check_kinds(recipe: Recipe, surveyed: Survey) -> Survey:
    """Leave images of one kind: the same channels and type.

    Where the recipe states the kind, an image of another kind is that image's fault; else a
    mixture is nobody's, and an error.
    """
    stated = recipe.images.dtype
    images: list[SurveyedImage] = []
    failed = list(surveyed.failed)
    for image in surveyed.images:
        if stated is not None and image.source.dtype != np.dtype(stated):
            reason = f"is {image.source.dtype}, and images.dtype is {stated}"
            failed.append((image.files, reason))
        else:
            images.append(image)
    if len(failed) > len(surveyed.failed) and recipe.images.on_error == "raise":
        raise PatchmillError(failure_text(failed, len(images) + len(failed)))
    kinds: dict[tuple[str, tuple[str, ...]], list[SurveyedImage]] = {}
    for image in images:
        dtype = "" if recipe.store.dtype else str(image.source.dtype)
        kinds.setdefault((dtype, image.channels), []).append(image)
    if len(kinds) > 1:
        lines = [
            f"  {len(alike)} of {dtype or 'any type'} with channels {', '.join(channels)}, "
            f"for instance {alike[0].id}"
            for (dtype, channels), alike in kinds.items()
        ]
        raise RecipeError(
            "images.paths: the images are of several kinds, and a store holds one:\n"
            + "\n".join(lines)
            + "\nnarrow images.paths, state images.dtype and images.channels, or permit a "
            "widening without loss with store.dtype"
        )
    return Survey(tuple(images), tuple(failed))


def store_dtype(recipe: Recipe, images: Sequence[SurveyedImage]) -> np.dtype[Any]:
    """Return the type of the store's patches; values are never rescaled.

    Raises
    ------
    RecipeError
        Where `store.dtype` cannot hold every value of the images.
    """
    if recipe.store.dtype is None:
        return images[0].source.dtype
    wanted = np.dtype(recipe.store.dtype)
    for image in images:
        if not is_widening(str(image.source.dtype), str(wanted)):
            raise RecipeError(
                f"store.dtype: {wanted} cannot hold every value of {image.source.dtype} "
                f"({image.id}); write {image.source.dtype}, or a wider type"
            )
    return wanted

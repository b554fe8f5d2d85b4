"""The reference images of an illumination step: which file each channel has, and what is in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..reader.remote import is_remote
from ..tasks.image import ImageOptions
from ..tasks.reference import Reference
from ..tasks.source import FileInfo
from ..tasks.survey import survey_files
from .errors import RecipeError
from .places import Places
from .problems import show
from .step_recipe import Binding
from .window import result_of, run_windowed

#: Stands for a channel's name in a path.
CHANNEL = "{channel}"


@dataclass(frozen=True)
class Given:
    """A reference of one channel, and what a store says of it."""

    reference: Reference
    record: dict[str, Any]


def by_channel(key: str, value: Any, names: Sequence[str]) -> list[Any]:
    """Return what each channel has: its own of a table, or the same, with its name in the path.

    Parameters
    ----------
    key
        Of the recipe, for the error.
    value
        A number, a path, or a table of channels to these.
    names
        Of the step's channels.

    Raises
    ------
    RecipeError
        Where a table has not just these channels.
    """
    if not isinstance(value, Mapping):
        return [_named(value, name) for name in names]
    if set(value) != set(names):
        raise RecipeError(
            f"{key}: found {show(sorted(value))}; write one for each channel of the step: "
            f"{', '.join(names)}"
        )
    return [value[name] for name in names]


def _named(value: Any, name: str) -> Any:
    return value.replace(CHANNEL, name) if isinstance(value, str) else value


def find_references(
    binding: Binding, wanted: Mapping[str, Sequence[str | None]], numbers: Sequence[int]
) -> dict[str, list[Given | None]]:
    """Look at the files of references, each once, on the cluster.

    Parameters
    ----------
    wanted
        For each key ("flat", "dark") a path for each channel of the step, None where it has none.
    numbers
        Of the step's channels.

    Returns
    -------
    found
        As `wanted`.

    Raises
    ------
    RecipeError
        Where a file cannot be read, has not the channels, or is not as large as the images.
    """
    place = Places(binding.recipe.folder, binding.recipe.folder)
    listed = {path: key for key, paths in wanted.items() for path in paths if path is not None}
    options = _options(binding.recipe.images.options)
    infos: dict[str, FileInfo] = {}
    if listed:
        infos = dict(_survey(binding, [place(name)[0] for name in listed], options))
    found: dict[str, list[Given | None]] = {}
    for key, paths in wanted.items():
        found[key] = []
        for number, path in zip(numbers, paths, strict=True):
            if path is None:
                found[key].append(None)
                continue
            absolute, relative = place(path)
            info = infos[absolute]
            where = f"{binding.key}.{key}: {relative}"
            _check_size(where, info, binding)
            is_shared = key == "flat" and paths.count(path) > 1
            channel = _channel(where, info, number, numbers, binding.channels, is_shared)
            reference = Reference(absolute, info.members, info.identity, channel, options)
            found[key].append(Given(reference, _record(relative, channel, info)))
    return found


def _options(images: ImageOptions) -> ImageOptions:
    """Return how references are opened: as what they are, whatever is said of the images' files."""
    return ImageOptions(
        storage=images.storage,
        max_pixels=images.max_pixels,
        max_segment_bytes=images.max_segment_bytes,
        max_seconds=images.max_seconds,
    )


def _survey(
    binding: Binding, paths: Sequence[str], options: ImageOptions
) -> list[tuple[str, FileInfo]]:
    """Return what is in files; a folder on a server is told by its metadata, others by content."""
    found = []
    queue = deque(paths)
    with binding.connect() as client:
        for path, future in run_windowed(
            client,
            "reference",
            survey_files,
            queue,
            lambda path: ([path], options, not (is_remote(path) and ".zarr" in path)),
        ):
            (info,) = result_of(future, f"look at {path}")
            if isinstance(info, str):
                raise RecipeError(
                    f"{binding.key}: a reference image cannot be used (it is a file of one plane, "
                    f"or one that says its axes itself): {info}"
                )
            if info.items:
                raise RecipeError(
                    f"{binding.key}: {path} holds {len(info.items)} images; write one that holds "
                    "the reference alone"
                )
            found.append((path, info))
    return found


def _check_size(where: str, info: FileInfo, binding: Binding) -> None:
    for image in binding.images:
        if image.source.kind.resolution.shape[1:] != info.shape[3:]:
            height, width = image.source.kind.resolution.shape[1:]
            raise RecipeError(
                f"{where} has {info.shape[3]} x {info.shape[4]} pixels, and {image.id} has "
                f"{height} x {width}; write a reference of the same camera, binning and cut, or "
                "leave the image out"
            )


def _channel(
    where: str,
    info: FileInfo,
    number: int,
    numbers: Sequence[int],
    names: Sequence[str],
    is_shared: bool,
) -> int:
    """Return which channel of a file is meant: the only one, that of the name, or of the number."""
    held = info.shape[1]
    if held == 1:
        if is_shared:
            raise RecipeError(
                f"{where} has one channel, and the step is for {len(numbers)}, each with light of "
                f'its own; write a path for each, such as "flat_{CHANNEL}.tif", or channels = [...]'
            )
        return 0
    if names[number] in info.channels:
        return info.channels.index(names[number])
    if held == len(names):
        return number
    if held == len(numbers):
        return list(numbers).index(number)
    raise RecipeError(
        f"{where} has {held} channels, and none is called {names[number]}; write a file of that "
        "channel alone, or one with all channels of the images in their order"
    )


def _record(relative: str, channel: int, info: FileInfo) -> dict[str, Any]:
    identity = info.identity
    told: dict[str, Any] = {"size_bytes": identity.size_bytes}
    # What has the same content is the same, whenever it was copied.
    told |= {"sha256": identity.sha256} if identity.sha256 else {"mtime_ns": identity.mtime_ns}
    return {"path": relative, "channel": channel, **told}

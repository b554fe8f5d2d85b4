"""Files to images: which files make one image, and which channel, z and t each of them is.

The pattern is searched in the path relative to the recipe. An image is what its named groups
(but channel, z and t) and its folder say, where a part of the folder that a named group covers is
left to the pattern: well A01 of plate 1 is not well A01 of plate 2, while the folders ZStep_1 and
ZStep_2 are one image where the pattern has a z in them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .errors import RecipeError
from .globs import few, list_files
from .natural import natural_key
from .recipe import Recipe
from .sections import PLANE_GROUPS
from .values import name_fault


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of an image.

    Attributes
    ----------
    path
        Absolute.
    relative
        To the recipe's folder, with forward slashes.
    channel, z, t
        What the pattern's groups of these names found; None where it has no such group.
    """

    path: str
    relative: str
    channel: str | None = None
    z: str | None = None
    t: str | None = None


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """An image as files.

    Attributes
    ----------
    id
        "FOLDER/name=value,name=value", or the relative path where there is no pattern; unique.
    groups
        Name and value of the pattern's groups other than channel, z and t, in its order.
    files
        Sorted by t, then channel, then z: times and depths naturally, channels as in `Found`.
    """

    id: str
    groups: tuple[tuple[str, str], ...]
    files: tuple[SourceFile, ...]

    def portable(self, text: str) -> str:
        """Return a text with the paths of the files relative, as a store may keep it."""
        for file in self.files:
            text = text.replace(file.path, file.relative)
        return text


@dataclass(frozen=True, slots=True)
class Found:
    """What `find_images` found.

    Attributes
    ----------
    images
        In natural order of their ids.
    channels
        Keys of the channels that every image has, in order; None where the pattern has no
        channel group, so that a file holds all channels.
    left_out
        Id and reason of images that `missing_channel = "skip"` left out.
    unused_channels
        Keys that files have and `images.channels` does not list, with how many files.
    """

    images: tuple[ImageFiles, ...]
    channels: tuple[str, ...] | None
    left_out: tuple[tuple[str, str], ...] = ()
    unused_channels: tuple[tuple[str, int], ...] = ()


def group_of(image: ImageFiles, recipe: Recipe) -> tuple[str, ...]:
    """Return the values of `images.group`, by which images are kept together in a split.

    Without `images.group` each image, with all its z and t, is a group by its id.
    """
    if not recipe.images.group:
        return (image.id,)
    values = dict(image.groups)
    return tuple(values[name] for name in recipe.images.group)


def find_images(recipe: Recipe) -> Found:
    """Find the files that a recipe names and join them into images.

    Opens no file. 200,000 files take a few seconds.

    Raises
    ------
    RecipeError
        When a glob matches nothing, the pattern does not match, two files are one plane of an
        image, or images lack channels or planes.
    """
    files = list_files(recipe.folder, recipe.images.paths, recipe.images.exclude)
    if recipe.images.pattern is None:
        images = (
            ImageFiles(relative, (), (SourceFile(path, relative),))
            for relative, path in files.items()
        )
        return Found(tuple(images), None)
    grouped = _group(recipe, files)
    if "channel" not in recipe.images.named_groups:
        return Found(_finish(grouped, None), None)
    channels, unused = _choose_channels(recipe, grouped)
    left_out = _drop_incomplete(recipe, grouped, channels)
    return Found(_finish(grouped, channels), channels, left_out, unused)


@dataclass(slots=True)
class _Gathered:
    """An image while its files are still being found."""

    groups: tuple[tuple[str, str], ...]
    files: dict[tuple[str | None, ...], SourceFile]

    @property
    def channels(self) -> set[str]:
        return {file.channel for file in self.files.values() if file.channel is not None}


def _group(recipe: Recipe, files: Mapping[str, str]) -> dict[str, _Gathered]:
    """Search the pattern in each path and gather files by the id of their image."""
    search = re.compile(recipe.images.pattern or "").search
    names, columns = recipe.images.named_groups, recipe.images.columns
    needed = {*PLANE_GROUPS, *recipe.images.group} & set(names)
    if recipe.split is not None:
        needed |= {name for name in names if name in (recipe.split.stratify, recipe.split.source)}
    images: dict[str, _Gathered] = {}
    unmatched = []
    for relative, path in files.items():
        match = search(relative)
        if match is None:
            unmatched.append(relative)
            continue
        found = match.groupdict(default="")
        for name in needed:
            if not found[name]:
                raise RecipeError(
                    f'images.pattern: the group "{name}" is empty in {relative}; write a pattern '
                    "in which it is not optional, or exclude the file"
                )
        groups = tuple((name, found[name]) for name in columns)
        key = _image_id(match, relative, groups)
        plane = tuple(found.get(name) for name in PLANE_GROUPS)
        image = images.setdefault(key, _Gathered(groups, {}))
        if plane in image.files:
            raise RecipeError(_twice(key, plane, image.files[plane].relative, relative))
        image.files[plane] = SourceFile(path, relative, *plane)
    if unmatched:
        raise RecipeError(
            f"images.pattern: not found in {len(unmatched)} of {len(files)} files: "
            f"{few(unmatched, len(unmatched))}; widen the pattern or write them into images.exclude"
        )
    return images


def _image_id(match: re.Match[str], relative: str, groups: tuple[tuple[str, str], ...]) -> str:
    """Return the id of the image of a file: what is left of its folder, and the groups."""
    spans = [match.span(name) for name in match.re.groupindex]
    kept = []
    start = 0
    for part in relative.split("/")[:-1]:
        end = start + len(part)
        if not any(a < end and b > start for a, b in spans):
            kept.append(part)
        start = end + 1
    if groups:
        kept.append(",".join(f"{name}={value}" for name, value in groups))
    return "/".join(kept) or "."


def _plane_text(plane: Sequence[str | None]) -> str:
    parts = zip(PLANE_GROUPS, plane, strict=True)
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def _twice(key: str, plane: Sequence[str | None], first: str, second: str) -> str:
    what = _plane_text(plane)
    return (
        f"images.pattern: {first} and {second} are both {what + ' of ' if what else ''}image "
        f"{key}; exclude one, or name what tells them apart by a group in the pattern"
    )


def _choose_channels(
    recipe: Recipe, images: dict[str, _Gathered]
) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Return the channels to use in order, and take the others' files out of the images."""
    counts = Counter(
        file.channel for image in images.values() for file in image.files.values() if file.channel
    )
    wanted = recipe.images.channels
    if not wanted:
        for key in counts:
            if fault := name_fault(key):
                raise RecipeError(
                    f'images.pattern: the channel "{key}" {fault}; name it in images.channels'
                )
        return tuple(sorted(counts, key=natural_key)), ()
    if absent := [key for key in wanted if key not in counts]:
        have = ", ".join(sorted(counts, key=natural_key))
        raise RecipeError(
            f"images.channels: no file has channel {', '.join(absent)}; the files have {have}"
        )
    unused = sorted(set(counts) - set(wanted), key=natural_key)
    if unused:
        for image in images.values():
            image.files = {p: f for p, f in image.files.items() if f.channel in wanted}
    return tuple(wanted), tuple((key, counts[key]) for key in unused)


def _drop_incomplete(
    recipe: Recipe, images: dict[str, _Gathered], channels: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Take images that lack channels out, or refuse them; return them with the reason."""
    reasons: list[tuple[str, str]] = []
    total = len(images)
    for key in sorted(images, key=natural_key):
        have = images[key].channels
        if lacking := [channel for channel in channels if channel not in have]:
            has = ", ".join(channel for channel in channels if channel in have) or "none of them"
            reasons.append((key, f"lacks channel {', '.join(lacking)} (has {has})"))
    if not reasons:
        return ()
    text = few((f"{key} {reason}" for key, reason in reasons), len(reasons), "; ")
    what = f"{len(reasons)} of {total} images do not have every channel: {text}"
    if recipe.images.missing_channel == "raise":
        raise RecipeError(
            f"images: {what}. Exclude their files, list only channels that all have in "
            'images.channels, or write images.missing_channel = "skip"'
        )
    if len(reasons) == total:
        raise RecipeError(
            f"images: {what}; no image is left: list channels that images have in images.channels"
        )
    for key, _ in reasons:
        del images[key]
    return tuple(reasons)


def _finish(
    images: dict[str, _Gathered], channels: tuple[str, ...] | None
) -> tuple[ImageFiles, ...]:
    """Sort images and their files, and refuse images that lack planes."""
    ranks: dict[str | None, int] = {key: n for n, key in enumerate(channels or ())}
    uneven = []
    finished = []
    for key in sorted(images, key=natural_key):
        image = images[key]
        if missing := list(_missing_planes(image, channels)):
            uneven.append(f"{key} lacks {few(missing, len(missing))}")
        files = sorted(
            image.files.values(),
            key=lambda f: (natural_key(f.t or ""), ranks.get(f.channel, 0), natural_key(f.z or "")),
        )
        finished.append(ImageFiles(key, image.groups, tuple(files)))
    if uneven:
        raise RecipeError(
            f"images: {len(uneven)} of {len(images)} images are uneven sets of files: "
            f"{few(uneven, len(uneven), '; ')}. Add the files or write the images into "
            "images.exclude"
        )
    return tuple(finished)


def _missing_planes(image: _Gathered, channels: tuple[str, ...] | None) -> Iterator[str]:
    """Yield the planes that an image lacks of the box that its channels, z and t span."""
    if len(image.files) == 1 and (channels is None or len(channels) == 1):
        return
    zs = {file.z for file in image.files.values()}
    ts = {file.t for file in image.files.values()}
    keys: tuple[str | None, ...] = channels or (None,)
    if len(image.files) == len(zs) * len(ts) * len(keys):
        return
    for t in sorted(ts, key=lambda value: natural_key(value or "")):
        for z in sorted(zs, key=lambda value: natural_key(value or "")):
            for channel in keys:
                if (channel, z, t) not in image.files:
                    yield _plane_text((channel, z, t))

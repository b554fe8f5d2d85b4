"""Whether images have all their files: every channel, and every z and t with each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING

from .errors import RecipeError
from .gather import Gathered, plane_text
from .globs import FEW, few
from .image_files import ImageFiles
from .natural import natural_key
from .values import name_fault

if TYPE_CHECKING:
    from .recipe import Recipe


def choose_channels(
    recipe: Recipe, images: Mapping[str, Gathered]
) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Return the channels to use in order, and take the others' files out of the images.

    Returns
    -------
    channels, unused
        Keys; and keys that `images.channels` does not list, with how many files.

    Raises
    ------
    RecipeError
        When a listed channel has no file, or a channel's name cannot be one of a column.
    """
    counts = Counter(
        file.channel for image in images.values() for file in image.files.values() if file.channel
    )
    wanted = recipe.images.channels
    if not wanted:
        for key in counts:
            if fault := name_fault(key):
                raise RecipeError(
                    f'images.channels: the files have a channel "{key}", which {fault}; give it '
                    "another name here"
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


def drop_incomplete(
    recipe: Recipe, images: dict[str, Gathered], channels: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Take images that lack channels out, or refuse them; return them with the reason.

    Raises
    ------
    RecipeError
        When there are any, but see `images.missing_channel`, or when none is left.
    """
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


def finish(
    images: Mapping[str, Gathered], channels: tuple[str, ...] | None
) -> tuple[ImageFiles, ...]:
    """Return the images in natural order of their ids, with their files sorted.

    Raises
    ------
    RecipeError
        When images lack planes.
    """
    ranks: dict[str | None, int] = {key: n for n, key in enumerate(channels or (None,))}
    uneven = []
    finished = []
    for key in sorted(images, key=natural_key):
        image = images[key]
        files = list(image.files.values())
        if len(files) > 1:
            if missing := _missing(image, channels):
                uneven.append(f"{key} lacks {missing}")
            files.sort(
                key=lambda f: (natural_key(f.t or ""), ranks[f.channel], natural_key(f.z or ""))
            )
        finished.append(ImageFiles(key, image.groups, tuple(files), image.mpp))
    if uneven:
        raise RecipeError(
            f"images: {len(uneven)} of {len(images)} images are uneven sets of files: "
            f"{few(uneven, len(uneven), '; ')}. Add the files or write the images into "
            "images.exclude"
        )
    return tuple(finished)


def _missing(image: Gathered, channels: tuple[str, ...] | None) -> str:
    """Return what an image lacks of the box that its channels, z and t span; "" if nothing."""
    zs = {file.z for file in image.files.values()}
    ts = {file.t for file in image.files.values()}
    keys: tuple[str | None, ...] = channels or (None,)
    missing = len(zs) * len(ts) * len(keys) - len(image.files)
    # Where a pattern takes something else for z and t, the box is beyond counting one by one.
    return few(islice(_holes(image, zs, ts, keys), FEW), missing) if missing else ""


def _holes(
    image: Gathered, zs: set[str | None], ts: set[str | None], keys: tuple[str | None, ...]
) -> Iterator[str]:
    def natural(values: set[str | None]) -> list[str | None]:
        return sorted(values, key=lambda value: natural_key(value or ""))

    for t, z, channel in product(natural(ts), natural(zs), keys):
        if (channel, z, t) not in image.files:
            yield plane_text((channel, z, t))


def unlike_sets(images: tuple[ImageFiles, ...]) -> Iterator[str]:
    """Yield what z and t images lack that others have: meant, or files that were not copied."""
    for axis in ("t", "z"):
        if all(getattr(image.files[0], axis) is None for image in images):
            continue
        sets = [frozenset(getattr(file, axis) or "" for file in image.files) for image in images]
        every = frozenset().union(*set(sets))
        short = [n for n, found in enumerate(sets) if found != every]
        if short:
            lacking = (_lacking(images[n].id, axis, every - sets[n]) for n in short)
            yield (
                f"{len(short)} of {len(images)} images do not have every {axis} that others have: "
                f"{few(lacking, len(short), '; ')}"
            )


def _lacking(image: str, axis: str, values: frozenset[str]) -> str:
    return f"{image} lacks {axis} {few(sorted(values, key=natural_key), len(values))}"

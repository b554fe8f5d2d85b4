"""Joins files to images: which files make one image, and which channel, z and t each of them is.

The pattern is searched in the path relative to the recipe. An image is what its named groups
(but channel, z and t) and its folder say, where a part of the folder that a named group covers is
left to the pattern: well A01 of plate 1 is not well A01 of plate 2, while the folders ZStep_1 and
ZStep_2 are one image where the pattern has a z in them. In a manifest the column `id` says it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RecipeError
from .globs import few
from .image_columns import used_columns
from .image_files import SourceFile
from .manifest import Listing, mpp_of
from .problems import Problem, describe
from .sections import PLANE_GROUPS

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(slots=True)
class Gathered:
    """An image while its files are still being found; `place` is where the first was listed."""

    groups: tuple[tuple[str, str], ...]
    files: dict[tuple[str | None, ...], SourceFile]
    mpp: float | None
    place: str

    @property
    def channels(self) -> set[str]:
        """The channels that it has files of."""
        return {file.channel for file in self.files.values() if file.channel is not None}


def column_names(recipe: Recipe, listing: Listing) -> tuple[str, ...]:
    """Return the names of the columns that manifest and pattern bring.

    Raises
    ------
    RecipeError
        When both bring one.
    """
    if both := [name for name in recipe.images.named_groups if name in listing.columns]:
        raise RecipeError(
            f"images.pattern: the manifest has a column {', '.join(both)} too; call the group "
            "otherwise, or leave it out"
        )
    names = (*listing.columns, *recipe.images.named_groups)
    return tuple(name for name in names if name not in (*PLANE_GROUPS, "id"))


def gather(recipe: Recipe, listing: Listing) -> dict[str, Gathered]:
    """Return the images by their ids, with their files.

    Parameters
    ----------
    recipe
        Settled.

    Raises
    ------
    RecipeError
        That lists files that the pattern does not match, files that are the same plane, and
        what is empty or contradicts itself.
    """
    columns = column_names(recipe, listing)
    names = (*listing.columns, *recipe.images.named_groups)
    planes = [name for name in PLANE_GROUPS if name in names]
    of_pattern = recipe.images.columns
    search = re.compile(recipe.images.pattern).search if recipe.images.pattern else None
    told_by = _told_by(recipe, listing, planes)
    used = [name for name in used_columns(recipe) if name in names]
    needed = [*planes, *used, *(["id"] if "id" in names else [])]
    faults = _Faults({name: [] for name in needed}, [], [], [])
    images: dict[str, Gathered] = {}
    for file in listing.files:
        found = dict(zip(listing.columns, file.cells, strict=True)) if listing.columns else {}
        match = search(file.relative) if search else None
        if match is not None:
            found |= match.groupdict(default="")
        elif search is not None:
            faults.unmatched.append(file.relative)
            continue
        if empty := [name for name in needed if not found[name]]:
            for name in empty:
                faults.empty[name].append(file.place)
            continue
        groups = tuple([(name, found[name]) for name in columns])
        key = file.relative if told_by == "path" else found.get("id", "")
        if told_by == "pattern" and match is not None:
            key = _pattern_id(match, file.relative, [(name, found[name]) for name in of_pattern])
        plane = found.get("channel"), found.get("z"), found.get("t")
        image = images.get(key)
        if image is None:
            mpp = mpp_of(found["mpp"]) if "mpp" in listing.columns else None
            image = images[key] = Gathered(groups, {}, mpp, file.place)
        elif groups != image.groups:
            faults.unlike.append(_unlike(key, image, groups, file.place))
            continue
        if plane in image.files:
            faults.twice.append(_twice(key, plane, image.files[plane].relative, file.relative))
            continue
        image.files[plane] = SourceFile(file.path, file.relative, *plane)
    faults.refuse(listing)
    return images


def _told_by(recipe: Recipe, listing: Listing, planes: Sequence[str]) -> str:
    """Return what says which image a file is of: "id", "pattern" or "path"."""
    if "id" in listing.columns:
        return "id"
    # A row of a manifest is an image, unless something says which of its planes it is.
    if recipe.images.pattern and (planes or recipe.images.manifest is None):
        return "pattern"
    if planes:
        raise RecipeError(
            f"images.manifest: rows with {', '.join(planes)} are parts of an image; add a column "
            "id that is the same in all rows of one image"
        )
    return "path"


def _pattern_id(match: re.Match[str], relative: str, groups: Sequence[tuple[str, str]]) -> str:
    """Return what is left of a file's folder, and the groups."""
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


def plane_text(plane: Sequence[str | None]) -> str:
    """Return a plane as text, such as "channel 2, z 1"."""
    parts = zip(PLANE_GROUPS, plane, strict=True)
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


@dataclass(slots=True)
class _Faults:
    """What is wrong with the files, each kind counted and the first few named."""

    empty: dict[str, list[str]]
    unmatched: list[str]
    twice: list[str]
    unlike: list[str]

    def refuse(self, listing: Listing) -> None:
        """Raise all of it, if there is any."""
        problems = []
        for name, places in self.empty.items():
            if places and name in listing.columns:
                text = f'the column "{name}" is empty in {few(places, len(places))}; fill it in'
                problems.append(Problem("images.manifest", text))
            elif places:
                text = (
                    f'the group "{name}" is empty in {few(places, len(places))}; write a pattern '
                    "in which it is not optional, or exclude the files"
                )
                problems.append(Problem("images.pattern", text))
        if self.twice:
            text = (
                f"{few(self.twice, len(self.twice), '; ')}; exclude one, or name what tells them "
                "apart by a group in the pattern or a column of the manifest"
            )
            problems.append(Problem("images", text))
        if self.unlike:
            text = f"{few(self.unlike, len(self.unlike), '; ')}; write the same for all its rows"
            problems.append(Problem("images.manifest", text))
        if self.unmatched:
            text = (
                f"not found in {len(self.unmatched)} of {len(listing.files)} files: "
                f"{few(self.unmatched, len(self.unmatched))}; widen the pattern or write them "
                "into images.exclude"
            )
            problems.append(Problem("images.pattern", text))
        if problems:
            raise RecipeError(describe(problems, "the recipe"))


def _twice(key: str, plane: Sequence[str | None], first: str, second: str) -> str:
    what = plane_text(plane)
    return f"{first} and {second} are both {what + ' of ' if what else ''}image {key}"


def _unlike(key: str, image: Gathered, groups: tuple[tuple[str, str], ...], place: str) -> str:
    pairs = zip(image.groups, groups, strict=True)
    name, first, second = next((n, a, b) for (n, a), (_, b) in pairs if a != b)
    return f'image {key} has {name} "{first}" in {image.place} and "{second}" in {place}'

"""Whether the names that a recipe uses are columns of its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .problems import Problem, show
from .sections import PLANE_GROUPS, ImagesRecipe, SplitRecipe


def column_fault(
    images: ImagesRecipe, name: str, columns: Sequence[str] | None = None
) -> str | None:
    """Return why a name is not a column of the images, or None.

    `columns` are all of them, where the pattern's groups are not.
    """
    if name in PLANE_GROUPS:
        return f'"{name}" tells planes of one image apart, so it cannot tell images apart'
    if name in (images.columns if columns is None else columns):
        return None
    if columns is not None:
        return f'"{name}" is not a column of the images, which have: {", ".join(columns) or "none"}'
    if images.pattern is None:
        return f'"{name}" needs images.pattern with a named group (?P<{name}>...)'
    have = ", ".join(images.columns) or "none that describe images"
    return f'"{name}" is not a named group of images.pattern, which has: {have}'


def split_problems(
    images: ImagesRecipe, split: SplitRecipe | None, columns: Sequence[str] | None = None
) -> Iterator[Problem]:
    """Yield how `[split]` and the images' columns do not fit; `columns` as in `column_fault`."""
    known = images.columns if columns is None else columns
    if "split" in known and (split is None or split.source != "split"):
        what = "group" if "split" in images.columns else "column"
        text = f'the {what} "split" does not say the split; write split.from = "split", or rename'
        yield Problem("images.pattern" if what == "group" else "split.from", f"{text} it")
    if split is None:
        return
    if split.stratify is not None:
        fault = column_fault(images, split.stratify, columns)
        if fault is not None:
            yield Problem("split.stratify", fault)
    if split.source is not None and not split.source.lower().endswith(".csv"):
        fault = column_fault(images, split.source, columns)
        if fault is not None:
            yield Problem("split.from", f"{fault}; nor is it a path to a .csv")
    if split.source in known and split.has_rule:
        text = f'the column "{split.source}" says every split; leave out fractions and folds'
        yield Problem("split.from", text)
    if split.blocks_px is not None and images.group:
        text = (
            f"blocks of one image fall into different splits, so they cannot keep "
            f"images.group = {show(images.group)} together; leave one out"
        )
        yield Problem("split.blocks_px", text)

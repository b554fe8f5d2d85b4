"""Which split each image falls into: by group, never by patch, so that nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .assign import assign
from .errors import SplitError
from .globs import few
from .natural import natural_key
from .sections import SplitRecipe
from .split_csv import Group, csv_rows, read_csv, write_csv

if TYPE_CHECKING:
    from .recipe import Recipe

__all__ = [
    "SplitResult",
    "SplitShare",
    "assign",
    "assign_splits",
    "class_counts",
    "require_patches",
    "share_table",
    "split_fractions",
    "split_names",
    "write_csv",
]

#: Split names that a column or a CSV brings are in this order, others follow naturally.
_USUAL = ("train", "val", "test")
#: A split is an int8 in arrays of candidates and blocks.
_MOST_SPLITS = 127


@dataclass(frozen=True, slots=True)
class SplitShare:
    """What a split should get and gets.

    Attributes
    ----------
    wanted
        Its fraction; None where a column or a CSV alone decides.
    reached
        Its share of all patches; 0 where there are none.
    patches, groups
        How many it has.
    """

    name: str
    wanted: float | None
    reached: float
    patches: int
    groups: int


@dataclass(frozen=True)
class SplitResult:
    """The split of each image.

    Attributes
    ----------
    names
        Of the splits, in the order of the store's rows.
    split
        int8, shape (images,): index into `names`.
    table
        One entry per split.
    header, rows
        Of the CSV of groups, for `write_csv`; groups of a CSV that was given are kept in it, also
        those that have no image this time.
    new
        How many groups were assigned because the given CSV does not list them; 0 without one.
    """

    names: tuple[str, ...]
    split: NDArray[np.int8]
    table: tuple[SplitShare, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    new: int = 0


def split_fractions(split: SplitRecipe | None) -> dict[str, float]:
    """Return the share of each split that the recipe names; none where it names no shares."""
    if split is None:
        return {"train": 1.0}
    if split.folds is not None:
        return {f"fold{n}": 1 / split.folds for n in range(split.folds)}
    return dict(split.fractions)


def split_names(split: SplitRecipe | None) -> tuple[str, ...]:
    """Return the splits that the recipe names; none where `split.from` alone says them."""
    return tuple(split_fractions(split))


def assign_splits(
    recipe: Recipe,
    groups: Sequence[Group],
    counts: NDArray[np.int64],
    columns: Sequence[Mapping[str, str]],
) -> SplitResult:
    """Assign images to splits, group by group.

    Parameters
    ----------
    recipe
        Says how.
    groups
        Of each image, as `files.group_of` returns it.
    counts
        Patches of each image.
    columns
        Named groups of each image, for `split.from` and `split.stratify`.

    Raises
    ------
    SplitError
        When a group is in two splits, a split is empty, or the CSV does not fit.
    """
    split = recipe.split
    fractions = split_fractions(split)
    header = recipe.images.group or ("image",)
    unique = list(dict.fromkeys(groups))
    number = {group: n for n, group in enumerate(unique)}
    of_image = np.fromiter((number[group] for group in groups), np.int64, len(groups))
    listed: dict[Group, str] = {}
    path = recipe.splits_file
    if split is not None and split.source is not None and path is None:
        listed = _by_column(groups, [column[split.source] for column in columns])
    elif path is not None:
        listed = read_csv(path, header)
        new = [", ".join(group) for group in unique if group not in listed]
        if fractions:
            _refuse_unknown(listed, tuple(fractions))
        elif new:
            raise SplitError(
                f"split.from: {path} does not list {len(new)} of {len(unique)} groups: "
                f"{few(new, len(new), '; ')}. Add them, or write split.fractions or split.folds"
            )
    names = tuple(fractions) or _in_order({listed[group] for group in unique})
    fixed = np.array([names.index(listed[g]) if g in listed else -1 for g in unique], np.int64)
    if (fixed < 0).any() and split is not None:
        keys = ["\x1f".join(group) for group in unique]
        classes = class_counts(split, of_image, len(unique), counts, columns)
        fixed_or_assigned = assign(classes, fractions, keys, recipe.seed, fixed)
    else:
        fixed_or_assigned = np.maximum(fixed, 0)
    of_split = fixed_or_assigned[of_image].astype(np.int8)
    patches = np.zeros(len(names), np.int64)
    np.add.at(patches, of_split, counts)
    n_groups = np.bincount(fixed_or_assigned, minlength=len(names))
    table = share_table(names, fractions, patches, n_groups)
    if split is not None:
        require_patches(table)
    assigned = {g: names[s] for g, s in zip(unique, fixed_or_assigned.tolist(), strict=True)}
    return SplitResult(
        names=names,
        split=of_split,
        table=table,
        header=(*header, "split"),
        rows=csv_rows(listed | assigned),
        new=int(np.count_nonzero(fixed < 0)) if path else 0,
    )


def share_table(
    names: Sequence[str],
    wanted: Mapping[str, float],
    patches: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> tuple[SplitShare, ...]:
    """Return wanted and reached shares; `patches` and `groups` have shape (splits,)."""
    total = max(1, int(patches.sum()))
    return tuple(
        SplitShare(
            name=name,
            # A column or a CSV without shares wants nothing in particular.
            wanted=wanted.get(name),
            reached=int(patches[n]) / total,
            patches=int(patches[n]),
            groups=int(groups[n]),
        )
        for n, name in enumerate(names)
    )


def require_patches(table: Sequence[SplitShare], hint: str = "") -> None:
    """Refuse splits that have no patch; the hint is what else might mend it.

    Raises
    ------
    SplitError
        That says what each split has.
    """
    if empty := [share.name for share in table if not share.patches]:
        have = ", ".join(f"{share.name} {share.patches}" for share in table)
        raise SplitError(
            f"no patches in the split {', '.join(empty)} (patches: {have}); leave it out, or give "
            f"it groups that have patches{hint}"
        )


def class_counts(
    split: SplitRecipe,
    of_image: NDArray[np.int64],
    n_groups: int,
    counts: NDArray[np.int64],
    columns: Sequence[Mapping[str, str]],
) -> NDArray[np.int64]:
    """Return patches per group and class, shape (groups, classes); one class if not stratified.

    `of_image` is the group that each of `counts` belongs to.
    """
    if split.stratify is None:
        kinds = np.zeros(len(counts), np.int64)
    else:
        values = [column[split.stratify] for column in columns]
        order = {value: n for n, value in enumerate(sorted(set(values), key=natural_key))}
        kinds = np.array([order[value] for value in values], np.int64)
    result = np.zeros((n_groups, int(kinds.max(initial=0)) + 1), np.int64)
    np.add.at(result, (of_image, kinds), counts)
    return result


def _by_column(groups: Sequence[Group], values: Sequence[str]) -> dict[Group, str]:
    """Return the split of each group from that of its images."""
    listed: dict[Group, str] = {}
    for group, value in zip(groups, values, strict=True):
        if listed.setdefault(group, value) != value:
            raise SplitError(
                f'split.from: the group {", ".join(group)} has images in "{listed[group]}" and in '
                f'"{value}"; a group is in one split: name images.group otherwise'
            )
    return listed


def _in_order(names: set[str]) -> tuple[str, ...]:
    if len(names) > _MOST_SPLITS:
        raise SplitError(
            f"split.from: found {len(names)} different splits, such as "
            f"{few(sorted(names, key=natural_key), len(names))}; name a column of at most "
            f"{_MOST_SPLITS}"
        )
    others = sorted(names - set(_USUAL), key=natural_key)
    return (*(name for name in _USUAL if name in names), *others)


def _refuse_unknown(listed: Mapping[Group, str], names: tuple[str, ...]) -> None:
    unknown = sorted(set(listed.values()) - set(names), key=natural_key)
    if unknown:
        group = next(group for group, name in listed.items() if name == unknown[0])
        raise SplitError(
            f'split.from: the CSV puts {", ".join(group)} into "{unknown[0]}", and the recipe has '
            f"the splits {', '.join(names)}; mend the CSV or the recipe"
        )

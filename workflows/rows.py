"""The rows of a store and its candidates, as columns made image by image.

Ten million patches are a few hundred megabytes here; one Python object each would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import REASONS, Candidates, Columns
from .considered import Considered
from .images import SurveyedImage
from .order import compact_order
from .patches_section import PatchesRecipe

#: The columns that every row and every candidate has.
PLACE: dict[str, np.dtype[Any]] = {
    "image": np.dtype(np.int32),
    "t": np.dtype(np.int32),
    "z": np.dtype(np.int32),
    "y": np.dtype(np.int64),
    "x": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Rows:
    """What becomes a patch, in the order of the store, and what was considered.

    Attributes
    ----------
    columns
        Of the rows: image (int32), t, z (int32), y, x (int64), scores and what a table says,
        split (uint8).
    candidates
        Columns image, t, z, y, x, kept (bool), reason (uint8) and the same others, in the order of
        the images.
    splits
        First row and one past the last of each split, by number.
    reasons
        What the numbers of the candidates' reason mean.
    names
        What numbers mean in other columns that are enumerations.
    """

    columns: Columns
    candidates: Columns
    splits: tuple[tuple[int, int], ...]
    reasons: tuple[str, ...] = REASONS
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["image"])


def make_rows(
    considered: Considered,
    patches: PatchesRecipe,
    n_splits: int,
    image_split: NDArray[np.int8],
    rows_per_shard: int,
) -> Rows:
    """Lay out the rows: by split, then image, then time, then in compact order.

    Parameters
    ----------
    considered
        The images in the order of `images/`, and their candidates, whose splits are known.
    patches
        What is cut.
    n_splits
        Number of splits.
    image_split
        int8, shape (images,): the split of each image; not used where candidates have their own.
    rows_per_shard
        Patches in a shard.
    """
    rows: list[list[Columns]] = [[] for _ in range(n_splits)]
    every: list[Columns] = []
    for numbers, own in _alike(considered.candidates):
        kept = _in_order(own, considered.images[numbers[0]], patches, rows_per_shard)
        parts = _columns(numbers, own, np.arange(len(own)))
        reason = np.tile(own.reason, len(numbers))
        every.append(parts | {"kept": reason == 0, "reason": reason})
        if own.split is not None:
            of = own.split[kept]
            for split in np.unique(of).tolist():
                rows[split].append(_columns(numbers, own, kept[of == split]))
        else:
            for split in np.unique(image_split[numbers]).tolist():
                rows[split].append(_columns(numbers[image_split[numbers] == split], own, kept))
    lengths = [sum(len(part["y"]) for part in split) for split in rows]
    columns = _join([part for split in rows for part in split], PLACE)
    ends = np.cumsum(lengths).tolist()
    columns["split"] = np.repeat(np.arange(n_splits, dtype=np.uint8), lengths)
    return Rows(
        columns=columns,
        candidates=_join(
            every, {**PLACE, "kept": np.dtype(np.bool_), "reason": np.dtype(np.uint8)}
        ),
        splits=tuple((end - length, end) for end, length in zip(ends, lengths, strict=True)),
        reasons=considered.reasons,
        names=considered.names,
    )


def _alike(
    candidates: Sequence[Candidates],
) -> Iterator[tuple[NDArray[np.int32], Candidates]]:
    """Yield runs of images that share their candidates, by number: small images are columns."""
    for _, run in groupby(range(len(candidates)), lambda number: id(candidates[number])):
        numbers = np.fromiter(run, np.int32)
        yield numbers, candidates[numbers[0]]


def _in_order(
    own: Candidates, image: SurveyedImage, patches: PatchesRecipe, rows_per_shard: int
) -> NDArray[np.intp]:
    """Return the kept candidates of an image: by time, then in compact order of its level."""
    kind, kept = image.source.kind, own.kept()
    resolution = kind.resolution
    _, *corners = own.corners()[kept].T
    z, y, x = (
        resolution.origins(axis, values).astype(np.int64) for axis, values in enumerate(corners)
    )
    _, height, width = resolution.shape
    changes = np.flatnonzero(np.diff(own.t[kept])) + 1
    parts = []
    for part in np.split(np.arange(len(kept)), changes):
        if patches.at == "grid":
            stride_y = patches.stride_zyx[1] * resolution.zoom[1]
            stride_x = patches.stride_zyx[2] * resolution.zoom[2]
        else:
            # About as far apart as if they were spread evenly.
            planes = len(np.unique(z[part]))
            stride_y = stride_x = (height * width * planes / max(1, len(part))) ** 0.5
        order = compact_order(
            z[part],
            y[part],
            x[part],
            (height, width),
            kind.segment[2:],
            (stride_y, stride_x),
            rows_per_shard,
        )
        parts.append(kept[part[order]])
    return np.concatenate(parts)


def _columns(numbers: NDArray[np.int32], own: Candidates, chosen: NDArray[np.intp]) -> Columns:
    """Return the chosen candidates of images that share them: by image, then as they are chosen."""
    often = len(numbers)
    columns = {
        name: np.tile(values[chosen], often)
        for name, values in (
            *((axis, getattr(own, axis)) for axis in "tzyx"),
            *own.columns.items(),
        )
    }
    return {"image": np.repeat(numbers, len(chosen)), **columns}


def _join(parts: list[Columns], dtypes: Mapping[str, np.dtype[Any]]) -> Columns:
    """Join columns, taking them out of the parts: both are never held."""
    joined: Columns = {}
    for name in [*dtypes, *(name for name in (parts[0] if parts else ()) if name not in dtypes)]:
        values = [part.pop(name) for part in parts]
        joined[name] = np.concatenate(values) if values else np.empty(0, dtypes[name])
    return joined

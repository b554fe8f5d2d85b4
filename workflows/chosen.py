"""Which candidates that lie where they should become patches: by scores, splits, and how many.

What is drawn here depends on the recipe's seed, the image's id and where a candidate lies; never
on pixels of another split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..reader.randomness import uniform
from ..tasks.resolution import Resolution
from .blocks import windows_split
from .candidates import KEPT, MAX_PER_IMAGE, SPLIT_BORDER, Candidates, Columns
from .chance import BACKGROUND, MOST, window_numbers
from .patches_section import PatchesRecipe
from .spans import full_span, level_span


def scored(candidates: Candidates, scores: Columns, reason: NDArray[np.uint8]) -> Candidates:
    """Return the candidates of an image with scores of those that were kept, and what follows.

    Parameters
    ----------
    scores
        By name, shape (kept,), float32.
    reason
        uint8, shape (kept,): why each is rejected, as in `Candidates`.
    """
    kept = candidates.kept()
    columns = dict(candidates.columns)
    for name, values in scores.items():
        columns[name] = np.full(len(candidates), np.nan, np.float32)
        columns[name][kept] = values
    reasons = candidates.reason.copy()
    reasons[kept] = reason
    return replace(candidates, columns=columns, reason=reasons)


def with_background(
    candidates: Candidates, share: float, reason: int, seed: int, image_id: str
) -> Candidates:
    """Take back a share of the candidates of one reason, and mark them in a column `background`.

    Each is drawn by itself, so that images with one such candidate give their share too.
    """
    drawn = uniform(window_numbers(seed, image_id, BACKGROUND, candidates.corners())) < share
    background = drawn & (candidates.reason == reason)
    return replace(
        candidates,
        columns={**candidates.columns, "background": background},
        reason=np.where(background, KEPT, candidates.reason).astype(np.uint8),
    )


def with_blocks(
    candidates: Candidates,
    resolution: Resolution,
    patches: PatchesRecipe,
    blocks: NDArray[np.int8],
    blocks_px: tuple[int, int],
    halo_px: int = 0,
) -> Candidates:
    """Return the candidates of an image with the split of the blocks that each reads from.

    Its border is read too, and what steps need around that (`halo_px`): what is stored in one split
    must not come from another's blocks.
    """
    margin = patches.margin_px + halo_px
    # Steps see the mirror image beyond the edges, whatever fills the patch afterwards.
    reflect = patches.pad == "reflect" or halo_px > 0
    depth, height, width = patches.size_zyx
    stored = (depth, height + 2 * margin, width + 2 * margin)
    (y0, y1), (x0, x1) = (
        full_span(level_span(corners, axis, resolution, stored, margin, reflect), axis, resolution)
        for axis, corners in ((1, candidates.y), (2, candidates.x))
    )
    split = windows_split(blocks, blocks_px, y0, y1, x0, x1)
    reason = np.where((split < 0) & (candidates.reason == KEPT), SPLIT_BORDER, candidates.reason)
    return replace(candidates, split=split, reason=reason.astype(np.uint8))


def at_most(
    candidates: Candidates,
    most: int,
    seed: int,
    image_id: str,
    blocks: NDArray[np.int8] | None = None,
) -> Candidates:
    """Keep so many of an image's candidates, chosen by the seed.

    Parameters
    ----------
    most
        How many.
    blocks
        Where candidates have splits, shares of them that are known without pixels: the split of
        each of some things. Each split gets its share of `most`: if what one split leaves were
        another's, the pixels of the one would say what the other has.
    """
    kept = candidates.kept()
    numbers = window_numbers(seed, image_id, MOST, candidates.corners()[kept])
    order = kept[np.argsort(numbers, kind="stable")]
    if candidates.split is None or blocks is None:
        beyond = order[most:]
    else:
        shares = _shared_out(most, np.bincount(blocks[blocks >= 0].astype(np.int64)))
        of = candidates.split[order]
        beyond = np.concatenate(
            [order[of == split][share:] for split, share in enumerate(shares)] or [order[:0]]
        )
    reason = candidates.reason.copy()
    reason[beyond] = MAX_PER_IMAGE
    return replace(candidates, reason=reason)


def _shared_out(total: int, weights: NDArray[np.int64]) -> list[int]:
    """Return whole shares that sum to `total`, by the largest remainders (Hamilton's method)."""
    if not weights.sum():
        return [0] * len(weights)
    exact: Sequence[int] = (total * weights).tolist()
    whole = int(weights.sum())
    shares = [value // whole for value in exact]
    by_rest = sorted(range(len(shares)), key=lambda n: (-(exact[n] % whole), n))
    for n in by_rest[: total - sum(shares)]:
        shares[n] += 1
    return shares

"""Makes the plan: what will be done, exactly, before a store is written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..cluster import leave_if_imported_by_worker, local_cluster
from ..tasks.annotation import AnnotationField
from ..tasks.patches import PatchSpec
from .annotations import bind_annotations
from .blocks import assign_blocks
from .bound_steps import bytes_measured, stepping
from .classes import class_columns
from .considered import (
    Considered,
    counts_of_blocks,
    image_counts,
    make_candidates,
    places_of_images,
    require_kept,
    with_scores,
    with_splits,
)
from .cost import cost_of
from .errors import RecipeError
from .files import Found, find_images, group_of, settled
from .focus import focus_images
from .globs import few
from .kinds import check_kinds
from .metadata import join_metadata
from .patch_spec import patch_spec
from .patches_section import PatchesRecipe
from .planned import NO_SPLIT, Plan
from .recipe import Recipe
from .rejection import reject, why_nothing_is_left
from .resolutions import mixture_notes
from .rows import Rows, make_rows
from .scores import score_candidates
from .splits import SplitResult, assign_splits, require_patches, share_table, split_fractions
from .survey import Connect, Survey, survey


def plan(recipe: Recipe, connect: Connect = local_cluster) -> Plan:
    """Find and survey the images of a recipe, and lay out everything that will be cut.

    Nothing is written but the cache of surveys.

    Parameters
    ----------
    recipe
        What is asked for.
    connect
        Opens a cluster for the survey; not called where every file is known.

    Raises
    ------
    PatchmillError
        Where the recipe, its files or its splits do not fit.
    """
    leave_if_imported_by_worker()
    found = find_images(recipe)
    recipe = settled(recipe, found.columns)
    patches = recipe.patches
    surveyed = check_kinds(recipe, survey(recipe, found, connect))
    found, surveyed = _join_items(recipe, found, surveyed)
    if patches.z == "focus":
        surveyed = check_kinds(recipe, focus_images(recipe, surveyed, connect))
    _require_images(surveyed)
    _check_channels(surveyed.images[0].channels)
    surveyed, fields = bind_annotations(recipe, surveyed, connect)
    surveyed = check_kinds(recipe, surveyed)
    _require_images(surveyed)
    considered = make_candidates(recipe, surveyed, fields, connect)
    _require_places(recipe, considered)
    considered, scores_bytes = _score(recipe, considered, fields, connect)
    images = considered.images
    counts = image_counts(recipe, considered)
    patch = patch_spec(recipe, images, int(places_of_images(recipe, considered).sum()))
    splits, maps = _split(recipe, considered, counts)
    considered = with_splits(recipe, considered, maps, patch.halo_px)
    rows = make_rows(
        considered,
        patches,
        len(splits.names),
        splits.split,
        patch.rows_per_shard,
    )
    splits = _recount(recipe, splits, rows, patch)
    planned = Plan(
        recipe=recipe,
        images=images,
        failed=considered.surveyed.failed,
        found=found,
        rows=rows,
        splits=splits,
        image_splits=splits.split.astype(np.uint8)
        if maps is None
        else np.full(len(images), NO_SPLIT, np.uint8),
        patch=patch,
        cost=cost_of(images, rows, patch, fields, stepping(recipe, images, patch)),
        notes=(*_notes(patches, found, considered.surveyed), *considered.notes),
        blocks=maps,
        scores_bytes=scores_bytes,
        annotations=fields,
        labels=class_columns(recipe, fields, [dict(image.files.groups) for image in images]),
    )
    return replace(planned, measured_bytes=bytes_measured(planned))


def _score(
    recipe: Recipe, considered: Considered, fields: Sequence[AnnotationField], connect: Connect
) -> tuple[Considered, int]:
    """Reject candidates by their pixels, as [foreground] and [filters] say.

    Returns
    -------
    considered, read_bytes
        And what is read for that, decoded, where nothing is known from an earlier run.
    """
    if recipe.foreground is None and recipe.filters is None:
        return considered, 0
    scored = score_candidates(
        recipe,
        considered.surveyed,
        lambda image: considered.windows(recipe.patches, image),
        connect,
        fields,
    )
    surveyed = check_kinds(recipe, scored.surveyed)
    considered = with_scores(recipe, considered, surveyed, scored.columns, partial(reject, recipe))
    require_kept(considered, why_nothing_is_left(recipe, scored.columns))
    considered = replace(considered, notes=(*considered.notes, *scored.notes))
    return considered, scored.read_bytes


def _require_images(surveyed: Survey) -> None:
    if not surveyed.images:
        reasons = "; ".join(f"{files.id}: {reason}" for files, reason in surveyed.failed[:3])
        raise RecipeError(f"images.paths: not one image can be used ({reasons})")


def _require_places(recipe: Recipe, considered: Considered) -> None:
    """Refuse a recipe whose patches fit into no image."""
    if any(own.fits().any() for own in considered.candidates):
        return
    patches = recipe.patches
    if patches.at in ("points", "objects"):
        require_kept(considered)
    sizes = [image.source.kind.resolution.size for image in considered.images]
    largest = max((size[0 if patches.is_3d else 1 :] for size in sizes), key=math.prod)
    raise RecipeError(
        f"patches.size: {list(patches.size)} fits into no image, the largest is "
        f'{list(largest)} px; write a smaller size, or edge = "pad"'
    )


def _join_items(recipe: Recipe, found: Found, surveyed: Survey) -> tuple[Found, Survey]:
    """Join `[metadata]` to images of which files hold several, now that their names are known."""
    if not found.joins_items:
        return found, surveyed
    rows = [{**dict(image.files.groups), "id": image.id} for image in surveyed.images]
    joined = join_metadata(recipe, rows)
    images = tuple(
        image.described({name: row[name] for name in joined.columns})
        for image, row in zip(surveyed.images, joined.rows, strict=True)
    )
    return replace(found, unused_metadata=joined.unused), replace(surveyed, images=images)


def _notes(patches: PatchesRecipe, found: Found, surveyed: Survey) -> tuple[str, ...]:
    """Return what was guessed, each with how many images it is said of, and what is left over."""
    said = Counter(note for image in surveyed.images for note in image.notes)
    notes = [f"{note} ({count:,} images)" for note, count in said.items()]
    if surveyed.parts:
        notes.append(f"{surveyed.parts:,} files are parts of another file's image")
    if unused := found.unused_metadata:
        notes.append(f"metadata.table has rows without an image: {few(unused, len(unused))}")
    return (*found.notes, *notes, *mixture_notes(patches, surveyed.images))


def _split(
    recipe: Recipe, considered: Considered, counts: NDArray[np.int64]
) -> tuple[SplitResult, tuple[NDArray[np.int8], ...] | None]:
    """Assign images, or blocks of them, to splits."""
    images = considered.images
    columns = [dict(image.files.groups) for image in images]
    if recipe.split is None or recipe.split.blocks_px is None:
        groups = [group_of(image.files, recipe) for image in images]
        return assign_splits(recipe, groups, counts, columns), None
    of_blocks = counts_of_blocks(recipe, considered, recipe.split.blocks_px)
    blocks = assign_blocks(recipe, [image.id for image in images], of_blocks, columns)
    none = np.zeros(len(images), np.int8)
    return SplitResult(blocks.names, none, blocks.table, (), ()), blocks.maps


def _recount(recipe: Recipe, splits: SplitResult, rows: Rows, patch: PatchSpec) -> SplitResult:
    """Say what the splits have, now that it is known which patches are left."""
    patches = np.array([stop - start for start, stop in rows.splits], np.int64)
    groups = np.array([share.groups for share in splits.table], np.int64)
    table = share_table(splits.names, split_fractions(recipe.split), patches, groups)
    blocks_px = recipe.split.blocks_px if recipe.split else None
    reads = list(patch.read_size[1:])
    hint = ""
    if blocks_px and reads != list(patch.size[1:]):
        hint = (
            f": with its border a patch reads {reads} px, and blocks have {list(blocks_px)}; write "
            "larger split.blocks_px or a smaller patches.margin_px"
        )
    require_patches(table, hint)
    return SplitResult(splits.names, splits.split, table, splits.header, splits.rows)


def _check_channels(channels: Sequence[str]) -> None:
    if len(set(channels)) < len(channels):
        raise RecipeError(
            f"images.channels: several channels are called the same ({', '.join(channels)}); "
            "write a name for each"
        )

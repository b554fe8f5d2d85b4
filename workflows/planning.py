"""The plan: what will be done, exactly, before a pixel is read or a file is written."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np
from numcodecs.blosc import MAX_BUFFERSIZE
from numpy.typing import NDArray

from ..cluster import leave_if_imported_by_worker, local_cluster
from ..reader.format import FORMAT
from ..tasks.patches import PatchSpec
from ..tasks.source import FileIdentity
from .blocks import assign_blocks, block_counts
from .candidates import REASONS, image_grid
from .cost import Cost, cost_of
from .digests import digest_json
from .errors import RecipeError
from .files import Found, ImageFiles, find_images, group_of, settled
from .focus import focus_images
from .globs import few
from .images import SurveyedImage
from .kinds import check_kinds, store_dtype
from .metadata import join_metadata
from .patches_section import PatchesRecipe
from .recipe import Recipe
from .resolutions import mixture_notes
from .rows import Rows, make_rows
from .splits import SplitResult, assign_splits, require_patches, share_table, split_fractions
from .survey import Connect, Survey, survey

#: The split of an image whose patches are in several splits, or that has none.
NO_SPLIT = 255
#: Packages whose version may change what is in a store.
SOFTWARE = ("patchmill", "numpy", "numcodecs", "zarr", "tifffile", "imagecodecs")


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes
    ----------
    images
        That patches are cut from, in the order of `images/`.
    failed
        Images that the survey could not use, with the reason.
    found
        What the globs, the pattern and the manifest found.
    notes
        What was guessed, and what a user should look at.
    rows
        Every row and every candidate.
    splits
        Names, wanted and reached shares, and the CSV of groups.
    image_splits
        uint8, shape (images,): the split of each image; `NO_SPLIT` where it has patches in several.
    patch
        What every patch is.
    cost
        What it takes.
    """

    recipe: Recipe
    images: tuple[SurveyedImage, ...]
    failed: tuple[tuple[ImageFiles, str], ...]
    found: Found
    rows: Rows
    splits: SplitResult
    image_splits: NDArray[np.uint8]
    patch: PatchSpec
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of a patch."""
        return ("c", "z", "y", "x") if self.patch.is_3d else ("c", "y", "x")

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels, in order."""
        return self.images[0].channels

    @property
    def n_shards(self) -> int:
        """Number of shards, each one task and one file."""
        return math.ceil(len(self.rows) / self.patch.rows_per_shard)

    def shard_rows(self, shard: int) -> slice:
        """Return the rows of a shard."""
        start = shard * self.patch.rows_per_shard
        return slice(start, min(start + self.patch.rows_per_shard, len(self.rows)))

    @property
    def checksums(self) -> list[list[str]]:
        """The sha256 of each file of each image; empty unless the recipe asks for contents."""
        return [[i.sha256 for i in image.source.identities] for image in self.images]

    @property
    def software(self) -> dict[str, str]:
        """The versions that may change what is in the store."""
        return {name: version(name) for name in SOFTWARE}

    def identity(self, image: int) -> list[list[Any]]:
        """Return what tells the files of an image from their later selves, as JSON values."""
        files = self.images[image].files.files
        identities = self.images[image].source.identities
        return [
            [file.relative, *_identity(identity)]
            for file, identity in zip(files, identities, strict=True)
        ]

    @cached_property
    def document(self) -> dict[str, Any]:
        """Everything that decides the bytes of the store, to say what differs from another plan."""
        return {
            "format": FORMAT,
            "recipe": _deciding(self.recipe),
            "software": self.software,
            "layout": _digest_rows(self.rows, self.patch),
            "images": digest_json({"images": [_described(image) for image in self.images]}),
            "sources": {
                image.id: self.identity(number) for number, image in enumerate(self.images)
            },
            "failed": {files.id: reason for files, reason in self.failed},
        }

    @cached_property
    def digest(self) -> str:
        """The sha256 of `document`: two plans of one digest make the same store."""
        return digest_json(self.document)


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
    images = surveyed.images
    if not images:
        reasons = "; ".join(f"{files.id}: {reason}" for files, reason in surveyed.failed[:3])
        raise RecipeError(f"images.paths: not one image can be used ({reasons})")
    dtype = store_dtype(recipe, images)
    _check_channels(images[0].channels)
    _check_pad(recipe, dtype)
    counts = np.array([_count(image, recipe) for image in images], np.int64)
    if not counts.any():
        sizes = [image.source.kind.resolution.size for image in images]
        largest = max((size[0 if patches.is_3d else 1 :] for size in sizes), key=math.prod)
        raise RecipeError(
            f"patches.size: {list(patches.size)} fits into no image, the largest is "
            f'{list(largest)} px; write a smaller size, or edge = "pad"'
        )
    patch = PatchSpec(
        channels=len(images[0].channels),
        size=patches.size_zyx,
        dtype=dtype,
        pad=patches.pad,
        codec=recipe.store.codec,
        level=recipe.store.level,
        rows_per_shard=1,
        margin_px=patches.margin_px,
        is_3d=patches.is_3d,
        project_z=patches.project_z,
        project_t=patches.project_t,
    )
    if patch.nbytes > MAX_BUFFERSIZE:
        raise RecipeError(
            f"patches.size: a patch of {list(patch.shape)} holds {patch.nbytes} bytes, and "
            f"a chunk at most {MAX_BUFFERSIZE}; write a smaller size"
        )
    rows_per_shard = max(1, min(recipe.store.shard_bytes // patch.nbytes, int(counts.sum())))
    patch = replace(patch, rows_per_shard=rows_per_shard)
    splits, maps = _split(recipe, images, counts)
    rows = make_rows(
        images,
        recipe.patches,
        len(splits.names),
        splits.split,
        maps,
        recipe.split.blocks_px if recipe.split else None,
        rows_per_shard,
    )
    if maps is not None:
        splits = _recount(recipe, splits, rows)
    return Plan(
        recipe=recipe,
        images=images,
        failed=surveyed.failed,
        found=found,
        rows=rows,
        splits=splits,
        image_splits=splits.split.astype(np.uint8)
        if maps is None
        else np.full(len(images), NO_SPLIT, np.uint8),
        patch=patch,
        cost=cost_of(images, rows, patch),
        notes=_notes(patches, found, surveyed),
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


def _count(image: SurveyedImage, recipe: Recipe) -> int:
    grid = image_grid(image.source.kind.resolution, recipe.patches)
    return len(grid.kept()) * len(image.times)


def _split(
    recipe: Recipe, images: Sequence[SurveyedImage], counts: NDArray[np.int64]
) -> tuple[SplitResult, tuple[NDArray[np.int8], ...] | None]:
    """Assign images, or blocks of them, to splits."""
    columns = [dict(image.files.groups) for image in images]
    if recipe.split is None or recipe.split.blocks_px is None:
        groups = [group_of(image.files, recipe) for image in images]
        return assign_splits(recipe, groups, counts, columns), None
    of_blocks = []
    for image in images:
        grid = image_grid(image.source.kind.resolution, recipe.patches)
        kept = grid.kept()
        per_block = block_counts(
            (image.shape[3], image.shape[4]), recipe.split.blocks_px, grid.y[kept], grid.x[kept]
        )
        of_blocks.append(per_block * len(image.times))
    blocks = assign_blocks(recipe, [image.id for image in images], of_blocks, columns)
    none = np.zeros(len(images), np.int8)
    return SplitResult(blocks.names, none, blocks.table, (), ()), blocks.maps


def _recount(recipe: Recipe, splits: SplitResult, rows: Rows) -> SplitResult:
    """Say what the splits have, now that patches across their borders are rejected."""
    patches = np.array([stop - start for start, stop in rows.splits], np.int64)
    groups = np.array([share.groups for share in splits.table], np.int64)
    table = share_table(splits.names, split_fractions(recipe.split), patches, groups)
    margin, blocks_px = recipe.patches.margin_px, recipe.split.blocks_px if recipe.split else None
    reads = [size + 2 * margin for size in recipe.patches.size_zyx[1:]]
    require_patches(
        table,
        f": with its border a patch reads {reads} px, and blocks have {list(blocks_px)}; write "
        "larger split.blocks_px or a smaller patches.margin_px"
        if margin and blocks_px
        else "",
    )
    return SplitResult(splits.names, splits.split, table, splits.header, splits.rows)


def _check_channels(channels: Sequence[str]) -> None:
    if len(set(channels)) < len(channels):
        raise RecipeError(
            f"images.channels: several channels are called the same ({', '.join(channels)}); "
            "write a name for each"
        )


def _check_pad(recipe: Recipe, dtype: np.dtype[Any]) -> None:
    pad = recipe.patches.pad
    if isinstance(pad, str) or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if pad != int(pad) or not limits.min <= pad <= limits.max:
        raise RecipeError(
            f"patches.pad: {dtype} cannot hold {pad}; write a whole number from {limits.min} to "
            f"{limits.max}"
        )


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe decides the bytes: not what a run does when it meets a fault."""
    content = recipe.canonical()
    for key in ("on_error", "max_pixels", "max_segment_bytes", "max_seconds"):
        content["images"].pop(key, None)
    return content


def _identity(identity: FileIdentity) -> list[Any]:
    # A content that is the same is the same source, whenever it was copied.
    if identity.sha256:
        return [identity.size_bytes, identity.sha256]
    return [identity.size_bytes, identity.mtime_ns]


def _described(image: SurveyedImage) -> list[Any]:
    """Return what decides an image's rows and columns beside its files, as JSON values."""
    resolution = image.source.kind.resolution
    return [
        image.id,
        image.files.groups,
        # NaN, which JSON does not have, is what is not known.
        [None if math.isnan(size) else size for size in image.voxel_um],
        [resolution.level, *resolution.zoom, *resolution.scale],
        None if image.focus is None else image.focus.tolist(),
    ]


def _digest_rows(rows: Rows, patch: PatchSpec) -> str:
    """Return the sha256 of where every patch comes from and goes to."""
    digest = sha256(json.dumps([rows.splits, patch.rows_per_shard]).encode())
    for values in rows.columns.values():
        digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def candidate_counts(rows: Rows) -> dict[str, int]:
    """Return how many candidates were rejected for each reason."""
    counts = np.bincount(rows.candidates["reason"], minlength=len(REASONS)).tolist()
    return {name: count for name, count in zip(REASONS[1:], counts[1:], strict=True) if count}

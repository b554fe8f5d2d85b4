"""What will be done: every row, every candidate, what each patch is, and what decides the bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..reader.format import FORMAT
from ..tasks.annotation import AnnotationField
from ..tasks.patches import PatchSpec
from ..tasks.source import FileIdentity
from .annotations import annotation_identity
from .classes import ClassColumn
from .cost import Cost
from .digests import digest_json
from .files import Found, ImageFiles
from .images import SurveyedImage
from .recipe import Recipe
from .rows import Rows
from .splits import SplitResult

#: The split of an image whose patches are in several splits, or that has none.
NO_SPLIT = 255
#: Packages whose version may change what is in a store.
SOFTWARE = ("patchmill", "numpy", "numcodecs", "zarr", "tifffile", "imagecodecs", "scipy")


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
    blocks
        The split of each block of each image, where splits are spatial.
    patch
        What every patch is.
    annotations
        The masks and label maps that are cut with the image.
    labels
        The columns of `index/` that these, and tables [classes.NAME], make.
    cost
        What it takes.
    scores_bytes
        That are read, decoded, for [foreground] and [filters], where that is not known yet.
    measured_bytes
        The same of steps that look at images before the run, by their names.
    steps
        What was decided of each step of the recipe, as JSON values; none before `bind_steps`.
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
    blocks: tuple[NDArray[np.int8], ...] | None = None
    annotations: tuple[AnnotationField, ...] = ()
    labels: tuple[ClassColumn, ...] = ()
    scores_bytes: int = 0
    measured_bytes: tuple[tuple[str, int], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()

    @property
    def field_axes(self) -> dict[str, tuple[str, ...]]:
        """The fields of the store, each with the axes of a patch."""
        return {"image": self.axes} | {field.name: self.axes[1:] for field in self.annotations}

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
        # OpenCV comes in packages of several names.
        return {name: version(name) for name in SOFTWARE} | {"opencv": cv2.__version__}

    def identity(self, image: int) -> list[list[Any]]:
        """Return what tells the files of an image from their later selves, as JSON values.

        Those that annotate it are among them.
        """
        files = self.images[image].files.files
        identities = self.images[image].source.identities
        return [
            *(
                [file.relative, *_identity(identity)]
                for file, identity in zip(files, identities, strict=True)
            ),
            *annotation_identity(self.images[image]),
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
    digest.update(json.dumps([rows.reasons, sorted(rows.names.items())]).encode())
    for columns in (rows.columns, rows.candidates):
        for name, values in columns.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def candidate_counts(rows: Rows) -> dict[str, int]:
    """Return how many candidates were rejected for each reason."""
    counts = np.bincount(rows.candidates["reason"], minlength=len(rows.reasons)).tolist()
    return {name: n for name, n in zip(rows.reasons[1:], counts[1:], strict=True) if n}

"""Centres of patches from a label map: where its objects are, found on the cluster or kept."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from ..tasks.annotation import AnnotationField
from ..tasks.annotation_file import BlankAnnotation, FileAnnotation
from ..tasks.objects import Objects, find_objects
from .cache import Cache, option_values, source_key
from .candidates import KEPT, OBJECT_AREA
from .centres import EVERY_TIME, Centres
from .errors import RecipeError
from .images import SurveyedImage
from .patches_section import PatchesRecipe
from .survey import Connect, Survey
from .window import result_of, run_windowed

if TYPE_CHECKING:
    from .recipe import Recipe

#: Label maps that one task looks at.
BATCH_MAPS = 8
#: Raised whenever other objects may be found in a file.
OBJECTS_VERSION = 1
#: For each time and plane: t, z, labels, and four sums of each.
_KEPT = TypeAdapter(list[tuple[int, int, list[int], list[list[int]]]])


def object_centres(
    recipe: Recipe, surveyed: Survey, fields: Sequence[AnnotationField], connect: Connect
) -> tuple[Survey, list[Centres]]:
    """Find the centroids of the objects of `patches.objects` in each image.

    Areas are counted in pixels of the label map. The columns `object` and `object_area_px` say
    which object it is, and how large.

    Parameters
    ----------
    recipe
        With `patches.objects`.
    surveyed
        With `source.annotations`.
    fields
        What these are of.
    connect
        Called only for label maps that are not known from an earlier run.

    Returns
    -------
    surveyed
        Without the images whose label maps could not be read, which are among the failed.
    centres
        Of each image that is left.

    Raises
    ------
    RecipeError
        Where there is no such label map, or it is not from files.
    """
    patches = recipe.patches
    number = _field_number(patches, fields)
    field = fields[number]
    maps = [_map(image, number, patches) for image in surveyed.images]
    found = _find(maps, field, patches.is_3d or bool(patches.project_z), connect)
    images, failed, centres = [], list(surveyed.failed), []
    for image, annotation, objects in zip(surveyed.images, maps, found, strict=True):
        if isinstance(objects, str):
            failed.append((image.files, image.files.portable(objects)))
            continue
        images.append(image)
        centres.append(_centres(image, annotation, objects, field, patches))
    return replace(surveyed, images=tuple(images), failed=tuple(failed)), centres


def _field_number(patches: PatchesRecipe, fields: Sequence[AnnotationField]) -> int:
    names = [field.name for field in fields]
    if f"labels/{patches.objects}" in names:
        return names.index(f"labels/{patches.objects}")
    have = ", ".join(n.partition("/")[2] for n in names if n.startswith("labels/")) or "none"
    raise RecipeError(
        f'patches.objects: found "{patches.objects}", and the label maps are: {have}; write a '
        f"table [labels.{patches.objects}] with the path of the files"
    )


def _map(image: SurveyedImage, number: int, patches: PatchesRecipe) -> FileAnnotation | None:
    annotation = image.source.annotations[number]
    if isinstance(annotation, FileAnnotation):
        return annotation
    if isinstance(annotation, BlankAnnotation):
        return None
    raise RecipeError(
        f'patches.objects: the label map "{patches.objects}" is not in files, and only there '
        "objects can be found before patches are cut; write its labels to files first"
    )


def _find(
    maps: Sequence[FileAnnotation | None], field: AnnotationField, whole: bool, connect: Connect
) -> list[list[Objects] | str]:
    cache = Cache("objects", [OBJECTS_VERSION, field.dtype.str, whole])
    found: list[list[Objects] | str | None] = [
        [] if annotation is None else _read(cache, annotation, field) for annotation in maps
    ]
    unknown = [number for number, objects in enumerate(found) if objects is None]
    batches = deque(unknown[i : i + BATCH_MAPS] for i in range(0, len(unknown), BATCH_MAPS))
    if batches:
        with connect() as client:
            for batch, future in run_windowed(
                client,
                "objects",
                find_objects,
                batches,
                lambda batch: ([maps[number] for number in batch], field, whole),
            ):
                first = maps[batch[0]]
                what = f"objects of {first.relative if first else ''}"
                for number, objects in zip(batch, result_of(future, what), strict=True):
                    found[number] = objects
                    annotation = maps[number]
                    if annotation is not None and not isinstance(objects, str):
                        _keep(cache, annotation, objects)
    return [objects for objects in found if objects is not None]


def _key(annotation: FileAnnotation) -> list[object]:
    values = repr(annotation.values)
    return [option_values(annotation.options), values, *source_key(annotation.file)]


def _read(cache: Cache, annotation: FileAnnotation, field: AnnotationField) -> list[Objects] | None:
    if annotation.options.reader is not None:
        return None  # a user's own function, which may be another tomorrow
    kept = cache.read(_key(annotation))
    try:
        return (
            None
            if kept is None
            else [
                Objects(t, z, np.array(label, field.dtype), np.array(sums, np.int64).reshape(-1, 4))
                for t, z, label, sums in _KEPT.validate_json(kept)
            ]
        )
    except (ValueError, OverflowError):
        return None


def _keep(cache: Cache, annotation: FileAnnotation, objects: Sequence[Objects]) -> None:
    values = [(own.t, own.z, own.label.tolist(), own.sums.tolist()) for own in objects]
    cache.write(_key(annotation), json.dumps(values))


def _centres(
    image: SurveyedImage,
    annotation: FileAnnotation | None,
    objects: Sequence[Objects],
    field: AnnotationField,
    patches: PatchesRecipe,
) -> Centres:
    """Return where the objects of one image are in pixels of its level 0."""
    scale = annotation.scale if annotation else (1.0,) * 3
    planes = annotation.file.kind.planes.shape if annotation else (1, 1, 1, 4)
    # A map of one time, or of one plane, is that of all.
    times = [EVERY_TIME] if planes[0] == 1 else list(image.times)
    used = [own for own in objects if own.t < len(times)]
    empty = Objects(0, 0, np.empty(0, field.dtype), np.empty((0, 4), np.int64))
    parts = [empty, *used]
    at = np.concatenate([own.centroids for own in parts])
    if planes[2] == 1:
        at[:, 0] = math.nan
    # Both count pixels by their centres: the corner of the first lies half a pixel before it.
    z, y, x = ((at + 0.5) * scale - 0.5).T
    area = np.concatenate([own.area_px for own in parts])
    most = area.max(initial=0) if patches.max_area_px is None else patches.max_area_px
    fits = (area >= patches.min_area_px) & (area <= most)
    return Centres(
        t=np.concatenate([np.full(len(own.label), times[own.t], np.int64) for own in parts]),
        z=z,
        y=y,
        x=x,
        reason=np.where(fits, KEPT, OBJECT_AREA).astype(np.uint8),
        columns={
            "object": np.concatenate([own.label for own in parts]),
            "object_area_px": area,
        },
    )

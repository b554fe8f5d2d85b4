"""Binds the tables [masks.NAME] and [labels.NAME] of a recipe to its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from ..tasks.annotation import Annotation, AnnotationField
from ..tasks.source import FileIdentity
from .annotation_recipe import AnnotationBinding
from .file_survey import Connect
from .images import SurveyedImage
from .recipe import Recipe
from .survey import Survey


@runtime_checkable
class FromFiles(Protocol):
    """An annotation that is made from files."""

    @property
    def files(self) -> tuple[tuple[str, FileIdentity], ...]:
        """Their paths as a store may keep them, and what tells them from their later selves."""
        ...


def bind_annotations(
    recipe: Recipe, surveyed: Survey, connect: Connect
) -> tuple[Survey, tuple[AnnotationField, ...]]:
    """Find the masks and label maps of every image.

    Parameters
    ----------
    recipe
        Settled.
    surveyed
        Of one kind, with the columns of all tables.
    connect
        Called only where a file is not known from an earlier survey.

    Returns
    -------
    surveyed
        Images with `source.annotations`; those that lack one are among `failed`.
    fields
        Of the store, in the same order: masks first, each by name.

    Raises
    ------
    RecipeError
        Where a table does not fit the images, whichever they are.
    """
    tables = [(f"masks.{name}", own) for name, own in sorted(recipe.masks.items())]
    tables += [(f"labels.{name}", own) for name, own in sorted(recipe.labels.items())]
    images = surveyed.images
    bound = [
        own.bind(AnnotationBinding(key, recipe, images, connect)) for key, own in tables if images
    ]
    annotated: list[SurveyedImage] = []
    failed = list(surveyed.failed)
    for number, image in enumerate(images):
        own = [each.annotations[number] for each in bound]
        if faults := [fault for fault in own if isinstance(fault, str)]:
            failed.append((image.files, image.files.portable("; ".join(faults))))
            continue
        made: tuple[Annotation, ...] = tuple(each for each in own if not isinstance(each, str))
        annotated.append(replace(image, source=replace(image.source, annotations=made)))
    return (
        replace(surveyed, images=tuple(annotated), failed=tuple(failed)),
        tuple(each.field for each in bound),
    )


def annotation_identity(image: SurveyedImage) -> list[list[Any]]:
    """Return what tells the files that annotate an image from their later selves, as JSON values.

    Returns
    -------
    identities
        For each file path, size, and time or sha256; in the order of the store's fields.
    """
    return [
        [relative, *_values(identity)]
        for own in image.source.annotations
        if isinstance(own, FromFiles)
        for relative, identity in own.files
    ]


def _values(identity: FileIdentity) -> list[Any]:
    # A content that is the same is the same source, whenever it was copied.
    return [identity.size_bytes, identity.sha256 or identity.mtime_ns]

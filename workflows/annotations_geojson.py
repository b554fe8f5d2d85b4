"""The tables [masks.NAME] and [labels.NAME] with from = "geojson": polygons, as of QuPath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.annotation import Annotation, AnnotationField
from ..tasks.annotation_file import BlankAnnotation
from ..tasks.annotation_geojson import GeoJsonFile, GeoJsonLabels, GeoJsonMask
from ..tasks.geojson_file import GeoJsonInfo
from .annotation_paths import (
    AnnotationPath,
    are_there,
    column_paths,
    place_problems,
    read_template,
    template_paths,
)
from .annotation_recipe import (
    AnnotationBinding,
    AnnotationRecipe,
    BoundAnnotation,
    LabelsRecipe,
    MaskRecipe,
)
from .errors import RecipeError
from .geojson_survey import look_at_geojson
from .globs import few
from .problems import Problem, refuse, show
from .values import Texts

_EXAMPLE = "{folder}/{stem}.geojson"


class _GeoJsonRecipe(AnnotationRecipe):
    """What masks and label maps have in common."""

    source: Literal["geojson"] = Field(alias="from")
    path: Annotated[str, BeforeValidator(read_template)] | None = Field(
        None, description=f'a path, such as "{_EXAMPLE}"'
    )
    column: str | None = Field(None, description="the name of a column with paths")
    property: str = Field("classification", description="the name of a property, as text")
    other_geometries: Literal["raise", "skip"] = Field("raise", description='"raise" or "skip"')

    @model_validator(mode="after")
    def _check_path(self) -> Self:
        refuse(place_problems(self.path, self.column, _EXAMPLE, "annotations"))
        return self

    def _bound(
        self,
        binding: AnnotationBinding,
        blank: int | None,
        remedy: str,
        annotate: Callable[[GeoJsonFile, GeoJsonInfo], Annotation | str],
    ) -> Sequence[Annotation | str]:
        """Return what annotates each image.

        Parameters
        ----------
        blank
            What an image without a file has everywhere; None where that is an error.
        remedy
            What to do about that.
        annotate
            Makes it of a file, or says what is wrong with that.
        """
        # Polygons are painted where the image's pixels are, which such a step moves.
        for number, step in enumerate(binding.recipe.steps):
            if step.output_size is not None:
                raise RecipeError(
                    f'{binding.key}: steps[{number}], "{step.name}", makes patches of another '
                    "size, in which polygons cannot be found again; leave one out"
                )
        options, paths = binding.recipe.images.options, self._paths(binding)
        named = list(dict.fromkeys(own for own in paths if own is not None))
        there = dict(zip(named, are_there(named, options), strict=True))
        content = binding.recipe.images.identity == "content"
        present = [own.path for own in named if there[own]]
        infos = look_at_geojson(present, self.property, content, options.storage, binding.connect)
        bound: list[Annotation | str] = []
        for own in paths:
            if own is None or not there[own]:
                what = f"in its column {self.column}" if own is None else own.relative
                text = f"has no file {what} ({binding.key}); {remedy}"
                bound.append(text if blank is None else BlankAnnotation(blank))
                continue
            info = infos[own.path]
            if isinstance(info, str):
                bound.append(info.replace(own.path, own.relative))
                continue
            file = GeoJsonFile(own.path, own.relative, info.identity, self.property)
            made = self._fault(info, binding.key) or annotate(file, info)
            bound.append(f"{own.relative}: {made}" if isinstance(made, str) else made)
        return bound

    def _paths(self, binding: AnnotationBinding) -> Sequence[AnnotationPath | None]:
        if self.path is not None:
            return template_paths(binding, self.path)
        return column_paths(binding, str(self.column))

    def _fault(self, info: GeoJsonInfo, key: str) -> str | None:
        """Return why a file cannot be used, whatever is painted."""
        if not info.others or self.other_geometries == "skip":
            return None
        kinds = few((f"{n} of {kind}" for kind, n in info.others.items()), len(info.others))
        return (
            f"holds features that have no area ({kinds}); take them out, or write "
            f'{key}.other_geometries = "skip"'
        )


class GeoJsonMaskRecipe(_GeoJsonRecipe, MaskRecipe):
    """A table [masks.NAME] with from = "geojson": classes by the names of classifications."""

    order: Texts = ()
    outside: Literal["ignore", "background"] = Field(
        "ignore", description='"ignore" or "background"'
    )
    unknown: Literal["raise", "ignore"] = Field("raise", description='"raise" or "ignore"')
    missing_mask: Literal["raise", "ignore", "background"] = Field(
        "raise", description='"raise", "ignore" or "background"'
    )

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Find the file of each image, see `AnnotationRecipe.bind`."""
        numbers = {name: number for number, name in self.classes}
        background = numbers.get("background", 0)
        classes = tuple((name, numbers[name]) for name in self.order or numbers)
        blank = {"raise": None, "ignore": self.ignore, "background": background}

        def annotate(file: GeoJsonFile, info: GeoJsonInfo) -> Annotation | str:
            unknown = [name for name in info.features if name not in numbers]
            if unknown and self.unknown == "raise":
                names = few((f'"{name}"' if name else "none" for name in unknown), len(unknown))
                return (
                    f"has classifications that are no classes: {names}; add them to "
                    f'{binding.key}.classes, or write {binding.key}.unknown = "ignore"'
                )
            outside = self.ignore if self.outside == "ignore" else background
            return GeoJsonMask(file, classes, outside)

        remedy = f'add it, or write {binding.key}.missing_mask = "ignore" or "background"'
        bound = self._bound(binding, blank[self.missing_mask], remedy, annotate)
        return BoundAnnotation(self.field(binding.name), bound)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        problems = []
        names = [name for _, name in self.classes]
        if self.order and sorted(self.order) != sorted(names):
            text = f"found {show(list(self.order))}; write each class once: {show(names)}"
            problems.append(Problem("order", text))
        if "background" not in names and dict(self.classes).get(0) is None:
            for key in ("outside", "missing_mask"):
                if getattr(self, key) == "background":
                    text = (
                        '"background" needs a class of that name; add 0 = "background" to classes'
                    )
                    problems.append(Problem(key, text))
        refuse(problems)
        return self


class GeoJsonLabelsRecipe(_GeoJsonRecipe, LabelsRecipe):
    """A table [labels.NAME] with from = "geojson": each feature an object."""

    only: Texts = ()
    missing_mask: Literal["raise", "background"] = Field(
        "raise", description='"raise" or "background"'
    )

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Find the file of each image, see `AnnotationRecipe.bind`."""
        dtype = np.dtype(self.dtype or "uint32")

        def annotate(file: GeoJsonFile, info: GeoJsonInfo) -> Annotation | str:
            if info.objects > np.iinfo(dtype).max:
                return (
                    f"has {info.objects} objects, and {binding.name} is {dtype.name}; write "
                    f'{binding.key}.dtype = "uint32"'
                )
            return GeoJsonLabels(file, self.only)

        remedy = f'add it, or write {binding.key}.missing_mask = "background"'
        blank = None if self.missing_mask == "raise" else 0
        bound = self._bound(binding, blank, remedy, annotate)
        return BoundAnnotation(AnnotationField(binding.name, dtype), bound)

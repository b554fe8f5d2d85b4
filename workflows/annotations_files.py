"""The recipe's tables [masks.NAME] and [labels.NAME] with from = "files", beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.annotation import AnnotationField
from ..tasks.annotation_values import ClassValues, ColourValues, ObjectValues, Values
from ..tasks.source import FileInfo
from .annotation_recipe import (
    IGNORE,
    AnnotationBinding,
    BoundAnnotation,
    LabelsRecipe,
    MaskRecipe,
)
from .file_annotations import FilesRecipe, bind_files, find_files
from .problems import Problem, refuse
from .values import items

_COLOURS = "{ live = [0, 255, 0], dead = [255, 0, 0] }"
#: Red, green and blue, each 0 to 255.
Colour = tuple[int, int, int]


def read_colours(value: Any) -> tuple[tuple[str, Colour], ...]:
    """Read a table of names of classes to colours."""
    colours: dict[str, Colour] = {}
    for name, colour in items(value, _COLOURS).items():
        parts = list(colour) if isinstance(colour, list | tuple) else []
        if len(parts) != 3 or not all(type(n) is int and 0 <= n <= 255 for n in parts):
            raise ValueError(f"{name} needs [red, green, blue], each 0 to 255, as in {_COLOURS}")
        colours[name] = (parts[0], parts[1], parts[2])
    if len(set(colours.values())) < len(colours):
        raise ValueError("two classes have one colour; write different ones")
    return tuple(colours.items())


class MaskFilesRecipe(MaskRecipe, FilesRecipe):
    """A mask from files."""

    colours: Annotated[tuple[tuple[str, Colour], ...], BeforeValidator(read_colours)] = Field(
        (), description=f"a table such as {_COLOURS}"
    )
    unknown: Literal["ignore", "raise"] = Field(description='"ignore" or "raise"')
    missing_mask: Literal["raise", "ignore", "background"] = Field(
        "raise", description='"raise", "ignore" or "background"'
    )

    @model_validator(mode="before")
    @classmethod
    def _default_unknown(cls, data: Any) -> Any:
        # Of numbers, those beside the classes are commonly left out on purpose; another colour is
        # a blurred edge, or a mistake.
        if isinstance(data, dict) and "unknown" not in data:
            return {**data, "unknown": "raise" if data.get("colours") else "ignore"}
        return data

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        problems = []
        names = [name for _, name in self.classes]
        for name, _ in self.colours:
            if self.number_of(name) is None:
                text = f'"{name}" is no class; write {", ".join(names)} or {IGNORE}'
                problems.append(Problem("colours", text))
        if self.colours and self.channel is not None:
            text = "is for files of one number per pixel, and colours are three; leave one out"
            problems.append(Problem("channel", text))
        if self.missing_mask == "background" and self._background is None:
            text = 'needs a class called "background", or the number 0; name it in classes'
            problems.append(Problem("missing_mask", f'"background" {text}'))
        refuse(problems)
        return self

    @property
    def _background(self) -> int | None:
        named = self.number_of("background")
        return named if named is not None else next((n for n, _ in self.classes if n == 0), None)

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Find the file of each image, see `AnnotationRecipe.bind`."""
        refuses = self.unknown == "raise"
        values: Values = ClassValues(refuses)
        if self.colours:
            numbers = [(colour, self.number_of(name) or 0) for name, colour in self.colours]
            values = ColourValues(tuple(numbers), refuses)
        options = self.options(binding, "colour" if self.colours else "index")
        found = find_files(self, binding, options)
        blank = {"raise": None, "ignore": self.ignore, "background": self._background}
        remedy = f'add it, or write {binding.key}.missing_mask = "ignore" or "background"'
        bound = bind_files(self, binding, found, options, values, blank[self.missing_mask], remedy)
        return BoundAnnotation(self.field(binding.name), bound)


class LabelFilesRecipe(LabelsRecipe, FilesRecipe):
    """A label map from files."""

    missing_mask: Literal["raise", "background"] = Field(
        "raise", description='"raise" or "background"'
    )

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Find the file of each image, see `AnnotationRecipe.bind`."""
        options = self.options(binding)
        found = find_files(self, binding, options)
        infos = [own[1] for own in found if not isinstance(own, str)]
        dtype = np.dtype(self.dtype or _label_dtype([i for i in infos if isinstance(i, FileInfo)]))
        remedy = f'add it, or write {binding.key}.missing_mask = "background"'
        blank = None if self.missing_mask == "raise" else 0
        bound = bind_files(self, binding, found, options, ObjectValues(), blank, remedy)
        return BoundAnnotation(AnnotationField(binding.name, dtype), bound)


def _label_dtype(infos: Sequence[FileInfo]) -> str:
    """Return the smallest type that has every label of files; of floats 32 bits are supposed."""
    dtypes = [np.dtype(info.dtype) for info in infos]
    sizes = [min(4, dtype.itemsize) if dtype.kind == "f" else dtype.itemsize for dtype in dtypes]
    return f"uint{8 * max(sizes, default=2)}"

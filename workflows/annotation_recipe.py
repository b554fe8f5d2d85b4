"""What every table [masks.NAME] and [labels.NAME] has, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.annotation import Annotation, AnnotationField
from .problems import Problem, refuse
from .sections import Section
from .values import items, name_fault

if TYPE_CHECKING:
    from .file_survey import Connect
    from .images import SurveyedImage
    from .recipe import Recipe

#: The name that the ignore value goes by, beside those of the classes.
IGNORE = "ignore"
_EXAMPLE = '{ 0 = "background", 1 = "live", 2 = "dead" }'


@dataclass(frozen=True, eq=False)
class AnnotationBinding:
    """What a table may ask about the run when it is bound.

    Attributes
    ----------
    key
        Of the table in the recipe, such as "masks.cells", for errors.
    recipe
        All of it, settled.
    images
        Of one kind, in the order of `images/`.
    connect
        Opens the cluster.
    """

    key: str
    recipe: Recipe
    images: tuple[SurveyedImage, ...]
    connect: Connect

    @property
    def name(self) -> str:
        """Of the field in the store, such as "masks/cells"."""
        return self.key.replace(".", "/", 1)


@dataclass(frozen=True, eq=False)
class BoundAnnotation:
    """What became of a table.

    Attributes
    ----------
    field
        Of the store.
    annotations
        For each image where its field comes from, or one sentence that says why it has none.
    """

    field: AnnotationField
    annotations: Sequence[Annotation | str]


class AnnotationRecipe(Section):
    """One table [masks.NAME] or [labels.NAME]; its key `from` says which kind."""

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Return where the field of each image comes from.

        Raises
        ------
        PatchmillError
            Where it does not fit the images, whichever they are.
        """
        raise NotImplementedError


def read_classes(value: Any) -> tuple[tuple[int, str], ...]:
    """Read a table of numbers to names of classes, in order of the numbers."""
    classes: dict[int, str] = {}
    for key, name in items(value, _EXAMPLE).items():
        if not key.isdecimal() or int(key) >= 2**32:
            raise ValueError(f'the class "{key}" is no whole number; write a table as {_EXAMPLE}')
        if not isinstance(name, str):
            raise ValueError(f"class {key} needs a name in quotes")
        if fault := name_fault(name):
            raise ValueError(f'the name "{name}" of class {key} {fault}; write another')
        if name == IGNORE:
            raise ValueError('"ignore" is no class; its number is said by the key ignore')
        if name in classes.values() or int(key) in classes:
            raise ValueError(f'class {key}, "{name}", stands there twice; write each once')
        classes[int(key)] = name
    if not classes:
        raise ValueError(f"is empty; write a table such as {_EXAMPLE}")
    return tuple(sorted(classes.items()))


Classes = Annotated[tuple[tuple[int, str], ...], BeforeValidator(read_classes)]


class MaskRecipe(AnnotationRecipe):
    """One table [masks.NAME]: a class per pixel."""

    classes: Classes = Field(description=f"a table such as {_EXAMPLE}")
    ignore: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = Field(
        255, description="a whole number that is no class"
    )

    def field(self, name: str) -> AnnotationField:
        """Return the field of the store: of the smallest type that has all numbers."""
        most = max(self.ignore, self.classes[-1][0])
        return AnnotationField(name, np.min_scalar_type(most), self.classes, self.ignore)

    def number_of(self, name: str) -> int | None:
        """Return the number of a class, or of "ignore"; None where there is no such class."""
        numbers = {other: number for number, other in self.classes}
        return numbers.get(name, self.ignore if name == IGNORE else None)

    @model_validator(mode="after")
    def _check_ignore(self) -> Self:
        if name := dict(self.classes).get(self.ignore):
            text = f'{self.ignore} is the class "{name}"; write a number that is none'
            refuse([Problem("ignore", text)])
        return self


class LabelsRecipe(AnnotationRecipe):
    """One table [labels.NAME]: an object per pixel, 0 for none."""

    dtype: Literal["uint8", "uint16", "uint32", "uint64"] | None = Field(
        None, description='"uint8", "uint16", "uint32" or "uint64"'
    )

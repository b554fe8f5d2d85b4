"""The tables [masks.NAME] and [labels.NAME] with from = "thresholds": made from the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ..tasks.annotation import Annotation, AnnotationField
from ..tasks.annotation_thresholds import ThresholdAnnotation
from ..tasks.threshold_classes import ClassRules, Rule
from .annotation_recipe import (
    AnnotationBinding,
    AnnotationRecipe,
    BoundAnnotation,
    LabelsRecipe,
    MaskRecipe,
)
from .errors import RecipeError
from .problems import Problem, refuse, show, translate
from .sections import Section
from .values import Limit

_EXAMPLE = '[{ class = "dead", channel = "iodide", above = 300 }]'
#: The class of a label map's objects, where its rules name none.
_OBJECT = "object"


def _read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("write a number, in the units of what is stored")
    return float(value)


_Number = Annotated[float, BeforeValidator(_read_number)]
_Pixels = Annotated[int, Field(strict=True, ge=0)]


class RuleRecipe(Section):
    """Which pixels are of a class."""

    of: str = Field(_OBJECT, alias="class", description="the name of a class, in quotes")
    channel: str = Field(description="the name of a channel, in quotes")
    above: _Number | None = None
    below: _Number | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.above is None and self.below is None:
            refuse([Problem("above", "is missing; write above = 300, below = 300, or both")])
        if None not in (self.above, self.below) and self.lowest >= self.highest:
            text = f"found {show(self.above)} with below = {show(self.below)}, which nothing is"
            refuse([Problem("above", f"{text}; write a smaller number")])
        return self

    @property
    def lowest(self) -> float:
        """What a pixel must be above."""
        return -math.inf if self.above is None else self.above

    @property
    def highest(self) -> float:
        """What a pixel must be below."""
        return math.inf if self.below is None else self.below


def read_rules(value: Any) -> tuple[RuleRecipe, ...]:
    """Read a list of rules.

    Raises
    ------
    ProblemsError
        With everything that is wrong, by rule and key.
    """
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"write a list of rules, such as {_EXAMPLE}")
    rules: list[RuleRecipe] = []
    problems: list[Problem] = []
    for number, table in enumerate(value):
        try:
            if not isinstance(table, Mapping | RuleRecipe):
                raise ValueError(f"found {show(table)}; write a rule as in {_EXAMPLE}")
            rules.append(RuleRecipe.model_validate(table))
        except ValidationError as error:
            found = translate(error, RuleRecipe, table)
            problems += [Problem(f"[{number}].{p.key}", p.text) for p in found]
        except ValueError as error:
            problems.append(Problem(f"[{number}]", str(error)))
    refuse(problems)
    return tuple(rules)


class _MadeRecipe(AnnotationRecipe):
    """What masks and label maps have in common."""

    source: Literal["thresholds"] = Field(alias="from")
    rules: Annotated[tuple[RuleRecipe, ...], BeforeValidator(read_rules)] = Field(
        description=f"a list of rules, such as {_EXAMPLE}"
    )
    scope: Literal["patch", "image"] = Field("patch", description='"patch" or "image"')
    opening_px: Annotated[int, Field(strict=True, ge=0, le=100)] = Field(
        0, description="the radius of a disk in whole pixels, at most 100"
    )
    min_area_px: _Pixels = Field(0, description="a whole number of pixels")
    fill_holes: Annotated[bool, Field(strict=True)] = Field(False, description="true or false")
    connectivity: Literal["corners", "edges"] = Field(
        "corners", description='"corners" (8 neighbours) or "edges" (4 neighbours)'
    )
    max_image_pixels: Limit = 64_000_000

    def _bound(
        self, binding: AnnotationBinding, field: AnnotationField, numbers: Mapping[str, int]
    ) -> BoundAnnotation:
        """Return what makes the field, of classes with these numbers."""
        channels = binding.images[0].channels
        for number, rule in enumerate(self.rules):
            if rule.channel not in channels:
                raise RecipeError(
                    f'{binding.key}.rules[{number}].channel: found "{rule.channel}"; the channels '
                    f"are {', '.join(channels)}"
                )
        rules = ClassRules(
            rules=tuple(
                Rule(numbers[rule.of], channels.index(rule.channel), rule.lowest, rule.highest)
                for rule in self.rules
            ),
            opening_px=self.opening_px,
            fill_holes=self.fill_holes,
            min_area_px=self.min_area_px,
            corners_touch=self.connectivity == "corners",
        )
        made = ThresholdAnnotation(rules, of_image=self.scope == "image")
        if self.scope == "patch":
            return BoundAnnotation(field, [made] * len(binding.images))
        _check_steps(binding)
        return BoundAnnotation(field, self._where_it_fits(binding, made))

    def _where_it_fits(
        self, binding: AnnotationBinding, made: Annotation
    ) -> Sequence[Annotation | str]:
        """Return it for each image, or why that is too large to be held whole."""
        bound: list[Annotation | str] = []
        is_3d = binding.recipe.patches.is_3d
        for image in binding.images:
            size = image.source.kind.resolution.size[0 if is_3d else 1 :]
            text = (
                f"has {' x '.join(map(str, size))} pixels as it is cut, and {binding.key} with "
                f'scope = "image" holds at most {self.max_image_pixels} at once; write '
                f'scope = "patch", or a larger {binding.key}.max_image_pixels'
            )
            bound.append(made if math.prod(size) <= self.max_image_pixels else text)
        return bound


class MadeMaskRecipe(_MadeRecipe, MaskRecipe):
    """A table [masks.NAME] with from = "thresholds"."""

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Return what makes the mask of each image, see `AnnotationRecipe`."""
        numbers = {name: number for number, name in self.classes}
        return self._bound(binding, self.field(binding.name), numbers)

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        names = [name for number, name in self.classes if number]
        problems = []
        if len(names) == len(self.classes):
            text = 'has no class 0, which is that of pixels for which no rule holds; add 0 = "'
            problems.append(Problem("classes", f'{text}background"'))
        for number, rule in enumerate(self.rules):
            if rule.of not in names:
                found = show(rule.of) if "of" in rule.model_fields_set else "nothing"
                text = f"found {found}; write one of {', '.join(names)}"
                problems.append(Problem(f"rules[{number}].class", text))
        refuse(problems)
        return self


class MadeLabelsRecipe(_MadeRecipe, LabelsRecipe):
    """A table [labels.NAME] with from = "thresholds"."""

    def bind(self, binding: AnnotationBinding) -> BoundAnnotation:
        """Return what makes the label map of each image, see `AnnotationRecipe`."""
        names = dict.fromkeys(rule.of for rule in self.rules)
        numbers = {name: number for number, name in enumerate(names, start=1)}
        # A patch has few objects; an image may have more than 16 bits count.
        dtype = self.dtype or ("uint32" if self.scope == "image" else "uint16")
        return self._bound(binding, AnnotationField(binding.name, np.dtype(dtype)), numbers)


def _check_steps(binding: AnnotationBinding) -> None:
    """Refuse steps after which a pixel of a patch is no pixel of the whole image."""
    for number, step in enumerate(binding.recipe.steps):
        if getattr(step, "scope", None) == "patch" or step.output_size is not None:
            raise RecipeError(
                f'{binding.key}.scope: found "image", and steps[{number}], "{step.name}", does '
                'with each patch what it does not do with the whole image; write scope = "patch"'
            )

"""The recipe's tables [foreground] and [filters]: which candidates become patches, by pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .problems import Problem, refuse, show
from .sections import Section
from .values import Limit, Texts

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]

#: Methods that look for their threshold; the two last only where no value is given.
AUTOMATIC = ("otsu", "triangle", "li", "percentile", "local_std", "saturation")
METHODS = Literal[
    "otsu", "triangle", "li", "fixed", "percentile", "local_std", "saturation", "mask"
]
_METHODS_TEXT = (
    '"otsu", "triangle", "li", "fixed", "percentile", "local_std", "saturation" or "mask"'
)
_LENGTHS = ("radius", "closing")
_AREAS = ("min_area", "max_hole")


class ForegroundRecipe(Section):
    """How the foreground mask of an image is made, and how much of a patch must be foreground."""

    method: METHODS = Field(description=_METHODS_TEXT)
    channel: Texts = ()
    value: Number | None = Field(None, description="a threshold, such as 300")
    percentile: Annotated[float, Field(strict=True, ge=0, le=100)] | None = Field(
        None, description="a number from 0 to 100"
    )
    min_value: Number | None = Field(None, description="the least threshold, such as 120")
    max_value: Number | None = Field(None, description="the largest threshold, such as 4000")
    by: Texts = ()
    dark: Annotated[bool, Field(strict=True)] = Field(False, description="true or false")
    radius_px: Length | None = Field(None, description="pixels of level 0, such as 16")
    radius_um: Length | None = Field(None, description="micrometres, such as 5.0")
    closing_px: Length | None = Field(None, description="pixels of level 0, such as 8")
    closing_um: Length | None = Field(None, description="micrometres, such as 5.0")
    min_area_px: Length | None = Field(None, description="pixels of level 0, such as 400")
    min_area_um2: Length | None = Field(None, description="square micrometres, such as 50.0")
    max_hole_px: Length | None = Field(None, description="pixels of level 0, such as 400")
    max_hole_um2: Length | None = Field(None, description="square micrometres, such as 50.0")
    mask: str | None = Field(None, description='"masks.NAME" or "labels.NAME" of the recipe')
    classes: Texts = ()
    pixels: Limit = 1_000_000
    min_foreground_fraction: Share | None = Field(None, description="a number from 0 to 1")
    max_foreground_fraction: Share | None = Field(None, description="a number from 0 to 1")

    @property
    def is_automatic(self) -> bool:
        """Whether thresholds are looked for in the images."""
        return self.method in AUTOMATIC and self.value is None

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._check_method(), *self._check_threshold(), *self._check_lengths()]
        low, high = self.min_foreground_fraction, self.max_foreground_fraction
        if low is not None and high is not None and low > high:
            text = f"found {high} with min_foreground_fraction = {low}; write a larger one"
            problems.append(Problem("max_foreground_fraction", text))
        refuse(problems)
        return self

    def _check_method(self) -> Iterator[Problem]:
        needs = {
            "fixed": ("value", "value = 300"),
            "percentile": ("percentile", "percentile = 90"),
            "mask": ("mask", 'mask = "masks.tissue"'),
        }
        if self.method in needs:
            key, example = needs[self.method]
            if getattr(self, key) is None:
                yield Problem(key, f'method = "{self.method}" needs it; write {example}')
        has_radius = self.radius_px is not None or self.radius_um is not None
        if self.method == "local_std" and not has_radius:
            yield Problem("radius_px", 'method = "local_std" needs it; write radius_px = 16')
        takers = {
            "value": ("fixed", "local_std", "saturation"),
            "percentile": ("percentile",),
            "radius_px": ("local_std",),
            "radius_um": ("local_std",),
            "mask": ("mask",),
            "classes": ("mask",),
        }
        for key, methods in takers.items():
            if getattr(self, key) not in (None, ()) and self.method not in methods:
                listed = " or ".join(f'"{method}"' for method in methods)
                yield Problem(key, f'is for method = {listed}, and method is "{self.method}"')
        if self.method == "mask":
            for key in ("channel", "by", "dark"):
                if getattr(self, key):
                    yield Problem(key, 'says nothing of a given mask (method = "mask"); leave out')
            kind, _, name = (self.mask or "masks.x").partition(".")
            if kind not in ("masks", "labels") or not name:
                text = f'found {show(self.mask)}; write "masks.NAME" or "labels.NAME", one that '
                yield Problem("mask", text + "the recipe has a table of")
            elif self.classes and kind == "labels":
                yield Problem("classes", "a label map has objects, no classes; leave classes out")
        if len(set(self.channel)) < len(self.channel):
            yield Problem("channel", f"found {show(self.channel)}; write each name once")

    def _check_threshold(self) -> Iterator[Problem]:
        for key in ("min_value", "max_value", "by"):
            if getattr(self, key) not in (None, ()) and not self.is_automatic:
                text = "is for thresholds that are looked for; leave it out"
                if self.value is not None:
                    text = f"is for thresholds that are looked for, and value is {self.value:g}; "
                    text += "leave one out"
                yield Problem(key, text)
        low, high = self.min_value, self.max_value
        if low is not None and high is not None and low > high:
            yield Problem("max_value", f"found {high} with min_value = {low}; write a larger one")

    def _check_lengths(self) -> Iterator[Problem]:
        for names, unit in ((_LENGTHS, "um"), (_AREAS, "um2")):
            for name in names:
                px, um = f"{name}_px", f"{name}_{unit}"
                if getattr(self, px) is not None and getattr(self, um) is not None:
                    yield Problem(um, f"{px} and {um} say the same; write one of them")


class FilterRecipe(Section):
    """Which scores are kept."""

    channel: Texts = ()
    min: Number | None = Field(None, description="a number")
    max: Number | None = Field(None, description="a number")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min is None and self.max is None:
            refuse([Problem("min", "neither min nor max is there; write one, or leave the table")])
        if self.min is not None and self.max is not None and self.min > self.max:
            text = f"found {self.max} with min = {self.min}; write a larger one"
            refuse([Problem("max", text)])
        if len(set(self.channel)) < len(self.channel):
            refuse([Problem("channel", f"found {show(self.channel)}; write each name once")])
        return self


class FiltersRecipe(Section):
    """Scores of a patch's own raw pixels."""

    focus: FilterRecipe | None = Field(None, description="a table such as { min = 50 }")
    brightness: FilterRecipe | None = Field(None, description="a table such as { min = 120 }")
    saturation: FilterRecipe | None = Field(None, description="a table such as { min = 0.05 }")
    clipped: FilterRecipe | None = Field(None, description="a table such as { max = 0.01 }")

    def tables(self) -> dict[str, FilterRecipe]:
        """Return those that there are, by name, in a fixed order."""
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: table for name, table in every.items() if table is not None}

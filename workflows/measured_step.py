"""What the recipe's steps have in common that map channels by numbers measured of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.pixel_measures import Measure
from ..tasks.step import Step
from ..tasks.step_scale import Mapping, OfPatch, Unscaled
from .errors import RecipeError
from .patches_section import Switch
from .problems import Problem, refuse, show
from .sampling import EVERY, Sampling
from .step_recipe import Binding, Bound, StepRecipe
from .values import Texts

if TYPE_CHECKING:
    from .step_statistics import GroupNumbers

#: Regions of each image that statistics come from, where the recipe does not say.
REGIONS = 16
#: The split that statistics over several images come from, where the recipe does not say.
_TRAINING = ("train",)


def read_statistics(value: Any) -> int | Literal["all"]:
    """Read how many regions of each image are measured."""
    if value == EVERY:
        return "all"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError('write how many regions of each image, such as 16, or "all"')
    return value


class MeasuredRecipe(StepRecipe):
    """A step that needs numbers of the pixels that enter it: of a patch, an image, or many."""

    scope: Literal["patch", "image", "all"] | None = Field(
        None, description='"patch", "image" or "all"; or by = ["plate"] for groups'
    )
    by: Texts = ()
    where: str | None = Field(None, description="""a condition such as "role == 'control'" """[:-1])
    source: Texts = Field(
        _TRAINING, alias="from", description='"all", or names of splits, such as ["train"]'
    )
    foreground: Switch = Field(False, description="true or false")
    statistics: Annotated[int | Literal["all"], BeforeValidator(read_statistics)] = REGIONS

    @property
    def sampling(self) -> Sampling:
        """What is measured, unless it is of each patch."""
        return Sampling(
            scope="by" if self.by else self.scope or EVERY,
            by=self.by,
            where=self.where,
            source=self.source,
            foreground=self.foreground,
            regions=None if self.statistics == "all" else self.statistics,
        )

    @property
    def is_of_patch(self) -> bool:
        """Whether it measures each patch by itself."""
        return self.scope == "patch"

    def measure(self) -> Measure:
        """Return what is measured."""
        raise NotImplementedError

    def mapping(self, binding: Binding) -> Mapping:
        """Return what is done by the numbers that were measured."""
        raise NotImplementedError

    def halo_px(self, binding: Binding) -> int:
        """Return 0; asked for while the run is planned, so that what does not fit is said then."""
        self.mapping(binding)
        if self.scope == "patch" and binding.before_geometry:
            raise RecipeError(
                f'{binding.key}.scope: found "patch", and before planes are projected and pixels '
                'rescaled there is no patch; move the step behind name = "geometry"'
            )
        return 0

    def bind(self, binding: Binding) -> Bound:
        """Measure what enters the step, and return what is done to each image.

        Raises
        ------
        PatchmillError
            Where it does not fit the images, or nothing can be measured of them.
        """
        measure, mapping = self.measure(), self.mapping(binding)
        if self.scope == "patch":
            step = self.on_channels(OfPatch(measure, mapping), binding)
            return Bound([step] * len(binding.images), {"scope": "patch"})
        # Of the recipe, which this is a part of.
        from .step_statistics import gather_statistics

        channels = self.numbers(binding)
        found = gather_statistics(binding, self.sampling, channels, measure)
        steps: dict[int, Step] = {}
        for numbers in found:
            step = self._step(binding, mapping, numbers)
            steps.update(dict.fromkeys(numbers.group.images, step))
        record = self._record(binding, [binding.channels[n] for n in channels], found)
        return Bound([steps[number] for number in range(len(binding.images))], record)

    def bytes_measured(self, binding: Binding) -> int:
        """Return the bytes of pixels that `bind` reads, unless it knows them from an earlier run.

        Raises
        ------
        RecipeError
            Where a group has nothing to measure.
        """
        from .step_statistics import bytes_measured

        return 0 if self.scope == "patch" else bytes_measured(binding, self.sampling)

    def _step(self, binding: Binding, mapping: Mapping, numbers: GroupNumbers) -> Step:
        if numbers.values is not None:
            return self.on_channels(mapping.bound(numbers.values), binding)
        group = numbers.group
        if self.scope == "image":
            # An image may have no patches; where it has, this is its fault.
            image = group.images[0]
            reason = dict(numbers.failed).get(image) or self._nothing()
            return Unscaled(f"{binding.images[image].id}: {reason}")
        named = ", ".join(f"{name} = {value}" for name, value in group.values.items())
        reason = numbers.failed[0][1] if numbers.failed else self._nothing()
        raise RecipeError(
            f"{binding.key}: nothing can be measured of the {len(group.measured)} images "
            f"{f'with {named} ' if named else ''}that statistics come from: {reason}"
        )

    def _nothing(self) -> str:
        what = "regions that may be measured hold no pixel"
        if self.foreground:
            return f"the {what} of foreground; check [foreground], or leave foreground out"
        return (
            f"the {what} that is a number, or no region lies in blocks of {show(self.source)} "
            'alone; write statistics = "all", or from = "all"'
        )

    def _record(
        self, binding: Binding, channels: Sequence[str], found: Sequence[GroupNumbers]
    ) -> dict[str, Any]:
        """Return where the numbers are from, and what they are, as JSON values."""
        sampling, names = self.sampling, self.measure().names
        record: dict[str, Any] = {
            "scope": sampling.scope,
            "statistics": self.statistics,
            "channels": list(channels),
        }
        if sampling.scope != "image" or binding.blocks is not None:
            record["from"] = list(self.source)
        if sampling.by:
            record["by"] = list(sampling.by)
        if sampling.where is not None:
            record["where"] = sampling.where
        if sampling.foreground:
            record["foreground"] = True
        if left_out := sorted({i for numbers in found for i, _ in numbers.failed}):
            record["left_out"] = [binding.images[image].id for image in left_out]
        if sampling.scope != "image":
            return record | {"groups": [_described(numbers, names) for numbers in found]}
        # A number of each of perhaps 100,000 images is in its pixels; here stands their range.
        values = [numbers.values for numbers in found if numbers.values is not None]
        record["images"] = len(values)
        if values:
            record["least"] = _named(np.min(values, axis=0), names)
            record["most"] = _named(np.max(values, axis=0), names)
        errors = [numbers.error for numbers in found if numbers.error is not None]
        if errors:
            record["sampling_error"] = _named(np.max(errors, axis=0), names)
        return record

    @model_validator(mode="after")
    def _check_scope(self) -> Self:
        problems = []
        if self.by and self.scope is not None:
            text = f"makes groups, and scope = {show(self.scope)} says otherwise; leave one out"
            problems.append(Problem("by", text))
        if EVERY in self.source and len(self.source) > 1:
            problems.append(Problem("from", f'found {show(self.source)}; write "all" alone'))
        if not self.source:
            problems.append(Problem("from", 'is empty; write "train", or leave it out'))
        if self.scope in ("patch", "image") and self.where is not None:
            text = f"names images for statistics of many, and scope is {show(self.scope)}"
            problems.append(Problem("where", f"{text}; leave it out"))
        if self.scope == "patch":
            if self.source != _TRAINING:
                text = f"found {show(self.source)}, and each patch is measured by itself"
                problems.append(Problem("from", f"{text}; leave it out"))
            if self.statistics != REGIONS:
                text = f"found {show(self.statistics)}, and each patch is measured whole"
                problems.append(Problem("statistics", f"{text}; leave it out"))
            if self.foreground:
                text = 'needs statistics of images; write scope = "image", or leave it out'
                problems.append(Problem("foreground", text))
        refuse(problems)
        return self


def _described(numbers: GroupNumbers, names: Sequence[str]) -> dict[str, Any]:
    assert numbers.values is not None
    return {
        "of": dict(numbers.group.values),
        "images": len(numbers.group.measured) - len(numbers.failed),
        "regions": numbers.regions,
        "of_regions": numbers.of,
        "pixels": list(numbers.pixels),
        **_named(numbers.values, names),
        "sampling_error": None if numbers.error is None else _named(numbers.error, names),
    }


def _named(values: NDArray[np.float64], names: Sequence[str]) -> dict[str, list[float]]:
    """Return a list of one number per channel for each name."""
    return dict(zip(names, values.T.tolist(), strict=True))

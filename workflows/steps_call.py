"""The step of a recipe that calls a function of the user's own, tried before the run starts."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ..tasks.call_check import CallCheck, CallChecked, check_call
from ..tasks.source import SourceError
from ..tasks.step_call import Call, CallToSize
from .errors import RecipeError
from .problems import Problem, refuse
from .regions import draw_regions
from .resized import check_resized
from .sampling import EVERY, Sampling
from .step_recipe import Binding, Bound, StepRecipe
from .values import Dtype, Pair, Reader, items
from .window import result_of, run_windowed

#: One region of an image, wherever it lies.
_ONE = Sampling(EVERY, by=(), where=None, source=(EVERY,), foreground=False, regions=1)


def read_options(value: Any) -> dict[str, Any]:
    """Read a table of keyword arguments."""
    options = items(value, "{ radius = 3 }")
    for key, option in options.items():
        if not key.isidentifier():
            raise ValueError(f'"{key}" is no name of an argument; write it as the function does')
        try:
            json.dumps(option, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                f"{key} is neither text, number, true or false, nor a list or table of these"
            ) from None
    return options


class CallRecipe(StepRecipe):
    """A function `f(pixels, **options)` of the user's own."""

    name: Literal["call"] = "call"
    call: Reader
    options: Annotated[dict[str, Any], BeforeValidator(read_options)] = Field({})
    dtype: Dtype = "float32"
    scope: Literal["local", "patch"] | None = Field(None, description='"local" or "patch"')
    halo: Annotated[int, Field(strict=True, ge=0, le=4096)] = Field(
        0, alias="halo_px", description="a whole number of pixels from 0 to 4096, such as 3"
    )
    made_size: Pair | None = Field(None, alias="output_size")

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(y, x) of what it makes of a window, where that is another size."""
        return self.made_size

    @property
    def is_of_patch(self) -> bool:
        """True: it gets the window of each patch by itself, see `Call`."""
        return True

    def held_bytes(self, binding: Binding) -> int:
        """Return what a function may take that makes two copies of a window in float64."""
        z, y, x = binding.patch.stored_size
        pixels = len(self.numbers(binding)) * z * (y + 2 * self.halo) * (x + 2 * self.halo)
        return 2 * np.dtype(np.float64).itemsize * pixels

    @property
    def is_local(self) -> bool:
        """Whether only pixels within the halo decide about one."""
        return self.made_size is None and self.scope != "patch"

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if not self.is_local and self.halo:
            text = "is for a function of the pixels around each, and this one is of a whole window"
            problems.append(Problem("halo_px", f"{text}; leave it out"))
        if self.made_size is not None and self.scope == "local":
            text = 'found "local", and output_size makes a picture of a whole window'
            problems.append(Problem("scope", f"{text}; leave one out"))
        refuse(problems)
        return self

    def halo_px(self, binding: Binding) -> int:
        """Return how many pixels around each in y and x decide its value.

        Raises
        ------
        RecipeError
            Where it is of a window and there is none yet, or something after it needs the places
            of pixels that it has moved.
        """
        if self.made_size is not None:
            check_resized(self, binding)
        elif not self.is_local and binding.before_geometry:
            raise RecipeError(
                f'{binding.key}.scope: found "patch", and before planes are projected and pixels '
                'rescaled there is no patch; move the step behind name = "geometry"'
            )
        return self.halo

    def bind(self, binding: Binding) -> Bound:
        """Try the function on a worker, and return the step.

        Raises
        ------
        RecipeError
            Where the function cannot be called, or does not do what it must.
        SourceError
            Where no image can be read that it could be tried on.
        """
        sha256 = self._checked_sha256(binding)
        step = self.on_channels(replace(self._step(), sha256=sha256), binding)
        record = {"call": self.call, "sha256": sha256}
        return Bound([step] * len(binding.images), record)

    def _step(self) -> Call:
        options = tuple(self.options.items())
        if self.made_size is not None:
            return CallToSize(self.call, options, self.dtype, "", 0, self.made_size)
        return Call(self.call, options, self.dtype, "", self.halo)

    def _checked_sha256(self, binding: Binding) -> str:
        """Try the function on a region of the first image that can be read.

        Once for a run: shards are cut by the function whose file has this sha256, or not at all.
        """
        step = self._step()
        skips = binding.recipe.images.on_error == "skip"
        numbers = self.numbers(binding)
        with binding.connect() as client:
            failed: SourceError | None = None
            for image in range(len(binding.images)):
                regions = draw_regions(binding, _ONE, image)
                check = CallCheck(
                    step=step,
                    is_local=self.is_local,
                    source=regions.source,
                    options=binding.recipe.images.options,
                    patch=regions.patch,
                    corners=regions.corners[:1],
                    channels=numbers,
                )
                tasks = run_windowed(client, "call", check_call, deque([check]), lambda c: (c,))
                ((_, future),) = tasks
                try:
                    checked: CallChecked = result_of(future, f"{binding.key}: {self.call}")
                except SourceError as error:
                    named = f"{binding.images[image].id}: {error.text}"
                    failed = SourceError(named, image, error.detail)
                    if not skips:
                        break
                    continue
                if checked.fault:
                    raise RecipeError(f"{binding.key}.{checked.fault}")
                return checked.sha256
        assert failed is not None  # there is at least one image
        raise failed

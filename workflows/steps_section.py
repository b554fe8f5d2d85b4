"""The recipe's tables [[steps]]: which there are, each with its name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from .problems import Problem, refuse, show, translate
from .step_recipe import StepRecipe
from .steps_background import (
    ConstantBackgroundRecipe,
    OpeningBackgroundRecipe,
    RollingBallRecipe,
)
from .steps_call import CallRecipe
from .steps_content import CropToContentRecipe
from .steps_filters import GaussianRecipe, HotPixelsRecipe, InvertRecipe, MedianRecipe
from .steps_illumination import IlluminationRecipe
from .steps_intensity import (
    ClipRecipe,
    GammaRecipe,
    LogRecipe,
    MaxRecipe,
    MinMaxRecipe,
    PercentileBackgroundRecipe,
    PercentileRecipe,
    ZScoreRecipe,
)
from .steps_stain import StainRecipe


class GeometryRecipe(StepRecipe):
    """Where planes are projected and pixels rescaled, as [patches] says."""

    name: Literal["geometry"]


#: Every step there is. Several of one name differ in their `method`.
STEPS: tuple[type[StepRecipe], ...] = (
    GeometryRecipe,
    IlluminationRecipe,
    HotPixelsRecipe,
    MedianRecipe,
    GaussianRecipe,
    InvertRecipe,
    ConstantBackgroundRecipe,
    OpeningBackgroundRecipe,
    RollingBallRecipe,
    PercentileBackgroundRecipe,
    PercentileRecipe,
    MinMaxRecipe,
    MaxRecipe,
    ZScoreRecipe,
    GammaRecipe,
    ClipRecipe,
    LogRecipe,
    StainRecipe,
    CropToContentRecipe,
    CallRecipe,
)


def read_steps(value: Any) -> tuple[StepRecipe, ...]:
    """Read a list of tables, each by the name in it.

    Raises
    ------
    ProblemsError
        With everything that is wrong, by step and key.
    """
    if not isinstance(value, list | tuple):
        raise ValueError('write tables [[steps]], each with a name, such as name = "gaussian"')
    steps: list[StepRecipe] = []
    problems: list[Problem] = []
    for number, table in enumerate(value):
        if isinstance(table, StepRecipe):
            steps.append(table)
            continue
        key = f"[{number}]"
        kind = _kind(table)
        if isinstance(kind, str):
            problems.append(Problem(key, kind))
            continue
        try:
            steps.append(kind.model_validate(table))
        except ValidationError as error:
            found = translate(error, kind, table)
            problems += [Problem(f"{key}.{p.key}" if p.key else key, p.text) for p in found]
    marks = [number for number, step in enumerate(steps) if isinstance(step, GeometryRecipe)]
    problems += [
        Problem(f"[{number}]", "geometry stands twice; leave one out") for number in marks[1:]
    ]
    refuse(problems)
    return tuple(steps)


def _kind(table: Any) -> type[StepRecipe] | str:
    """Return which step a table is, or what to write."""
    if not isinstance(table, Mapping):
        return f"found {show(table)}; write a table [[steps]] with a name"
    # call = "package.module:function" says it all.
    name = table.get("name", "call" if "call" in table else None)
    kinds = [kind for kind in STEPS if name in _words(kind, "name")]
    if not kinds:
        return _unknown("name", table, STEPS)
    if len(kinds) == 1:
        return kinds[0]
    for kind in kinds:
        if table.get("method") in _words(kind, "method"):
            return kind
    return _unknown("method", table, kinds)


def _words(kind: type[StepRecipe], key: str) -> tuple[Any, ...]:
    """Return what the key of a step may be."""
    return get_args(kind.model_fields[key].annotation)


def _unknown(key: str, table: Mapping[str, Any], kinds: Sequence[type[StepRecipe]]) -> str:
    words = list(dict.fromkeys(word for kind in kinds for word in _words(kind, key)))
    found = f"found {key} = {show(table[key])}" if key in table else f"{key} is missing"
    near = difflib.get_close_matches(str(table.get(key)), words, n=1)
    hint = f"; {near[0]}?" if near else ""
    return f"{found}; write one of {', '.join(words)}{hint}"


def step_keys() -> Iterator[str]:
    """Yield every key of every step, as "NAME.KEY"."""
    for kind in STEPS:
        for name in _words(kind, "name"):
            for key, field in kind.model_fields.items():
                if key not in StepRecipe.model_fields:
                    yield f"{name}.{field.alias or key}"


Steps = Annotated[tuple[SerializeAsAny[StepRecipe], ...], BeforeValidator(read_steps)]

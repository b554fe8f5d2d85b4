"""What is wrong with a recipe, in its own keys: pydantic's errors become sentences here."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


class Problem(NamedTuple):
    """One thing to mend: the key, dotted and relative to where it is raised, and a sentence."""

    key: str
    text: str


class ProblemsError(ValueError):
    """Raised by a model's validator to report several problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.key}: {p.text}" for p in problems))
        self.problems = tuple(problems)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise the problems, if there are any."""
    if problems:
        raise ProblemsError(problems)


def describe(problems: Sequence[Problem], name: str) -> str:
    """Return the text of an error: one line for one problem, else a line each."""
    lines = [f"{p.key}: {p.text}" if p.key else p.text for p in problems]
    if len(lines) == 1:
        return f"{name}: {lines[0]}"
    return "\n  ".join([f"{name} has {len(lines)} problems:", *lines])


def show(value: Any) -> str:
    """Return a value as it could stand in a recipe, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def translate(error: ValidationError, model: type[BaseModel], data: Any) -> list[Problem]:
    """Return pydantic's errors as problems, one per key.

    Parameters
    ----------
    error
        From the validation of `data` by `model`.
    model
        The model at the top.
    data
        What was validated, to quote from.
    """
    found: dict[str, Problem] = {}
    for item in error.errors(include_url=False):
        path, wanted = _locate(item["loc"], model)
        key = ".".join(path)
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ProblemsError):
            for problem in cause.problems:
                full = ".".join([*path, problem.key]).replace(".[", "[")
                found.setdefault(full, Problem(full, problem.text))
            continue
        if item["type"] == "extra_forbidden":
            text = f"unknown key; {_suggest(path, model)}"
        elif item["type"] == "missing":
            text = f"is missing; write {wanted}"
        elif not _is_given(path, data):
            continue  # a default that was taken from a key that is itself wrong
        elif item["type"] == "value_error":
            text = f"{_found(path, data)}{cause}"
        else:
            text = f"{_found(path, data)}write {wanted}"
        found.setdefault(key, Problem(key, text))
    return list(found.values())


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key that a model takes, sections included."""
    for name, (annotation, _) in _fields(model).items():
        yield prefix + name
        if section := _section(annotation):
            yield from known_keys(section, f"{prefix}{name}.")


def _fields(model: type[BaseModel]) -> dict[str, tuple[Any, str]]:
    """Return the keys of a model as recipes write them, with annotation and description."""
    return {
        field.alias or name: (field.annotation, field.description or "another value")
        for name, field in model.model_fields.items()
    }


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model behind `Model` or `Model | None`."""
    options = (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _locate(loc: Sequence[int | str], model: type[BaseModel]) -> tuple[list[str], str]:
    """Return the key at pydantic's location, no deeper than a field, and what it wants."""
    path: list[str] = []
    wanted = "a table"
    section: type[BaseModel] | None = model
    for part in loc:
        if section is None:
            break
        path.append(str(part))
        annotation, wanted = _fields(section).get(str(part), (None, ""))
        section = _section(annotation)
    return path, wanted


def _found(path: Sequence[str], data: Any) -> str:
    # Among the options of an object store there may be keys to it.
    return "" if path[-1] == "storage" else f"found {show(_look_up(path, data))}; "


def _look_up(path: Sequence[str], data: Any) -> Any:
    for part in path:
        data = data[part]
    return data


def _is_given(path: Sequence[str], data: Any) -> bool:
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True


def _suggest(path: Sequence[str], model: type[BaseModel]) -> str:
    """Return which key was meant, looked for in the same section first, then in all."""
    siblings: type[BaseModel] | None = model
    for part in path[:-1]:
        siblings = _section(_fields(siblings)[part][0]) if siblings else None
    names = list(_fields(siblings or model))
    prefix = [*path[:-1]]
    if near := difflib.get_close_matches(path[-1], names, n=1, cutoff=0.7):
        return f"did you mean {'.'.join([*prefix, near[0]])}?"
    everywhere = {key.split(".")[-1]: key for key in known_keys(model)}
    if near := difflib.get_close_matches(path[-1], list(everywhere), n=1, cutoff=0.75):
        return f"did you mean {everywhere[near[0]]}?"
    where = f"[{'.'.join(prefix)}]" if prefix else "a recipe"
    return f"{where} takes {', '.join(names)}"

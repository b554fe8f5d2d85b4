"""The recipe's tables [masks.NAME] and [labels.NAME]: which kinds there are, by `from`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from .annotation_recipe import AnnotationRecipe
from .annotations_files import LabelFilesRecipe, MaskFilesRecipe
from .annotations_geojson import GeoJsonLabelsRecipe, GeoJsonMaskRecipe
from .annotations_made import MadeLabelsRecipe, MadeMaskRecipe
from .problems import Problem, refuse, show, translate
from .values import name_fault

#: What `from` may be, "files" where it is left out.
MASKS: dict[str, type[AnnotationRecipe]] = {
    "files": MaskFilesRecipe,
    "thresholds": MadeMaskRecipe,
    "geojson": GeoJsonMaskRecipe,
}
LABELS: dict[str, type[AnnotationRecipe]] = {
    "files": LabelFilesRecipe,
    "thresholds": MadeLabelsRecipe,
    "geojson": GeoJsonLabelsRecipe,
}


def _reader(
    table: str, kinds: Mapping[str, type[AnnotationRecipe]]
) -> Callable[[Any], dict[str, AnnotationRecipe]]:
    """Return what reads all tables [masks.NAME], or all [labels.NAME]."""

    def read(value: Any) -> dict[str, AnnotationRecipe]:
        if not isinstance(value, Mapping):
            raise ValueError(f"write tables [{table}.NAME], each with a name of yours")
        problems = []
        found: dict[str, AnnotationRecipe] = {}
        for name, own in value.items():
            if fault := _name_fault(name, found):
                problems.append(Problem(name or '""', f"the name {fault}; write another"))
            elif isinstance(own, AnnotationRecipe):
                found[name] = own
            elif not isinstance(own, Mapping):
                text = f"found {show(own)}; write a table [{table}.{name}]"
                problems.append(Problem(name, text))
            elif (kind := kinds.get(str(own.get("from", "files")))) is None:
                near = difflib.get_close_matches(str(own["from"]), kinds, n=1)
                words = ", ".join(f'"{word}"' for word in kinds)
                text = f"found {show(own['from'])}; write one of {words}"
                text += f"; {near[0]}?" if near else ""
                problems.append(Problem(f"{name}.from", text))
            else:
                try:
                    found[name] = kind.model_validate(own)
                except ValidationError as error:
                    wrong = translate(error, kind, own)
                    problems += [Problem(f"{name}.{p.key}".rstrip("."), p.text) for p in wrong]
        refuse(problems)
        return found

    return read


def _name_fault(name: str, others: Mapping[str, object]) -> str | None:
    """Return why a name cannot be that of a field, a folder of the store; or None."""
    if fault := name_fault(name):
        return fault
    if name.startswith("__") or name.casefold() == "zarr.json":
        return "is one that zarr keeps for itself"
    if name.casefold() in (other.casefold() for other in others):
        return "is that of another table, but for its case"
    return None


def annotation_keys() -> Iterator[str]:
    """Yield every key of every kind, as "masks.KIND.KEY"."""
    for table, kinds in (("masks", MASKS), ("labels", LABELS)):
        for name, kind in kinds.items():
            for key, field in kind.model_fields.items():
                yield f"{table}.{name}.{field.alias or key}"


Masks = Annotated[
    dict[str, SerializeAsAny[AnnotationRecipe]], BeforeValidator(_reader("masks", MASKS))
]
Labels = Annotated[
    dict[str, SerializeAsAny[AnnotationRecipe]], BeforeValidator(_reader("labels", LABELS))
]

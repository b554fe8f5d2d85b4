"""The recipe's tables [classes.NAME]: a class for each patch, from its mask or from a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from .problems import Problem, refuse, show, translate
from .sections import Section
from .values import Texts, name_fault

#: Columns that every store's index has.
INDEX_COLUMNS = ("image", "t", "z", "y", "x", "level", "split", "valid", "foreground", "background")


class ClassRecipe(Section):
    """One table [classes.NAME]; its key `from` says which kind."""

    order: Texts = ()

    @property
    def of_images(self) -> str | None:
        """The column of the images that it is made of; None where it is made of pixels."""
        return None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if len(set(self.order)) < len(self.order):
            refuse([Problem("order", f"found {show(list(self.order))}; write each class once")])
        return self


class MaskClassRecipe(ClassRecipe):
    """What a patch's own pixels are, by its mask."""

    source: Literal["mask"] = Field(alias="from")
    mask: str = Field(description="the NAME of a table [masks.NAME]")
    rule: Literal["majority", "centre", "presence"] = Field(
        "majority", description='"majority", "centre" or "presence"'
    )
    min_fraction: Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        None, description="a share of the patch above 0, such as 0.01"
    )

    @model_validator(mode="after")
    def _check_rule(self) -> Self:
        problems = []
        if self.rule == "presence" and self.min_fraction is None:
            # Any pixel at all would do for a speck of dust.
            text = 'is missing; rule = "presence" needs a share of the patch, such as 0.01'
            problems.append(Problem("min_fraction", text))
        for key in ("min_fraction", "order"):
            if self.rule != "presence" and getattr(self, key):
                text = f'is for rule = "presence", and the rule is "{self.rule}"; leave it out'
                problems.append(Problem(key, text))
        refuse(problems)
        return self


class ColumnClassRecipe(ClassRecipe):
    """What a column of the images says."""

    source: Literal["column"] = Field(alias="from")
    column: str = Field(description="the name of a column of the images")

    @property
    def of_images(self) -> str:
        """The column of the images that it is made of."""
        return self.column


AnyClass = MaskClassRecipe | ColumnClassRecipe
_KINDS: dict[str, type[AnyClass]] = {"mask": MaskClassRecipe, "column": ColumnClassRecipe}


def read_class_tables(value: Any) -> dict[str, AnyClass]:
    """Read all tables [classes.NAME].

    Raises
    ------
    ProblemsError
        With everything that is wrong, by name and key.
    """
    if not isinstance(value, Mapping):
        raise ValueError("write tables [classes.NAME], each with a name of yours")
    problems: list[Problem] = []
    found: dict[str, AnyClass] = {}
    for name, own in value.items():
        fault = name_fault(name)
        if name in INDEX_COLUMNS:
            fault = "is that of another column of index/"
        if fault:
            problems.append(Problem(name or '""', f"the name {fault}; write another"))
        elif isinstance(own, AnyClass):
            found[name] = own
        elif not isinstance(own, Mapping) or own.get("from") not in _KINDS:
            at = f"{name}.from" if isinstance(own, Mapping) else name
            own = own.get("from") if isinstance(own, Mapping) else own
            problems.append(Problem(at, f'found {show(own)}; write from = "mask" or "column"'))
        else:
            kind = _KINDS[own["from"]]
            try:
                found[name] = kind.model_validate(own)
            except ValidationError as error:
                wrong = translate(error, kind, own)
                problems += [Problem(f"{name}.{p.key}", p.text) for p in wrong]
    refuse(problems)
    return found


def class_keys() -> Iterator[str]:
    """Yield every key of every kind, as "classes.KIND.KEY"."""
    for name, kind in _KINDS.items():
        for key, field in kind.model_fields.items():
            yield f"classes.{name}.{field.alias or key}"


ClassTables = Annotated[dict[str, AnyClass], BeforeValidator(read_class_tables)]

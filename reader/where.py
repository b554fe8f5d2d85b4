"""Conditions on columns: an expression in Python's syntax, evaluated with NumPy and never run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lookup import Lookup

_ALLOWED = (
    "write names of columns, numbers, texts, True and False, with comparisons (chained ones too), "
    "in and not in with a tuple, and, or, not, + - * / // % and parentheses; "
    'column("a name") is for names that are none in Python'
)
#: Characters of an expression that an error quotes.
_MOST_SHOWN = 200
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class _Refused(Exception):
    """Says what is wrong with an expression."""


class _Value(NamedTuple):
    """A constant (`values` is a scalar), or a column, perhaps as a table with codes."""

    kind: str  # "condition", "number" or "text"
    values: Any
    is_constant: bool = False
    codes: NDArray[Any] | None = None

    @property
    def entries(self) -> Any:
        return self.values if self.codes is None else self.values[self.codes]


def holds(expression: str, columns: Lookup) -> NDArray[np.bool_]:
    """Return for each position whether a condition holds.

    What concerns an image or an enumeration alone is computed once per image or name, not once
    per position.

    Parameters
    ----------
    expression
        In Python's syntax, such as `well in ("A01", "A02") and mean_DAPI > 200`.
    columns
        What its names stand for.

    Returns
    -------
    kept
        bool, shape (n,).

    Raises
    ------
    ValueError
        For what is no such condition, or has names that are no columns.
    """
    if not isinstance(expression, str):
        raise ValueError(f"where is {expression!r}; give a condition as text; {_ALLOWED}")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        with np.errstate(all="ignore"):
            value = _evaluate(tree, columns)
        if value.kind != "condition":
            raise _Refused(f"it is a {value.kind}, not a condition")
    except SyntaxError as error:
        raise _error(expression, f"it is not Python ({error.msg})") from None
    except (RecursionError, MemoryError):
        raise _error(expression, "it is nested too deeply") from None
    except (_Refused, ArithmeticError, TypeError, ValueError) as error:
        raise _error(expression, str(error)) from None
    kept = np.empty(len(columns), bool)
    kept[:] = value.entries
    return kept


def _error(expression: str, fault: str) -> ValueError:
    shown = expression if len(expression) < _MOST_SHOWN else f"{expression[:_MOST_SHOWN]}…"
    return ValueError(f"where={shown!r}: {fault}; {_ALLOWED}")


def _evaluate(node: ast.expr, columns: Lookup) -> _Value:
    match node:
        case ast.Constant(value=bool(constant)):
            return _Value("condition", constant, is_constant=True)
        case ast.Constant(value=int(constant) | float(constant)):
            return _Value("number", constant, is_constant=True)
        case ast.Constant(value=str(constant)):
            return _Value("text", constant, is_constant=True)
        case ast.Name(id=name):
            return _column(name, columns)
        case ast.Call(func=ast.Name("column"), args=[ast.Constant(value=str(name))], keywords=[]):
            return _column(name, columns)
        case ast.BoolOp(op=op, values=nodes):
            parts = [_condition(part, columns) for part in nodes]
            both = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return reduce(lambda a, b: _combined("condition", both, a, b), parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value = _condition(operand, columns)
            return value._replace(values=np.logical_not(value.values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _number(operand, columns)
            return value._replace(values=-value.values)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _number(operand, columns)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _calculated(op, _number(left, columns), _number(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(left, ops, others, columns)
    raise _Refused(f"it has {ast.unparse(node)!r}, which is not allowed")


def _column(name: str, columns: Lookup) -> _Value:
    table, codes = columns[name]
    if table.ndim != 1:
        raise _Refused(f"the column {name!r} has entries of shape {table.shape[1:]}")
    kind = table.dtype.kind
    if kind == "b":
        return _Value("condition", table, codes=codes)
    if kind == "O":
        return _Value("text", table, codes=codes)
    if kind not in "iuf":
        raise _Refused(f"the column {name!r} is {table.dtype}, neither numbers nor text")
    # Wide, so that arithmetic does not run over: level - 1 in uint8 would be 255.
    if kind == "f" or (table.dtype == np.uint64 and table.size and table.max() > 2**63 - 1):
        return _Value("number", table.astype(np.float64, copy=False), codes=codes)
    return _Value("number", table.astype(np.int64, copy=False), codes=codes)


def _condition(node: ast.expr, columns: Lookup) -> _Value:
    value = _evaluate(node, columns)
    if value.kind != "condition":
        raise _Refused(f"{ast.unparse(node)!r} is a {value.kind}, not a condition")
    return value


def _number(node: ast.expr, columns: Lookup) -> _Value:
    value = _evaluate(node, columns)
    if value.kind != "number":
        raise _Refused(f"{ast.unparse(node)!r} is a {value.kind}, and arithmetic is for numbers")
    return value


def _calculated(op: ast.operator, one: _Value, two: _Value) -> _Value:
    # NumPy's result of an integer divided by zero is 0, which would pass for a value.
    if isinstance(op, ast.FloorDiv | ast.Mod) and not np.all(two.values):
        raise _Refused(f"{'//' if isinstance(op, ast.FloorDiv) else '%'} divides by zero")
    return _combined("number", _ARITHMETIC[type(op)], one, two)


def _compared(
    left: ast.expr, ops: Sequence[ast.cmpop], others: Sequence[ast.expr], columns: Lookup
) -> _Value:
    parts = []
    one = _evaluate(left, columns)
    for op, other in zip(ops, others, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            if len(ops) > 1:
                raise _Refused("in and not in are not chained; use and")
            is_in = _is_in(one, left, other, columns)
            if isinstance(op, ast.NotIn):
                is_in = is_in._replace(values=np.logical_not(is_in.values))
            return is_in
        if type(op) not in _COMPARISONS:
            raise _Refused("is and is not compare objects; use == or !=")
        two = _evaluate(other, columns)
        _check_alike(one, left, two, other)
        parts.append(_combined("condition", _COMPARISONS[type(op)], one, two))
        left, one = other, two
    return reduce(lambda a, b: _combined("condition", np.logical_and, a, b), parts)


def _is_in(one: _Value, left: ast.expr, right: ast.expr, columns: Lookup) -> _Value:
    if not isinstance(right, ast.Tuple | ast.List | ast.Set):
        raise _Refused(f'after in stands {ast.unparse(right)!r}; write a tuple: ("A01", "A02")')
    wanted = [_evaluate(element, columns) for element in right.elts]
    for value, element in zip(wanted, right.elts, strict=True):
        if not value.is_constant:
            raise _Refused(f"the tuple has {ast.unparse(element)!r}, which is not constant")
        _check_alike(one, left, value, element)
    constants = [value.values for value in wanted]
    if one.kind == "text" and not one.is_constant:
        among = set(constants)
        found = np.fromiter((text in among for text in one.values), bool, len(one.values))
        return one._replace(kind="condition", values=found)
    return one._replace(kind="condition", values=np.isin(one.values, constants))


def _check_alike(one: _Value, left: ast.expr, two: _Value, right: ast.expr) -> None:
    if (one.kind == "text") != (two.kind == "text"):
        raise _Refused(
            f"{ast.unparse(left)!r} is a {one.kind} and {ast.unparse(right)!r} a {two.kind}, "
            "which are never equal; texts stand in quotes"
        )


def _combined(kind: str, function: Callable[[Any, Any], Any], one: _Value, two: _Value) -> _Value:
    """Apply a function to two values: on their tables, where they have the same codes."""
    is_constant = one.is_constant and two.is_constant
    if one.is_constant or two.is_constant:
        codes = two.codes if one.is_constant else one.codes
        return _Value(kind, function(one.values, two.values), is_constant, codes)
    if one.codes is two.codes:
        return _Value(kind, function(one.values, two.values), codes=one.codes)
    return _Value(kind, function(one.entries, two.entries))

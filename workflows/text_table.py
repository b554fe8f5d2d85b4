"""Reads a table of texts: a CSV as spreadsheets write it, or a parquet file."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from .errors import RecipeError
from .globs import few
from .natural import natural_key
from .problems import Problem, describe

_DELIMITERS = ",;\t"
#: How pandas calls an index that it writes into a parquet file.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table whose cells are texts without blanks around them.

    Attributes
    ----------
    names
        Of the columns, each once.
    rows
        The cells of each row, in the order of the columns.
    places
        Where each row stands: "line 7" of a CSV, "row 7" of a parquet file.
    """

    path: Path
    names: tuple[str, ...]
    rows: list[tuple[str, ...]]
    places: list[str]


def read_table(path: Path, key: str) -> TextTable:
    """Read a table.

    Parameters
    ----------
    path
        Of a parquet file where its name ends in .parquet, else of a CSV: UTF-8, with a header,
        separated by commas, semicolons or tabs.
    key
        Of the recipe, for errors.

    Raises
    ------
    RecipeError
        When the file is absent, is no such table, or has no rows.
    """
    name = f"{key}: {path}"
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "is not there"
        raise RecipeError(f"{name} {what}; write the path of a table, relative to the recipe")
    table = _read_parquet(path, name) if path.suffix.lower() == ".parquet" else _read(path, name)
    _check_names(table, name)
    if not table.rows:
        raise RecipeError(f"{name} has the columns {', '.join(table.names)} and no rows; add some")
    return table


def delimiter_of(text: str) -> str:
    """Return what separates the columns of a CSV: that which makes most of the first line.

    Examples
    --------
    >>> delimiter_of("image;note, if any;label"), delimiter_of("image")
    (';', ',')
    """

    def columns(delimiter: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=columns)


def _read(path: Path, name: str) -> TextTable:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{name} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write a byte order mark
        at = text.find("\0")
        line = text.count("\n", 0, at) + 1 if at >= 0 else 0
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    if line:
        raise RecipeError(
            f"{name} is not UTF-8 text, see line {line}; save it as UTF-8 (in a spreadsheet: "
            '"CSV UTF-8")'
        )
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    read: list[tuple[int, list[str]]] = []
    first = 1
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                read.append((first, [cell.strip() for cell in cells]))
            first = lines.line_num + 1
    except csv.Error as error:
        raise RecipeError(
            f"{name} is not a CSV: what begins in line {first} cannot be taken apart ({error}); "
            "look for quotes that are not closed"
        ) from None
    if not read:
        raise RecipeError(f"{name} is empty; write a header, and a line for each row")
    # Spreadsheets pad lines with empty cells where another column once stood.
    names = _without_empty_end(read[0][1], 0)
    rows = [_without_empty_end(cells, len(names)) for _, cells in read[1:]]
    places = [f"line {line}" for line, _ in read[1:]]
    ragged = [
        f"{place} has {len(cells)}"
        for place, cells in zip(places, rows, strict=True)
        if len(cells) != len(names)
    ]
    if ragged:
        raise RecipeError(
            f"{name}: the header has {len(names)} columns, {few(ragged, len(ragged))}; write as "
            "many cells in each line, and those with a separator in them in quotes"
        )
    return TextTable(path, tuple(names), [tuple(cells) for cells in rows], places)


def _without_empty_end(cells: list[str], keep: int) -> list[str]:
    end = len(cells)
    while end > keep and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _read_parquet(path: Path, name: str) -> TextTable:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise RecipeError(
            f"{name} needs pyarrow; run pip install 'patchmill[tables]', or write a CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            content = file.read(use_threads=False)
            names = tuple(str(n).strip() for n in content.column_names)
            columns: list[list[Any]] = [column.to_pylist() for column in content.columns]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        what = str(error).replace("\n", " ")[:200]
        raise RecipeError(f"{name} cannot be read as parquet: {what}; write it anew") from None
    texts: list[list[str]] = []
    kept: list[str] = []
    for column, values in zip(names, columns, strict=True):
        if _PANDAS_INDEX.fullmatch(column):
            continue
        odd = next((v for v in values if not isinstance(v, _PLAIN) and v is not None), None)
        if odd is not None:
            raise RecipeError(
                f'{name}: the column "{column}" holds {type(odd).__name__}; write texts or '
                "numbers, or leave it out"
            )
        kept.append(column)
        texts.append([_text(value) for value in values])
    rows = list(zip(*texts, strict=True))
    return TextTable(path, tuple(kept), rows, [f"row {n + 1}" for n in range(len(rows))])


_PLAIN = (str, bool, int, float, Decimal, date, time)


def _text(value: Any) -> str:
    # pandas writes what is missing among numbers as NaN.
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


def _check_names(table: TextTable, name: str) -> None:
    problems = []
    if "" in table.names:
        problems.append(Problem("", f"column {table.names.index('') + 1} has no name; write one"))
    twice = {column for column in table.names if column and table.names.count(column) > 1}
    if twice:
        text = f"{', '.join(sorted(twice, key=natural_key))} stands twice in the header"
        problems.append(Problem("", f"{text}; write each name once"))
    if problems:
        raise RecipeError(describe(problems, name))

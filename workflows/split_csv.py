"""The CSV of groups and their splits: a run writes it, and the next one keeps to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import SplitError
from .natural import natural_key
from .text_table import delimiter_of

Group = tuple[str, ...]


def read_csv(path: Path, header: Sequence[str]) -> dict[Group, str]:
    """Read the split of each listed group.

    Parameters
    ----------
    path
        Of a CSV that has the columns of `header` and "split"; others are ignored.
    header
        Names of the group's parts. A single one may also be headed "group".

    Raises
    ------
    SplitError
        When the file is absent or not such a CSV, or lists a group in two splits.
    """
    try:
        # Spreadsheets write a byte order mark; file names need not be UTF-8.
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise SplitError(
            f"split.from: {path} cannot be read: {error.strerror}; for a first run leave "
            "split.from out, the run writes the CSV"
        ) from None
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    names = [name.strip() for name in next(lines, [])]
    wanted = [*header, "split"]
    if len(header) == 1 and header[0] not in names:
        wanted[0] = "group"
    if any(names.count(name) != 1 for name in wanted):
        raise SplitError(
            f"split.from: {path} has the columns {', '.join(names) or 'none'}; write the columns "
            f"{', '.join([*header, 'split'])}, each once"
        )
    places = [names.index(name) for name in wanted]
    splits: dict[Group, str] = {}
    for row in lines:
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        where = f"split.from: {path}, line {lines.line_num}"
        if not all(cells):
            raise SplitError(f"{where}: {', '.join(row)} leaves {', '.join(wanted)} in part empty")
        group, split = tuple(cells[:-1]), cells[-1]
        if splits.setdefault(group, split) != split:
            raise SplitError(
                f'{where}: {", ".join(group)} is in "{splits[group]}" and in "{split}"; write one'
            )
    return splits


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write groups and splits, as `SplitResult.header` and `SplitResult.rows` have them.

    The same result makes the same bytes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    Path(path).write_text(text.getvalue(), "utf-8", "surrogateescape", newline="")


def csv_rows(splits: dict[Group, str]) -> tuple[Group, ...]:
    """Return one row per group, in natural order."""
    ordered = sorted(splits.items(), key=lambda item: [natural_key(part) for part in item[0]])
    return tuple((*group, split) for group, split in ordered)

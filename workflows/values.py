"""The kinds of value that a recipe's keys take, each read strictly: no text becomes a number.

Each reader takes what stood in the recipe and returns the value, or raises a ValueError whose
text says what to write; `problems` puts the key and what was found before it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from .dtypes import DTYPES

_UNITS = {"": 1, "b": 1}
for _n, _letter in enumerate("kmgt", start=1):
    _UNITS[f"{_letter}b"] = 1000**_n
    _UNITS[f"{_letter}ib"] = 1024**_n
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def read_pair(value: Any) -> tuple[int, int]:
    """Read [y, x]; one number stands for both."""
    pair = [value, value] if _is_count(value) else value
    if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_count, pair))):
        raise ValueError(
            "write [y, x] in whole pixels above 0, such as [256, 256], or one number for a square"
        )
    return pair[0], pair[1]


def read_size(value: Any) -> tuple[int, ...]:
    """Read [y, x] or [z, y, x]; one number stands for y and x."""
    if isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_count, value)):
        return tuple(value)
    try:
        return read_pair(value)
    except ValueError as error:
        raise ValueError(f'{error}; with z = "stack", [z, y, x]') from None


def read_planes(value: Any) -> int | str:
    """Read which planes along z or t are meant: a word, or the number of one."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError('write "each", "max", "mean", or the number of a plane from 0')


def read_mpp(value: Any) -> float:
    """Read micrometres per pixel."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("write micrometres per pixel, a number above 0 such as 0.5")
    return float(value)


def read_voxel(value: Any) -> tuple[float | None, float | None, float | None]:
    """Read (z, y, x) in micrometres; [y, x] or one number leave z unknown."""
    sizes = value if isinstance(value, list | tuple) else [value, value]
    read: list[float | None]
    try:
        # `Recipe.canonical` says None, or null, for what is not known.
        read = [None if size is None else read_mpp(size) for size in sizes]
    except ValueError:
        read = []
    if len(read) not in (2, 3):
        raise ValueError(
            "write micrometres, [z, y, x] such as [2.0, 0.5, 0.5], [y, x], or one number for y "
            "and x"
        )
    z, y, x = [None, *read][-3:]
    return z, y, x


def read_reader(value: Any) -> str:
    """Read the name of a function that opens a path."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError('write "package.module:function"')
    return value


def read_limit(value: Any) -> int:
    """Read a whole number above 0."""
    if not _is_count(value):
        raise ValueError("write a whole number above 0")
    return int(value)


def read_storage(value: Any) -> tuple[tuple[str, str], ...]:
    """Read a table of options of a remote store, in order of their names."""
    options = items(value, '{ region = "eu-west-1", skip_signature = "true" }')
    for key, content in options.items():
        if not isinstance(content, str):
            raise ValueError(f"the option {key} needs a text in quotes")
    return tuple(sorted(options.items()))


def read_bytes(value: Any) -> int:
    """Read a number of bytes: 64000000, "64 MB" (10^6) or "64 MiB" (2^20).

    Examples
    --------
    >>> read_bytes("64 MB"), read_bytes("1.5 KiB")
    (64000000, 1536)
    """
    count = 0
    if _is_count(value):
        count = value
    elif isinstance(value, str) and (match := _BYTES.fullmatch(value.strip())):
        unit = _UNITS.get(match[2].lower())
        count = 0 if unit is None else int(float(match[1]) * unit)
    if count < 1:
        raise ValueError('write a number of bytes above 0, such as "64 MB", "64 MiB" or 64000000')
    return count


def read_texts(value: Any) -> tuple[str, ...]:
    """Read a list of non-empty texts; a single one is fine."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
        raise ValueError('write a text or a list of texts, such as ["a", "b"]')
    return tuple(texts)


def items(value: Any, example: str) -> dict[str, Any]:
    """Read a table, or the list of pairs that `Recipe.canonical` makes of one."""
    if isinstance(value, list | tuple) and all(
        isinstance(item, list | tuple) and len(item) == 2 for item in value
    ):
        names = [str(key) for key, _ in value]
        if len(set(names)) == len(names):
            value = dict(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"write a table such as {example}")
    return {str(key): content for key, content in value.items()}


def name_fault(name: str) -> str | None:
    """Return why a name cannot be one of a channel, or None; channels name columns of a store."""
    if not name or name != name.strip():
        return "is empty or has blanks around it"
    if "/" in name:
        return 'has a "/" in it'
    if name.startswith("."):
        return "starts with a dot"
    return None


def read_channels(value: Any) -> dict[str, str]:
    """Read a table of channel keys to names, in order."""
    channels = items(value, '{ 1 = "DAPI", 2 = "GFP" }')
    for key, name in channels.items():
        if not isinstance(name, str):
            raise ValueError(f"channel {key} needs a name in quotes")
        if fault := name_fault(name):
            raise ValueError(f'the name "{name}" of channel {key} {fault}; write another')
    names = list(channels.values())
    for name in names:
        if names.count(name) > 1:
            keys = " and ".join(key for key, other in channels.items() if other == name)
            raise ValueError(f'channels {keys} are both called "{name}"; write different names')
    return channels


def read_fractions(value: Any) -> dict[str, float]:
    """Read a table of split names to fractions, in order."""
    fractions = items(value, "{ train = 0.8, val = 0.1, test = 0.1 }")
    for name, fraction in fractions.items():
        if not name or name != name.strip():
            raise ValueError(f'the split name "{name}" is empty or has blanks around it')
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not fraction > 0:
            raise ValueError(f"{name} needs a number above 0; leave out a split that gets nothing")
    total = math.fsum(fractions.values())
    if fractions and abs(total - 1) > 1e-6:
        raise ValueError(f"the fractions sum to {total:.6g}; write fractions that sum to 1")
    return {name: float(fraction) for name, fraction in fractions.items()}


def read_pad(value: Any) -> float | Literal["reflect"]:
    """Read what stands beyond the edge: "reflect", or a value of the images' kind."""
    if value == "reflect":
        return "reflect"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError('write "reflect" or a number')
    return int(value) if float(value).is_integer() else value


def read_pattern(value: Any) -> str:
    """Read a regular expression that has at least one named group."""
    if not isinstance(value, str):
        raise ValueError("write a regular expression in single quotes, '(?P<well>[A-P]\\d\\d)'")
    try:
        compiled = re.compile(value)
    except re.error as error:
        where = "" if error.pos is None else f' at character {error.pos}, before "'
        where += "" if error.pos is None else f'{value[error.pos : error.pos + 20]}"'
        raise ValueError(f"not a regular expression: {error.msg}{where}") from None
    if not compiled.groupindex:
        raise ValueError(
            "the pattern names nothing; write what tells images and channels apart as named "
            "groups, such as (?P<well>[A-P]\\d\\d)_w(?P<channel>\\d)"
        )
    return value


def read_table_path(value: Any) -> str:
    """Read the path of a table, which lies on this machine."""
    if not isinstance(value, str) or not value or "://" in value:
        raise ValueError('write the path of a CSV or parquet file, such as "table.csv"')
    return value


def read_keys(value: Any) -> dict[str, str]:
    """Read columns of a table, each with what the images call it; in a list both call it so."""
    if isinstance(value, str) or (
        isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    ):
        names = read_texts(value)
        value = dict(zip(names, names, strict=True))
        if len(value) < len(names):
            raise ValueError("write each name once")
    example = '["plate", "well"], or { Well = "well" } where the table calls it otherwise'
    keys = items(value, example)
    texts = [*keys, *keys.values()]
    if not keys or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"write names of columns, as in {example}")
    if len(set(keys.values())) < len(keys):
        raise ValueError("write each column of the images once")
    return keys


def read_dtype(value: Any) -> str:
    """Read the name of a pixel type."""
    if isinstance(value, str) and value in DTYPES:
        return value
    near = difflib.get_close_matches(str(value), DTYPES, n=1)
    raise ValueError(f"write one of {', '.join(DTYPES)}" + (f"; {near[0]}?" if near else ""))


def read_axes(value: Any) -> str:
    """Read the order of a file's axes."""
    axes = value.upper() if isinstance(value, str) else ""
    if not {"Y", "X"} <= set(axes) <= set("NTCZYXS") or len(set(axes)) < len(axes):
        raise ValueError(
            "write each axis once, out of T, C, Z, Y, X, S (samples of a pixel) and N (images of "
            'their own) with Y and X, as in "CYX"'
        )
    return axes


Size = Annotated[tuple[int, ...], BeforeValidator(read_size)]
Planes = Annotated[int | str, BeforeValidator(read_planes)]
Mpp = Annotated[float, BeforeValidator(read_mpp)]
VoxelUm = Annotated[tuple[float | None, float | None, float | None], BeforeValidator(read_voxel)]
Reader = Annotated[str, BeforeValidator(read_reader)]
Limit = Annotated[int, BeforeValidator(read_limit)]
Storage = Annotated[tuple[tuple[str, str], ...], BeforeValidator(read_storage)]
Pair = Annotated[tuple[int, int], BeforeValidator(read_pair)]
ByteCount = Annotated[int, BeforeValidator(read_bytes)]
Texts = Annotated[tuple[str, ...], BeforeValidator(read_texts)]
Channels = Annotated[dict[str, str], BeforeValidator(read_channels)]
Fractions = Annotated[dict[str, float], BeforeValidator(read_fractions)]
Pad = Annotated[float | int | Literal["reflect"], BeforeValidator(read_pad)]
Pattern = Annotated[str, BeforeValidator(read_pattern)]
TablePath = Annotated[str, BeforeValidator(read_table_path)]
Keys = Annotated[dict[str, str], BeforeValidator(read_keys)]
Dtype = Annotated[str, BeforeValidator(read_dtype)]
Axes = Annotated[str, BeforeValidator(read_axes)]

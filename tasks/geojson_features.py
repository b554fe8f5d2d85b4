"""Decodes the text of a GeoJSON file feature by feature.

Python's objects take many times the room of the text, so that no more than one is held.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from .source import SourceError

_BLANKS = re.compile(r"[ \t\n\r]*")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def read_features(path: str, text: str) -> Iterator[Any]:
    """Yield what stands in a FeatureCollection or a list; an object without features is one.

    Parameters
    ----------
    path
        For errors.
    text
        All of the file.

    Raises
    ------
    SourceError
        Where it is no JSON.
    """
    try:
        reader = _Reader(text)
        if reader.peek() == "[":
            yield from reader.elements()
        else:
            alone: dict[str, Any] | None = {}
            for key in reader.members():
                if key == "features":
                    yield from reader.elements()
                    alone = None
                else:
                    value = reader.value()
                    if alone is not None:
                        alone[key] = value
            if alone is not None:
                yield alone
        reader.finish()
    except (ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        what = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SourceError(
            f"{path}: is not read as GeoJSON; export it anew, or leave it out",
            detail=what[:200],
        ) from None


class _Reader:
    """Goes through the outermost object and list of a JSON text; `json` decodes what is inside."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def peek(self) -> str:
        """Return the next character that is no blank; "" at the end."""
        blanks = _BLANKS.match(self._text, self._at)
        self._at = blanks.end() if blanks else self._at
        return self._text[self._at : self._at + 1]

    def take(self, characters: str) -> str:
        """Go beyond the next character, which must be one of these, and return it."""
        found = self.peek()
        if not found or found not in characters:
            raise ValueError(f"expected {' or '.join(characters)} at character {self._at}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        value, self._at = _DECODER.raw_decode(self._text, self._at)
        return value

    def elements(self) -> Iterator[Any]:
        """Yield the elements of a list."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """Yield the keys of an object; whoever gets one takes its value."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            key = self.value()
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return

    def finish(self) -> None:
        """Raise a ValueError where there is more."""
        if self.peek():
            raise ValueError(f"more follows at character {self._at}")

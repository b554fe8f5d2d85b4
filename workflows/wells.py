"""Wells that are spelled differently: A1, a01 and A01."""

from __future__ import annotations

import re

_WELL = re.compile(r"([A-Za-z]{1,2})0*([1-9][0-9]?)")
_ZEROS = re.compile(r"0+(?=[0-9])")


def same_well(text: str) -> str:
    """Return the one spelling of a well; what is no well is left as it is.

    Examples
    --------
    >>> same_well("a1"), same_well("A001"), same_well("AF48"), same_well("blank")
    ('A01', 'A01', 'AF48', 'blank')
    """
    match = _WELL.fullmatch(text)
    return f"{match[1].upper()}{int(match[2]):02}" if match else text


def loosely(text: str) -> str:
    """Return a text without what people do not see as a difference: case, zeros and blanks.

    Examples
    --------
    >>> loosely("Plate 01"), loosely("plate1")
    ('plate1', 'plate1')
    """
    return _ZEROS.sub("", re.sub(r"[\s_-]+", "", text.casefold()))

"""Sorting as people do: site 2 stands before site 10."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key in which runs of digits count as numbers.

    The text itself comes last, so that "1" and "01" have a fixed order.

    Examples
    --------
    >>> sorted(["s10", "s2", "s1"], key=natural_key)
    ['s1', 's2', 's10']
    """
    # Splitting at digits yields text and number by turns, so keys always compare like with like.
    parts = _DIGITS.split(text)
    return tuple(int(p) if n % 2 else p for n, p in enumerate(parts)), text

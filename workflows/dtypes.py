"""The pixel types that recipes may name, and which of them hold another without loss."""

from __future__ import annotations

import numpy as np

DTYPES = (
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
)


def is_widening(source: str, target: str) -> bool:
    """Return whether every value of one dtype exists in another.

    NumPy's "safe" casting is not enough: it lets 64-bit integers become float64, whose
    mantissa has 53 bits.

    Examples
    --------
    >>> is_widening("uint16", "float32"), is_widening("uint16", "int16")
    (True, False)
    >>> is_widening("int64", "float64")
    False
    """
    a, b = np.dtype(source), np.dtype(target)
    if a == b:
        return True
    if b.kind == "f" and a.kind in "iu" and a.itemsize >= 8:
        return False
    return bool(np.can_cast(a, b, casting="safe"))

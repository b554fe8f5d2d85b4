"""What a task says of each row beside its pixels: moments, what was clipped, what masks hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .statistics import moments_dtype
from .windows import own_pixels


def record_dtype(
    dtype: np.dtype[Any], channels: int, fields: Sequence[AnnotationField]
) -> np.dtype[Any]:
    """Return the record of a row.

    Its fields are `moments` (`moments_dtype`, one per channel); `clipped`, uint32 of shape (c, 2);
    for each mask, by its name, `counts` (uint32, how many of the patch's own pixels are of each
    class, and last of all have the ignore value) and `centre` (the pixel in the middle); for each
    label map, by its name, `objects`, how many there are.

    Parameters
    ----------
    dtype, channels
        Of the patches.
    fields
        The masks and label maps.
    """
    of_fields = [
        (field.name, [("counts", "<u4", (len(field.classes) + 1,)), ("centre", "<i8")])
        if field.is_mask
        else (field.name, [("objects", "<u4")])
        for field in fields
    ]
    return np.dtype(
        [
            ("moments", moments_dtype(dtype), (channels,)),
            ("clipped", "<u4", (channels, 2)),
            *of_fields,
        ]
    )


def note_annotation(
    field: AnnotationField,
    pixels: NDArray[Any],
    margin_px: int,
    spans: NDArray[np.int64],
    record: NDArray[Any],
) -> None:
    """Fill in what a row's mask or label map holds.

    Parameters
    ----------
    pixels
        All of it, shape (z, y, x), its border included.
    margin_px, spans
        The border, and what of the patch lies in the image, as in `own_pixels`.
    record
        Of `record_dtype`, shape (); its field of that name is overwritten.
    """
    own = own_pixels(pixels[None], margin_px, spans)
    values, counts = np.unique(own, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    if not field.is_mask:
        record[field.name]["objects"] = len(found.keys() - {0})
        return
    numbers = [*(number for number, _ in field.classes), field.ignore]
    record[field.name]["counts"] = [found.get(number, 0) for number in numbers]
    record[field.name]["centre"] = pixels[tuple(length // 2 for length in pixels.shape)]

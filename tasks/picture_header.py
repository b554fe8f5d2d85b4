"""What the header of a PNG, JPEG, BMP or WebP says, and how OpenCV's answer becomes channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .bytes import Bytes

#: Names of channels, and where they stand among OpenCV's samples: blue, green, red, alpha.
GREY: dict[str, int] = {}
GREY_ALPHA = {"L": 0, "A": 3}
RGB = {"R": 2, "G": 1, "B": 0}
RGBA = {"R": 2, "G": 1, "B": 0, "A": 3}


def decode_by_opencv(data: bytes) -> NDArray[Any]:
    """Return the samples as they are stored, orientation too; shape (y, x) or (y, x, sample).

    Raises
    ------
    ValueError
        Where OpenCV cannot decode it.
    """
    # This flag alone keeps 16 bits and alpha, and leaves the orientation that EXIF gives alone.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV cannot decode its pixels")
    return pixels


@dataclass(frozen=True)
class PictureHeader:
    """What a picture is, before anything is decoded.

    Attributes
    ----------
    height, width
        In pixels, as stored.
    dtype
        Of the samples, uint8 or uint16.
    samples
        For each channel its name, and which sample of what `decode` returns it is; empty for one
        plane without a name.
    notes
        What the user should know.
    decode
        Makes samples of the whole file; raises ValueError where it is damaged.
    lacking
        Says what the file lacks, in words that follow "the file"; empty where it is whole.
    """

    height: int
    width: int
    dtype: str
    samples: dict[str, int]
    lacking: Callable[[Bytes], str]
    decode: Callable[[bytes], NDArray[Any]] = decode_by_opencv
    notes: tuple[str, ...] = ()

"""What an image is to a worker: files, planes and the identity they had at the survey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import PatchmillError


class SourceError(PatchmillError, ValueError):
    """An image that cannot be read; names the file, what was found and what to do.

    Parameters
    ----------
    text
        The sentence for the user.
    image
        Row in `images/` of the image that is at fault, -1 while it has none.
    """

    def __init__(self, text: str, image: int = -1) -> None:
        super().__init__(text, image)
        self.text = text
        self.image = image

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FileIdentity:
    """What tells that a file is still the one that was surveyed.

    Attributes
    ----------
    sha256
        Of the content; empty unless `images.identity = "content"`.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True)
class FileInfo:
    """What the survey finds in one file.

    Attributes
    ----------
    shape
        Lengths of (t, c, z, y, x); samples of a pixel (RGB) are channels.
    dtype
        NumPy's name, native byte order.
    channels
        Names that the file gives its channels; empty strings where it gives none.
    strides
        Pages from one plane to the next along (t, c, z).
    samples
        Samples of a pixel where they are the channels, else 0.
    segment
        (height, width) of what must be decoded at once, in pixels.
    segment_bytes
        Its size when decoded, all samples that lie together included.
    voxel_um
        (z, y, x) in micrometres; NaN where the file does not say.
    """

    identity: FileIdentity
    shape: tuple[int, int, int, int, int]
    dtype: str
    channels: tuple[str, ...]
    strides: tuple[int, int, int]
    samples: int
    segment: tuple[int, int]
    segment_bytes: int
    voxel_um: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    def plane(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return (page, sample) of a plane."""
        page = t * self.strides[0] + z * self.strides[2]
        return (page, c) if self.samples else (page + c * self.strides[1], 0)


@dataclass(frozen=True)
class ImageSource:
    """One image as a worker needs it: paths, identities and where each plane lies.

    Attributes
    ----------
    planes
        int32, shape (t, c, z, 3): index in `paths`, page and sample of each plane.
    shape
        (y, x) of every plane, in pixels.
    """

    id: str
    paths: tuple[str, ...]
    identities: tuple[FileIdentity, ...]
    planes: NDArray[np.int32]
    shape: tuple[int, int]
    dtype: np.dtype[Any]

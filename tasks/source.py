"""What an image is to a worker: files, planes, the identity they had at the survey, and faults."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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


@contextmanager
def naming(path: str, doing: str) -> Iterator[None]:
    """Turn whatever a broken file makes a decoder raise into one sentence with its name.

    Broken TIFFs raise TypeError, IndexError, ZeroDivisionError, MemoryError and more, so nothing
    narrower than Exception will do.
    """
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError:
        raise SourceError(f"{path}: the file is gone; bring it back or leave it out") from None
    except PermissionError:
        raise SourceError(f"{path}: may not be read; give read permission") from None
    except Exception as error:
        what = f"{type(error).__name__}: {error}".strip(": ").replace("\n", " ")
        raise SourceError(
            f"{path}: cannot {doing} ({what[:300]}); the file is damaged, or of a kind that is "
            "not read; mend it or leave it out"
        ) from error


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


def identity_of(path: str, content: bool) -> FileIdentity:
    """Return what tells a file from its later self.

    Parameters
    ----------
    path
        Of the file.
    content
        Whether to read it all for its sha256.
    """
    with naming(path, "look at the file"):
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            # To open a pipe would wait for its other end.
            raise SourceError(f"{path}: is not a regular file; leave it out")
        sha256 = ""
        if content:
            with Path(path).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileIdentity(found.st_size, found.st_mtime_ns, sha256)


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

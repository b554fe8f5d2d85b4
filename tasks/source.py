"""What an image is to a worker: files, planes, the identity they had at the survey, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import PatchmillError
from .annotation import Annotation
from .image import VoxelSize
from .resolution import Resolution
from .step import Step

if TYPE_CHECKING:
    # Which reads images, and so needs this file.
    from .foreground import Foreground


class SourceError(PatchmillError, ValueError):
    """An image that cannot be read; names the file, what was found and what to do.

    Parameters
    ----------
    text
        The sentence for the user: the same, whichever part of the image is read first.
    image
        Row in `images/` of the image that is at fault, -1 while it has none.
    detail
        What else is known: where, and what the library said.
    """

    def __init__(self, text: str, image: int = -1, detail: str = "") -> None:
        super().__init__(text, image, detail)
        self.text = text
        self.image = image
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


@contextmanager
def naming(path: str, doing: str, where: str = "") -> Iterator[None]:
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
        what = f"{type(error).__name__}: {error}".strip(": ").replace("\n", " ")[:300]
        raise SourceError(
            f"{path}: cannot {doing}; the file is damaged, or of a kind that is not read; mend it "
            "or leave it out",
            detail=f"{where}: {what}" if where else what,
        ) from error


@dataclass(frozen=True)
class FileIdentity:
    """What tells that a file, or a set of files, is still the one that was surveyed.

    Attributes
    ----------
    size_bytes, mtime_ns
        Of a set: all bytes, and the newest time.
    sha256
        Of the content; empty unless `images.identity = "content"`.
    """

    size_bytes: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    shape
        Lengths of (z, y, x), in pixels of this level.
    segment
        Lengths of (t, c, z, y, x) of what must be decoded at once.
    """

    shape: tuple[int, int, int]
    segment: tuple[int, int, int, int, int]


@dataclass(frozen=True)
class FileInfo:
    """What the survey finds at one path.

    Attributes
    ----------
    members
        Paths of all files that belong together, where they are several; `identity` is of them all.
    items
        Names of the images in it; none where it is one image.
    shape
        Lengths of (t, c, z, y, x) of each image; samples of a pixel (RGB) are channels.
    dtype
        NumPy's name, native byte order.
    channels
        Names that the file gives its channels; empty strings where it gives none.
    levels
        Finest first.
    voxel_um
        (z, y, x) in micrometres; NaN where the file does not say.
    held_bytes
        Memory that the file takes while it is open and being read.
    notes
        What was guessed.
    significant_bits
        Of a pixel's value, where the file says how many its camera has; else 0.
    """

    identity: FileIdentity
    members: tuple[str, ...]
    items: tuple[str, ...]
    shape: tuple[int, int, int, int, int]
    dtype: str
    channels: tuple[str, ...]
    levels: tuple[Level, ...]
    voxel_um: VoxelSize
    held_bytes: int = 0
    notes: tuple[str, ...] = ()
    significant_bits: int = 0


@dataclass(frozen=True, eq=False)
class ImageKind:
    """What many images may share: where planes lie in their files, and how they are cut.

    Attributes
    ----------
    planes
        int32, shape (t, c, z, 4): the file, and t, c and z in it, of each plane of the level that
        is cut.
    resolution
        The level that is cut, and how far it is rescaled.
    segment
        Lengths of (t, c, z, y, x) of what must be decoded at once, at that level.
    dtype
        Of the pixels.
    held_bytes
        Memory that a file takes while it is open and being read.
    """

    planes: NDArray[np.int32]
    resolution: Resolution
    segment: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    held_bytes: int = 0


@dataclass(frozen=True, eq=False)
class ImageSteps:
    """What an image's pixels go through.

    Attributes
    ----------
    before
        On the pixels of the level, before they are projected and rescaled.
    after
        On the pixels of the patches; the last one gives what is stored, but for rounding.
    """

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.before or self.after)


NO_STEPS = ImageSteps()


@dataclass(frozen=True, eq=False, slots=True)
class ImageSource:
    """One image as a worker needs it.

    Attributes
    ----------
    paths, identities
        Of its files.
    members
        For each file, the paths of all that belong together with it; none where it is alone.
    item
        Which image in the files it is.
    steps
        What its pixels go through.
    foreground
        How its foreground mask is made, where there is one.
    annotations
        Where its masks and label maps come from, one for each field of the store.
    """

    id: str
    paths: tuple[str, ...]
    identities: tuple[FileIdentity, ...]
    members: tuple[tuple[str, ...], ...]
    item: int
    kind: ImageKind
    steps: ImageSteps = NO_STEPS
    foreground: Foreground | None = None
    annotations: tuple[Annotation, ...] = ()

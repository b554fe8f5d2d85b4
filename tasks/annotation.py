"""What annotates an image's pixels: masks of classes, and label maps of objects.

A mask has a class per pixel, integers with names and an ignore value; a label map has an integer
per object, 0 is background. Each is a field of the store beside `image`, with the same rows and
shards, cut by the same task with the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions

if TYPE_CHECKING:
    from .patches import PatchSpec
    from .source import ImageSource


@dataclass(frozen=True)
class AnnotationField:
    """A field of the store.

    Attributes
    ----------
    name
        "masks/NAME" or "labels/NAME".
    dtype
        Of its integers.
    classes
        Of a mask, by number, with their names; none of a label map.
    ignore
        Of a mask, what padded, unannotated and unknown pixels have.
    """

    name: str
    dtype: np.dtype[Any]
    classes: tuple[tuple[int, str], ...] = ()
    ignore: int | None = None

    @property
    def is_mask(self) -> bool:
        """Whether it holds classes; else objects."""
        return self.name.startswith("masks/")


class Annotation(Protocol):
    """Where one field of one image comes from; travels to the workers."""

    def held_bytes(self, source: ImageSource, patch: PatchSpec, rows: int) -> int:
        """Return the memory that `cut` takes for so many windows at most, beside them."""
        ...

    def kept_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return the memory that a process may keep of the image for other tasks."""
        ...

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Cut the windows of one image.

        Parameters
        ----------
        source, options, corners, patch
            As in `patchmill.tasks.patches.cut_patches`.
        field
            What is made.
        patches
            The same windows of the image as the store holds them, shape (n, c, z, y, x).

        Returns
        -------
        windows
            Of the field's type, shape (n, z, y, x), borders included; pixels beyond the image
            have the ignore value, or 0 in a label map.

        Raises
        ------
        SourceError
            Where a file cannot be read, or holds what the field cannot.
        """
        ...

"""A mask or a label map that is in a file beside the image, cut with the image's windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .annotation_values import Values
from .image import ImageOptions
from .nearest import Run, most_frequent, nearest_runs, read_nearest
from .source import FileIdentity, ImageSource, SourceError
from .windows import window_starts

if TYPE_CHECKING:
    from .patches import PatchSpec


#: What may be held of a file at once. Where it is reached, segments that two groups of windows
#: share are decoded twice.
BATCH_BYTES = 1 << 26
#: Of each pixel along an axis of a window, while it is found out where it lies in the file.
PLACE_BYTES = 64


@dataclass(frozen=True, eq=False)
class FileAnnotation:
    """A file; an `Annotation`.

    Attributes
    ----------
    file
        Its planes as the image's are numbered; one time, or one plane, where it has but one for
        all of the image's.
    options
        How it is opened.
    relative
        Its path as a store may keep it.
    scale
        Level-0 pixels of the image in one pixel of the file's level, (z, y, x).
    values
        What its numbers stand for.
    """

    file: ImageSource
    options: ImageOptions
    relative: str
    scale: tuple[float, float, float]
    values: Values

    @property
    def files(self) -> tuple[tuple[str, FileIdentity], ...]:
        """What it is made from: relative paths, and what tells them from their later selves."""
        return ((self.relative, self.file.identities[0]),)

    def held_bytes(self, source: ImageSource, patch: PatchSpec, rows: int) -> int:
        """Return the memory that `cut` takes, see `Annotation.held_bytes`."""
        kind = self.file.kind
        # A segment as it is stored, as it is decoded, and copied out of there.
        held = kind.held_bytes + 3 * math.prod(kind.segment) * kind.dtype.itemsize
        windows = min(rows, self._windows_at_once(source, patch))
        return held + windows * self._window_bytes(source, patch)

    def kept_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return that nothing is kept."""
        return 0

    def _window_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return what is held of the file for each window, at most."""
        nbytes = len(self.file.kind.planes[0]) * self.file.kind.dtype.itemsize
        places = 0
        for own, scale, length in zip(
            source.kind.resolution.scale, self.scale, patch.stored_size, strict=True
        ):
            # Where a centre lies on an edge, the pixels on both sides.
            nbytes *= length if own == scale else 2 * length
            places += length
        return nbytes + PLACE_BYTES * places

    def _windows_at_once(self, source: ImageSource, patch: PatchSpec) -> int:
        return max(1, BATCH_BYTES // self._window_bytes(source, patch))

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Cut the windows of one image, see `Annotation.cut`."""
        runs = self._runs(source, corners, patch)
        times = corners[:, 0] if len(self.file.kind.planes) > 1 else np.zeros_like(corners[:, 0])
        path = self.file.paths[0]
        try:
            cut = blank_windows(len(corners), patch.stored_size, field)
            at_once = self._windows_at_once(source, patch)
            for start in range(0, len(corners), at_once):
                part = slice(start, start + at_once)
                own = times[part], runs[part], patch.stored_size
                pixels = read_nearest(self.file, self.options, *own)
                for window, found, (z, y, x) in zip(cut[part], pixels, runs[part], strict=True):
                    held = found[:, z.held, y.held, x.held]
                    if held.size:
                        numbers = self.values(path, held, field)
                        each = (z.each, y.each, x.each)
                        window[z.own, y.own, x.own] = most_frequent(numbers, each)
        except SourceError as error:
            text, detail = (
                part.replace(path, self.relative) for part in (error.text, error.detail)
            )
            raise SourceError(text, error.image, detail) from error
        return cut

    def _runs(
        self, source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
    ) -> list[tuple[Run, Run, Run]]:
        resolution, shape = source.kind.resolution, self.file.kind.resolution.shape
        margin = (0, patch.margin_px, patch.margin_px)
        z, y, x = (
            nearest_runs(
                resolution,
                axis,
                corners[:, 1 + axis],
                patch.stored_size[axis],
                margin[axis],
                self.scale[axis],
                shape[axis],
            )
            for axis in range(3)
        )
        if shape[0] == 1 and not patch.is_3d:
            # Whichever plane of the image it is, or of however many it was made.
            z = [Run(0, np.zeros(1, np.int64))] * len(corners)
        return list(zip(z, y, x, strict=True))


@dataclass(frozen=True)
class BlankAnnotation:
    """Of an image that has no file: one value wherever the image is; an `Annotation`.

    Attributes
    ----------
    value
        The ignore value, or that of the background.
    """

    value: int

    @property
    def files(self) -> tuple[tuple[str, FileIdentity], ...]:
        """None."""
        return ()

    def held_bytes(self, source: ImageSource, patch: PatchSpec, rows: int) -> int:
        """Return that it takes no memory."""
        return 0

    def kept_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return that nothing is kept."""
        return 0

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Cut the windows of one image, see `Annotation.cut`."""
        cut = blank_windows(len(corners), patch.stored_size, field)
        starts, size = window_starts(source, corners, patch).tolist(), source.kind.resolution.size
        for window, start in zip(cut, starts, strict=True):
            z, y, x = (
                slice(max(0, -first), max(0, length - first))
                for first, length in zip(start, size, strict=True)
            )
            window[z, y, x] = self.value
        return cut


def blank_windows(n: int, size: tuple[int, int, int], field: AnnotationField) -> NDArray[Any]:
    """Return windows (n, z, y, x) of nothing but the ignore value, or 0 in a label map."""
    return np.full((n, *size), 0 if field.ignore is None else field.ignore, field.dtype)

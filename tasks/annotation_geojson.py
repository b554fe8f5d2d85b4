"""Masks and label maps out of polygons, painted window by window at the patch's resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .annotation_file import blank_windows
from .geojson_file import open_geojson
from .held_windows import held_windows
from .image import ImageOptions
from .patches import PatchSpec
from .polygons import Polygons
from .resolution import Resolution
from .source import FileIdentity, ImageSource, SourceError

#: Of each byte of a file while it is read: its text, and two copies of the edges, 32 bytes each, of
#: points of about 15 characters.
_TEXT_BYTES = 6
#: For each polygon in its order of painting: its number, and what it is painted with.
_Strokes = list[tuple[int, int]]


@dataclass(frozen=True)
class GeoJsonFile:
    """A file with the polygons of an image.

    Attributes
    ----------
    path
        Of the file, or its URL.
    relative
        Its path as a store may keep it.
    identity
        At the survey.
    key
        What a classification is called, see `parse_geojson`.
    """

    path: str
    relative: str
    identity: FileIdentity
    key: str

    def polygons(self, options: ImageOptions) -> Polygons:
        """Return its polygons.

        Raises
        ------
        SourceError
            Where it has changed since the survey, or cannot be read.
        """
        try:
            found = open_geojson(self.path, self.identity, self.key, options.storage)
        except SourceError as error:
            text, detail = (
                part.replace(self.path, self.relative) for part in (error.text, error.detail)
            )
            raise SourceError(text, error.image, detail) from error
        return found.polygons

    @property
    def held_bytes(self) -> int:
        """Memory that a process takes to read it, and may keep of it."""
        return _TEXT_BYTES * self.identity.size_bytes


@dataclass(frozen=True)
class _OfPolygons:
    """What masks and label maps have in common: the file of the polygons."""

    file: GeoJsonFile

    @property
    def files(self) -> tuple[tuple[str, FileIdentity], ...]:
        """What it is made from: relative paths, and what tells them from their later selves."""
        return ((self.file.relative, self.file.identity),)

    def held_bytes(self, source: ImageSource, patch: PatchSpec, rows: int) -> int:
        """Return the memory that a process takes for it, at most, beside the windows."""
        return self.file.held_bytes

    def kept_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return the memory that a process may keep of the file."""
        return self.file.held_bytes


@dataclass(frozen=True)
class GeoJsonMask(_OfPolygons):
    """Paints classes; an `Annotation`.

    Attributes
    ----------
    classes
        Classification and number, in order: where polygons overlap, the first is it. A polygon of
        another classification is unknown: painted with the ignore value, but where it overlaps.
    outside
        What lies in no polygon: the ignore value, or that of the background.
    """

    classes: tuple[tuple[str, int], ...]
    outside: int

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Paint the windows of one image, see `patchmill.tasks.annotation.Annotation`."""
        polygons = self.file.polygons(options)
        ignore = 0 if field.ignore is None else field.ignore
        order = {name: place for place, (name, _) in enumerate(self.classes)}
        numbers = dict(self.classes)
        ranks = np.array([order.get(name, len(order)) for name in polygons.all_names], np.int64)
        values = [numbers.get(name, ignore) for name in polygons.all_names]

        def strokes(touching: NDArray[np.int64]) -> _Strokes:
            names = polygons.names[touching]
            # The first class is painted last.
            last_first = np.argsort(-ranks[names], kind="stable")
            return [
                (number, values[name])
                for number, name in zip(
                    touching[last_first].tolist(), names[last_first].tolist(), strict=True
                )
            ]

        return _paint(polygons, strokes, self.outside, source, corners, patch, field)


@dataclass(frozen=True)
class GeoJsonLabels(_OfPolygons):
    """Paints objects: each polygon or multipolygon by its place in the file; an `Annotation`.

    Attributes
    ----------
    only
        The classifications that are painted; none for all.
    """

    only: tuple[str, ...] = ()

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Paint the windows of one image, see `patchmill.tasks.annotation.Annotation`.

        Where objects overlap, the first in the file is it.
        """
        polygons = self.file.polygons(options)
        wanted = np.array([not self.only or name in self.only for name in polygons.all_names], bool)

        def strokes(touching: NDArray[np.int64]) -> _Strokes:
            own = touching[wanted[polygons.names[touching]]][::-1]
            return list(zip(own.tolist(), (1 + polygons.objects[own]).tolist(), strict=True))

        return _paint(polygons, strokes, 0, source, corners, patch, field)


def _paint(
    polygons: Polygons,
    strokes: Callable[[NDArray[np.int64]], _Strokes],
    outside: int,
    source: ImageSource,
    corners: NDArray[np.int64],
    patch: PatchSpec,
    field: AnnotationField,
) -> NDArray[Any]:
    """Return the windows, as `Annotation.cut` does; all planes of an image are alike."""
    windows = blank_windows(len(corners), patch.stored_size, field)
    resolution = source.kind.resolution
    held = held_windows(source, corners, patch)
    for window, corner, (own, _) in zip(windows, corners, held, strict=True):
        ys, xs = (
            pixel_centres(resolution, axis, corner[1 + axis : 2 + axis], patch)[own[axis]]
            for axis in (1, 2)
        )
        if not (len(ys) and len(xs)):
            continue
        plane = np.full((len(ys), len(xs)), outside, field.dtype)
        for number, value in strokes(polygons.touching(ys[0], ys[-1], xs[0], xs[-1])):
            rows, columns, inside = polygons.paint(number, ys, xs)
            plane[rows, columns][inside] = value
        window[own] = plane
    return windows


def pixel_centres(
    resolution: Resolution, axis: int, corner: NDArray[np.int64], patch: PatchSpec
) -> NDArray[np.float64]:
    """Return where a window's pixels have their centres, in full-resolution pixels.

    Parameters
    ----------
    resolution
        At which the image is cut.
    axis
        1 is y, 2 is x.
    corner
        int64, shape (1,): of the window, in level-0 pixels.
    patch
        What a patch is; its border is included.

    Returns
    -------
    centres
        float64, ascending; 0 is the edge of the image, not the centre of its first pixel.
    """
    scale = resolution.scale[axis]
    first = resolution.origins(axis, corner) * (scale / resolution.zoom[axis])
    centres: NDArray[np.float64] = first + scale * (
        np.arange(patch.stored_size[axis]) - patch.margin_px + 0.5
    )
    return centres

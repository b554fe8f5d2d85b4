"""The polygons of a file, and which of them touch a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .rasterise import polygon_edges, rasterise

#: Boxes in one leaf of the index.
_LEAF = 64
#: Points that are held until they are edges.
_RUN_POINTS = 1 << 17


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons with holes, each of an object, in full-resolution pixels.

    Attributes
    ----------
    edges
        As `polygon_edges` returns them, polygon after polygon.
    ends
        int64, shape (n,): one past the last edge of each polygon.
    boxes
        float64, shape (n, 4): smallest and largest y, smallest and largest x.
    objects
        int32, shape (n,): the object of each polygon, from 0; several may be of one.
    names
        int32, shape (n,): its classification, in `all_names`.
    all_names
        The classifications; "" for none.
    """

    edges: NDArray[np.float64]
    ends: NDArray[np.int64]
    boxes: NDArray[np.float64]
    objects: NDArray[np.int32]
    names: NDArray[np.int32]
    all_names: tuple[str, ...]
    _order: NDArray[np.int64] = field(init=False)
    _leaves: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        # Sort-tile-recursive packing (Leutenegger, Lopez and Edgington 1997), of one level: bands
        # of boxes along y, in each of them along x.
        n = len(self.boxes)
        across = max(1, round((n / _LEAF) ** 0.5))
        middle_y, middle_x = self.boxes[:, :2].sum(axis=1), self.boxes[:, 2:].sum(axis=1)
        band = np.empty(n, np.int64)
        band[np.argsort(middle_y, kind="stable")] = np.arange(n) // (across * _LEAF)
        order = np.lexsort((middle_x, band))
        leaves = np.empty((-(-n // _LEAF), 4))
        if n:
            firsts = np.arange(0, n, _LEAF)
            for column, ends in enumerate((np.minimum, np.maximum, np.minimum, np.maximum)):
                leaves[:, column] = ends.reduceat(self.boxes[order, column], firsts)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_leaves", leaves)

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        arrays = (self.edges, self.ends, self.boxes, self.objects, self.names, self._order)
        return sum(array.nbytes for array in arrays) + self._leaves.nbytes

    def touching(self, y: float, y_end: float, x: float, x_end: float) -> NDArray[np.int64]:
        """Return the polygons whose boxes touch a window, in order."""
        window = np.array([y, y_end, x, x_end])
        leaves = np.flatnonzero(_touch(self._leaves, window))
        inside = (leaves[:, None] * _LEAF + np.arange(_LEAF)).reshape(-1)
        own = self._order[inside[inside < len(self._order)]]
        return np.sort(own[_touch(self.boxes[own], window)])

    def paint(
        self, number: int, ys: NDArray[np.float64], xs: NDArray[np.float64]
    ) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Return where a polygon may lie on a grid, and which of the points there are inside.

        Parameters
        ----------
        number
            Of the polygon.
        ys, xs
            As in `rasterise`.
        """
        y, y_end, x, x_end = self.boxes[number]
        rows = slice(*np.searchsorted(ys, [y, y_end]).tolist())
        columns = slice(*np.searchsorted(xs, [x, x_end]).tolist())
        first = self.ends[number - 1] if number else 0
        edges = self.edges[first : self.ends[number]]
        return rows, columns, rasterise(edges, ys[rows], xs[columns])


def _touch(boxes: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes have a point in a window; outlines count."""
    y, y_end, x, x_end = window
    touches: NDArray[np.bool_] = (boxes[:, 0] <= y_end) & (boxes[:, 1] >= y)
    touches &= (boxes[:, 2] <= x_end) & (boxes[:, 3] >= x)
    return touches


class PolygonBuilder:
    """Collects polygons; of their points no more than a run is held."""

    def __init__(self) -> None:
        self._rings: list[NDArray[np.float64]] = []
        self._lengths: list[int] = []
        self._held = 0
        self._edges: list[NDArray[np.float64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._objects: list[int] = []
        self._names: list[int] = []

    def add(self, rings: Sequence[NDArray[np.float64]], number: int, name: int) -> None:
        """Add a polygon.

        Parameters
        ----------
        rings
            float64, shape (points, 2) each: x and y.
        number
            Of its object.
        name
            Number of its classification.
        """
        self._rings += rings
        self._lengths.append(len(rings))
        self._objects.append(number)
        self._names.append(name)
        self._held += sum(map(len, rings))
        if self._held > _RUN_POINTS:
            self._flush()

    def _flush(self) -> None:
        """Turn the points that are held into edges."""
        points = np.concatenate([np.empty((0, 2)), *self._rings])
        edges, of_rings = polygon_edges(
            points, np.cumsum([len(ring) for ring in self._rings], dtype=np.int64)
        )
        polygon = np.repeat(np.arange(len(self._lengths)), self._lengths)
        self._edges.append(edges)
        # Whole numbers, which float64 has exactly.
        counts = np.bincount(polygon, of_rings, minlength=len(self._lengths))
        self._counts.append(counts.astype(np.int64))
        self._rings, self._lengths, self._held = [], [], 0

    def finish(self, all_names: Sequence[str]) -> Polygons:
        """Return all polygons; `all_names` are the classifications by number."""
        self._flush()
        edges, ends = np.concatenate(self._edges), np.cumsum(np.concatenate(self._counts))
        self._edges.clear()
        # One that encloses nothing has an empty box.
        boxes = np.zeros((len(ends), 4))
        firsts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
        has = ends > firsts
        if has.any():
            at = firsts[has]
            boxes[has, 0] = np.minimum.reduceat(edges[:, 1], at)
            boxes[has, 1] = np.maximum.reduceat(edges[:, 3], at)
            boxes[has, 2] = np.minimum.reduceat(np.minimum(edges[:, 0], edges[:, 2]), at)
            boxes[has, 3] = np.maximum.reduceat(np.maximum(edges[:, 0], edges[:, 2]), at)
        objects, names = np.array(self._objects, np.int32), np.array(self._names, np.int32)
        return Polygons(edges, ends, boxes, objects, names, tuple(all_names))

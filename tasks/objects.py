"""The task that finds the objects of label maps: how many pixels each has, and where.

A map is read once, part by part; of each part there are whole sums for each label, which are
added up, so that nothing depends on how the file is divided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .annotation_file import FileAnnotation
from .read import Channels, read_boxes
from .source import SourceError

#: Sums of parts are added up when there are so many.
MOST_PENDING = 1 << 20

_Sums = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one time of a label map, or of one plane, in order of their labels.

    Attributes
    ----------
    t, z
        In the file; z is 0 where all planes are one map.
    label
        Shape (n,), of the field's type.
    sums
        int64, shape (n, 4): of each object the number of its pixels, and the sums of their z, y
        and x.
    """

    t: int
    z: int
    label: NDArray[Any]
    sums: NDArray[np.int64]

    @property
    def area_px(self) -> NDArray[np.int64]:
        """The pixels of each object, shape (n,)."""
        return self.sums[:, 0]

    @property
    def centroids(self) -> NDArray[np.float64]:
        """Mean z, y and x of the pixels of each object, float64, shape (n, 3)."""
        return self.sums[:, 1:] / self.sums[:, :1]


def find_objects(
    annotations: Sequence[FileAnnotation], field: AnnotationField, whole: bool
) -> list[list[Objects] | str]:
    """Find the objects of label maps, one after another.

    Parameters
    ----------
    annotations
        The files.
    field
        What their numbers become.
    whole
        Whether the planes of a stack are one map, in which an object has several; else each plane
        is a map.

    Returns
    -------
    found
        For each file its objects by time and plane, or one sentence that says why it cannot be
        read.
    """
    found: list[list[Objects] | str] = []
    for annotation in annotations:
        try:
            found.append(objects_of(annotation, field, whole))
        except SourceError as error:
            path = annotation.file.paths[0]
            found.append(str(error).replace(path, annotation.relative))
    return found


def objects_of(annotation: FileAnnotation, field: AnnotationField, whole: bool) -> list[Objects]:
    """Return the objects of one label map, see `find_objects`.

    Raises
    ------
    SourceError
        Where it cannot be read, or holds what is no label.
    """
    file = annotation.file
    n_t, _, n_z, _ = file.kind.planes.shape
    _, height, width = file.kind.resolution.shape
    pending: dict[tuple[int, int], list[_Sums]] = {
        (t, z): [] for t in range(n_t) for z in range(1 if whole else n_z)
    }
    since = dict.fromkeys(pending, 0)

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        key = t, 0 if whole else z
        sums = _sums(annotation.values(file.paths[0], part, field), z, y, x)
        pending[key].append(sums)
        since[key] += len(sums[0])
        if since[key] > MOST_PENDING:
            pending[key] = [_added(pending[key], field)]
            since[key] = 0

    boxes = np.array([(0, n_t, 0, n_z, 0, height, 0, width)], np.int64)
    read_boxes(file, annotation.options, boxes, take)
    return [Objects(t, z, *_added(own, field)) for (t, z), own in pending.items()]


def _sums(labels: NDArray[Any], z: int, y: int, x: int) -> _Sums:
    """Return the labels in a part of a plane, which begins at (z, y, x), and their sums."""
    rows, columns = np.nonzero(labels)
    values = labels[rows, columns]
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high - low <= 4 * values.size:
        # Labels of neighbours are mostly near each other; sorting is dear.
        of = (values - values.dtype.type(low)).astype(np.intp)
        counts = np.bincount(of)
        found = np.flatnonzero(counts)
        names = found.astype(labels.dtype) + labels.dtype.type(low)
    else:
        names, of = np.unique(values, return_inverse=True)
        counts = np.bincount(of)
        found = np.arange(len(names))
    count = counts[found].astype(np.int64)
    # Sums in float64 are exact: below 2^53.
    down, across = (np.bincount(of, where)[found].astype(np.int64) for where in (rows, columns))
    return names, np.stack([count, count * z, down + count * y, across + count * x], axis=1)


def _added(parts: Sequence[_Sums], field: AnnotationField) -> _Sums:
    """Add up the sums of each label."""
    labels = np.concatenate([np.empty(0, field.dtype), *(names for names, _ in parts)])
    values = np.concatenate([np.empty((0, 4), np.int64), *(sums for _, sums in parts)])
    names, of = np.unique(labels, return_inverse=True)
    total = np.zeros((len(names), 4), np.int64)
    np.add.at(total, of, values)
    return names, total

"""Masks and label maps that are made from the image itself, by thresholds on what is stored.

Opening, holes, smallest area and components are not local. Either they are of each patch by
itself, or of the whole image: then each task makes the plane that its windows are of once, out of
the same pixels that patches are cut from, and windows that overlap agree.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .annotation import AnnotationField
from .held_windows import held_windows
from .image import ImageOptions
from .kept import Kept
from .patches import PatchSpec, cut_patches
from .source import FileIdentity, ImageSource, SourceError
from .threshold_classes import ClassRules, apply_rules, classify, label_objects

#: What a process keeps of whole planes; one of them, whatever it holds.
MAX_KEPT_BYTES = 1 << 28
#: Pixels of a whole image that are cut at once.
BAND_PX = 1 << 22
#: Of each pixel of a whole image while its objects are found, beside a byte for each class.
_WHOLE_BYTES = 14
#: Of each number of a band while it is cut, beside itself: without steps that need a border, and
#: with them.
_BAND_BYTES, _STEPPED_BYTES = 8, 36
_planes: Kept[NDArray[Any]] = Kept(MAX_KEPT_BYTES)


@dataclass(frozen=True)
class ThresholdAnnotation:
    """Makes classes or objects from an image's pixels; an `Annotation`.

    Attributes
    ----------
    rules
        How.
    of_image
        Whether of the whole image; else of each patch by itself, borders included.
    """

    rules: ClassRules
    of_image: bool

    @property
    def files(self) -> tuple[tuple[str, FileIdentity], ...]:
        """None but the image's own."""
        return ()

    def held_bytes(self, source: ImageSource, patch: PatchSpec, rows: int) -> int:
        """Return the memory that making a whole image takes, beside the windows."""
        if not self.of_image:
            return 0
        depth, height, width = source.kind.resolution.size
        depth = depth if patch.is_3d else 1
        # The masks of all classes stay; then bands go, and objects come.
        masks = depth * height * width * (1 + len(self.rules.numbers))
        band = depth * min(height, _band_rows(source, patch)) * width * patch.channels
        band *= patch.dtype.itemsize + (_STEPPED_BYTES if patch.halo_px else _BAND_BYTES)
        return masks + max(band, depth * height * width * _WHOLE_BYTES)

    def kept_bytes(self, source: ImageSource, patch: PatchSpec) -> int:
        """Return the memory that all planes of a whole image take."""
        if not self.of_image:
            return 0
        most = np.dtype(np.uint32).itemsize
        return len(source.kind.planes) * math.prod(source.kind.resolution.size) * most

    def cut(
        self,
        source: ImageSource,
        options: ImageOptions,
        corners: NDArray[np.int64],
        patch: PatchSpec,
        field: AnnotationField,
        patches: NDArray[Any],
    ) -> NDArray[Any]:
        """Make the windows of one image, see `patchmill.tasks.annotation.Annotation`."""
        nothing = 0 if field.ignore is None else field.ignore
        windows = np.full((len(corners), *patches.shape[2:]), nothing, field.dtype)
        held = held_windows(source, corners, patch)
        at, plane = None, None
        for window, pixels, (t, z, _, _), (own, place) in zip(
            windows, patches, corners.tolist(), held, strict=True
        ):
            if self.of_image:
                wanted = (t, 0 if patch.is_3d else z)
                if plane is None or at != wanted:
                    at, plane = wanted, self._plane(source, options, wanted, patch, field)
                depth = place[0] if patch.is_3d else slice(0, 1)
                window[own] = plane[depth, *place[1:]]
            else:
                # What is padded is the image's mirror, or a value: it is of no object. A patch that
                # a step has given another size does not lie in the image any more.
                own = own if patch.output_size is None else (slice(None),) * 3
                masks = apply_rules(pixels[:, *own], self.rules)
                window[own] = self._made(masks, source, field)
        return windows

    def _made(
        self, masks: NDArray[np.bool_], source: ImageSource, field: AnnotationField
    ) -> NDArray[Any]:
        """Return classes or objects of the field's type, shape (z, y, x)."""
        if field.is_mask:
            return classify(masks, self.rules, field.dtype, field.ignore or 0)
        made = label_objects(masks, self.rules)
        check_objects(int(made.max(initial=0)), source.paths[0], field)
        # Of a whole image a copy is large.
        same = made.itemsize == field.dtype.itemsize
        return made.view(field.dtype) if same else made.astype(field.dtype)

    def _plane(
        self,
        source: ImageSource,
        options: ImageOptions,
        at: tuple[int, int],
        patch: PatchSpec,
        field: AnnotationField,
    ) -> NDArray[Any]:
        """Return all of one plane, or of one volume, shape (z, y, x), kept or made now."""
        # Sources come anew with every task, so that what they say is the key, not what they are.
        key = (
            *(source.id, source.paths, source.identities, source.item, source.kind.resolution),
            *(source.kind.planes.tobytes(), _digest(source.steps), options, patch),
            *(self, field.name, field.dtype.str, field.ignore, at),
        )

        def make() -> NDArray[Any]:
            # In a thread of its own, whose scratch memory ends with it: this thread's may hold
            # the patches, and is never given back.
            with ThreadPoolExecutor(1) as own:
                masks = own.submit(_whole, source, options, at, patch, self.rules).result()
            return self._made(masks, source, field)

        return _planes.get(key, make)


def check_objects(count: int, path: str, field: AnnotationField) -> None:
    """Raise a SourceError where a label map's type has not as many numbers as there are objects."""
    if count > np.iinfo(field.dtype).max:
        kind, _, name = field.name.partition("/")
        raise SourceError(
            f"{path}: has {count} objects, and {field.name} is {field.dtype.name}; write "
            f'{kind}.{name}.dtype = "uint32"'
        )


def _digest(steps: object) -> bytes:
    return hashlib.sha256(pickle.dumps(steps)).digest()


def _whole(
    source: ImageSource,
    options: ImageOptions,
    at: tuple[int, int],
    patch: PatchSpec,
    rules: ClassRules,
) -> NDArray[np.bool_]:
    """Return which pixels of a whole plane or volume the rules hold for, band by band."""
    resolution = source.kind.resolution
    depth, height, width = resolution.size
    depth = depth if patch.is_3d else 1
    masks = np.empty((1 + len(rules.numbers), depth, height, width), bool)
    rows = _band_rows(source, patch)
    for first in range(0, height, rows):
        band = replace(patch, size=(depth, min(rows, height - first), width), margin_px=0)
        corner = resolution.corners(1, np.array([first], np.int64))
        corners = np.array([[*at, int(corner[0]), 0]], np.int64)
        pixels = cut_patches(source, options, corners, band)
        pixels = pixels.reshape(patch.channels, *band.size)
        masks[:, :, first : first + band.size[1]] = apply_rules(pixels, rules)
    return masks


def _band_rows(source: ImageSource, patch: PatchSpec) -> int:
    """Return how many rows are cut at once: whole segments, so that few are decoded twice."""
    depth, _, width = source.kind.resolution.size
    segment = max(1, round(source.kind.segment[3] / source.kind.resolution.zoom[1]))
    rows = BAND_PX // (width * (depth if patch.is_3d else 1))
    return max(segment, rows - rows % segment)

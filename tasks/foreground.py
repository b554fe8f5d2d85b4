"""Which pixels of an image are foreground: a mask on a coarse level, made by threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .annotation import Annotation, AnnotationField
from .foreground_signals import (
    Thumbnail,
    at_thumbnails,
    corner_of,
    planes_of,
    read_thumbnail,
    signals_of,
    thumbnail_size,
    thumbnail_spec,
)
from .foreground_windows import ForegroundMask
from .image import ImageOptions
from .mask_shape import mend
from .patches import cut_patches
from .resolution import Resolution
from .scratch import other_scratch

if TYPE_CHECKING:
    from .source import ImageSource

__all__ = ["Foreground", "ForegroundMask", "foreground_mask"]


@dataclass(frozen=True)
class Foreground:
    """How the foreground mask of one image is made; every number is settled.

    Lengths are in pixels of the mask.

    Attributes
    ----------
    resolution
        Of the mask: a coarse level, and how far that is shrunk.
    segment
        Lengths of (t, c, z, y, x) of what must be decoded at once, at that level.
    method
        "otsu", "triangle", "li", "fixed", "percentile", "local_std", "saturation" or "mask".
    channels
        Numbers of those that are looked at; a pixel is foreground where it is in any of them.
    thresholds
        Of each signal, see `signals_of`; infinite where there is no contrast, and none before they
        were found.
    is_dark
        Whether foreground is what is below a threshold, not above.
    percentile
        0 to 100, for that method.
    radius
        Of the square whose standard deviation is taken.
    min_value, max_value
        Within which a threshold is kept.
    project_z, project_t
        As in `PatchSpec`.
    closing, min_area, max_hole
        As in `mend`.
    annotation, annotation_field, classes
        With "mask": where the mask comes from, and which of its values are foreground (none: all
        but 0 and the ignore value).
    """

    resolution: Resolution
    segment: tuple[int, int, int, int, int]
    method: str
    channels: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    is_dark: bool = False
    percentile: float = 50.0
    radius: int = 1
    min_value: float = -math.inf
    max_value: float = math.inf
    project_z: str = ""
    project_t: str = ""
    closing: float = 0.0
    min_area: float = 0.0
    max_hole: float = 0.0
    annotation: Annotation | None = None
    annotation_field: AnnotationField | None = None
    classes: tuple[int, ...] = ()

    @property
    def nowhere(self) -> float:
        """The threshold that no pixel passes."""
        return -math.inf if self.is_dark else math.inf

    @property
    def stated(self) -> float:
        """A threshold that was put there is taken as stated, be all of an image beyond it."""
        return self.min_value if self.is_dark else self.max_value

    def passes(self, signal: Thumbnail, threshold: float) -> NDArray[np.bool_]:
        """Return which pixels of a signal pass a threshold; NaN never does."""
        found: NDArray[np.bool_] = signal < threshold if self.is_dark else signal > threshold
        return found


def foreground_mask(
    source: ImageSource,
    options: ImageOptions,
    planes: Iterable[tuple[int, int]] | None = None,
) -> ForegroundMask:
    """Make the mask of an image that has `source.foreground`, with thresholds.

    Parameters
    ----------
    planes
        (t, z) of those that are wanted, as `cut_patches` counts them; all by default. Of an image
        of many planes, ask for few: each takes a byte for a pixel of the mask.

    Raises
    ------
    SourceError
        Where it cannot be read.
    """
    foreground = source.foreground
    if foreground is None:
        raise ValueError(f"{source.id} has no foreground; give it one")
    every = planes_of(source, foreground)
    if planes is not None:
        one_t, one_z = bool(foreground.project_t), bool(foreground.project_z)
        wanted = {(0 if one_t else int(t), 0 if one_z else int(z)) for t, z in planes}
        every = [plane for plane in every if plane in wanted]
    masks = np.empty((len(every), *thumbnail_size(foreground)), bool)
    n_t, _, n_z, _ = source.kind.planes.shape
    shape = (1 if foreground.project_t else n_t, 1 if foreground.project_z else n_z)
    numbers = np.full(shape, -1, np.int32)
    for number, (t, z) in enumerate(every):
        if foreground.method == "mask":
            masks[number] = given_mask(source, options, t, z)
        else:
            signals = signals_of(foreground, read_thumbnail(source, options, t, z))
            masks[number] = mask_of(foreground, signals)
        numbers[t, z] = number
    return ForegroundMask(masks, numbers, *lengths(foreground))


def lengths(foreground: Foreground) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return `scale` and `extent` of a mask, see `ForegroundMask`."""
    _, *scale = foreground.resolution.scale
    _, *zoom = foreground.resolution.zoom
    _, *shape = foreground.resolution.shape
    y, x = (n * s / z for n, s, z in zip(shape, scale, zoom, strict=True))
    return (scale[0], scale[1]), (y, x)


def mask_of(foreground: Foreground, signals: Iterable[Thumbnail]) -> NDArray[np.bool_]:
    """Return where any signal passes its threshold, mended."""
    passed = [
        foreground.passes(signal, threshold)
        for signal, threshold in zip(signals, foreground.thresholds, strict=True)
    ]
    found = np.logical_or.reduce(passed)
    return mend(found, foreground.closing, foreground.min_area, foreground.max_hole)


def given_mask(source: ImageSource, options: ImageOptions, t: int, z: int) -> NDArray[np.bool_]:
    """Return one plane of a mask or a label map that was given, at the resolution of the mask.

    Parameters
    ----------
    source
        With `foreground` of the method "mask".
    t, z
        As `planes_of` has them.

    Raises
    ------
    SourceError
        Where it cannot be read.
    """
    foreground = source.foreground
    assert foreground is not None
    field, annotation = foreground.annotation_field, foreground.annotation
    assert field is not None
    assert annotation is not None
    coarse = at_thumbnails(source, foreground)
    spec = thumbnail_spec(foreground, coarse.kind.planes.shape[1])
    corner = corner_of(foreground, t, z)
    with other_scratch():
        pixels = cut_patches(coarse, options, corner, spec).reshape(1, spec.channels, *spec.size)
        found = annotation.cut(coarse, options, corner, spec, field, pixels)[0, 0]
        if foreground.classes:
            held = np.isin(found, foreground.classes)
        else:
            held = found != 0
            if field.ignore is not None:
                held &= found != field.ignore
    return mend(held, foreground.closing, foreground.min_area, foreground.max_hole)

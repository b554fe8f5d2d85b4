"""The tasks that look at thumbnails: histograms, and how much of windows is foreground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .contrast import NO_JOINS, Joins, is_separated, joins_of
from .foreground import Foreground, ForegroundMask, given_mask, lengths, mask_of
from .foreground_signals import SignalPlanes, planes_of, sketch_signals
from .image import ImageOptions
from .sketch import Sketch
from .source import ImageSource, SourceError
from .thresholds import THRESHOLDS


@dataclass(frozen=True, eq=False)
class ForegroundScore:
    """What was found in one image.

    Attributes
    ----------
    thresholds
        Of each signal; infinite where an image shows no contrast.
    joins
        Of each signal's mask, before it was mended, for the contrast of a group of images.
    fractions
        float32, shape (n,): how much of each window is foreground.
    """

    thresholds: tuple[float, ...]
    joins: tuple[Joins, ...]
    fractions: NDArray[np.float32]


def sketch_images(
    sources: Sequence[ImageSource], options: ImageOptions
) -> list[list[Sketch] | str]:
    """Return the histograms of images, one for each signal, see `sketch_signals`.

    Parameters
    ----------
    sources
        With `foreground`.
    options
        How their files are opened.

    Returns
    -------
    found
        For each image, or one sentence that says why it cannot be read.
    """
    found: list[list[Sketch] | str] = []
    for source in sources:
        try:
            found.append(sketch_signals(source, SignalPlanes(source, options)))
        except SourceError as error:
            found.append(str(error))
    return found


def score_foreground(
    sources: Sequence[ImageSource],
    windows: Sequence[NDArray[np.int64]],
    size: tuple[int, int, int],
    options: ImageOptions,
) -> list[ForegroundScore | str]:
    """Return how much of windows is foreground.

    Parameters
    ----------
    sources
        With `foreground`; where it has no thresholds, they are found in the image itself, and an
        image without contrast has no foreground.
    windows
        Of each image int64, shape (n, 4): t, z, y and x, see `cut_patches`.
    size
        (z, y, x) of a window in pixels of the patch.
    options
        How their files are opened.

    Returns
    -------
    found
        For each image, or one sentence that says why it cannot be read.
    """
    found: list[ForegroundScore | str] = []
    for source, corners in zip(sources, windows, strict=True):
        try:
            found.append(_score(source, corners, size, options))
        except SourceError as error:
            found.append(str(error))
    return found


def find_thresholds(foreground: Foreground, sketches: Sequence[Sketch]) -> tuple[float, ...]:
    """Return the thresholds of signals, within `min_value` and `max_value`.

    Parameters
    ----------
    foreground
        Of a method that looks for them.
    sketches
        The histogram of each signal, of one image or of many.
    """
    found = []
    for sketch in sketches:
        if not sketch.count:
            found.append(foreground.nowhere)
            continue
        if foreground.method == "percentile":
            value = float(sketch.percentiles([foreground.percentile])[0])
        else:
            method = THRESHOLDS.get(foreground.method, THRESHOLDS["otsu"])
            value = method(sketch.values, sketch.counts)
        clamped = min(max(value, foreground.min_value), foreground.max_value)
        if foreground.method == "local_std" and clamped != foreground.stated:
            window = (2 * foreground.radius + 1) ** 2
            if not is_separated(sketch.values, sketch.counts, value, window):
                clamped = foreground.nowhere
        found.append(clamped)
    return tuple(found)


def with_contrast(
    foreground: Foreground, thresholds: Sequence[float], joins: Sequence[Joins]
) -> tuple[float, ...]:
    """Return thresholds, infinite where what they find is no more than noise.

    One that had to be lowered to `max_value` (of dark foreground: raised to `min_value`) stays:
    then it is stated that what is beyond is foreground, be it all of an image.
    """
    if foreground.method == "local_std":
        return tuple(thresholds)  # which `find_thresholds` has tested
    return tuple(
        threshold if own.has_contrast or threshold == foreground.stated else foreground.nowhere
        for threshold, own in zip(thresholds, joins, strict=True)
    )


def _score(
    source: ImageSource,
    corners: NDArray[np.int64],
    size: tuple[int, int, int],
    options: ImageOptions,
) -> ForegroundScore:
    foreground = source.foreground
    assert foreground is not None
    if foreground.method == "mask":
        every = planes_of(source, foreground)
        masks = ((t, z, given_mask(source, options, t, z)) for t, z in every)
        return ForegroundScore((), (), _fractions(source, foreground, corners, size, masks))
    planes = SignalPlanes(source, options)
    settled = foreground
    if not foreground.thresholds:
        thresholds = find_thresholds(foreground, sketch_signals(source, planes))
        settled = replace(foreground, thresholds=thresholds)
    joins = [NO_JOINS] * len(settled.thresholds)
    for _, _, signals in planes:
        for number, (signal, threshold) in enumerate(zip(signals, settled.thresholds, strict=True)):
            passed = settled.passes(signal, threshold)
            joins[number] += joins_of(passed)
    if not foreground.thresholds:
        settled = replace(settled, thresholds=with_contrast(foreground, settled.thresholds, joins))
    made = ((t, z, mask_of(settled, signals)) for t, z, signals in planes)
    fractions = _fractions(source, settled, corners, size, made)
    return ForegroundScore(settled.thresholds, tuple(joins), fractions)


def _fractions(
    source: ImageSource,
    foreground: Foreground,
    corners: NDArray[np.int64],
    size: tuple[int, int, int],
    masks: Iterator[tuple[int, int, NDArray[np.bool_]]],
) -> NDArray[np.float32]:
    """Return the fractions of windows, few masks at a time: those of a plane, or of a stack."""
    resolution = source.kind.resolution
    n_t, _, n_z, _ = source.kind.planes.shape
    n_t, n_z = (1 if foreground.project_t else n_t), (1 if foreground.project_z else n_z)
    is_deep = n_z > 1 and (size[0] > 1 or resolution.zoom[0] != 1)
    times = corners[:, 0] if n_t > 1 else np.zeros(len(corners), np.int64)
    depths = np.zeros(len(corners), np.int64)
    if n_z > 1 and not is_deep:
        depths = resolution.origins(0, corners[:, 1]).astype(np.int64)
    found = np.zeros(len(corners), np.float32)
    held: list[NDArray[np.bool_]] = []
    for t, z, mask in masks:
        held.append(mask)
        if is_deep and z < n_z - 1:
            continue
        numbers = np.full((n_t, n_z), -1, np.int32)
        numbers[t, z + 1 - len(held) : z + 1] = np.arange(len(held))
        own = np.flatnonzero((times == t) & (is_deep | (depths == z)))
        if own.size:
            made = ForegroundMask(np.stack(held), numbers, *lengths(foreground))
            found[own] = made.fractions(resolution, corners[own], size)
        held.clear()
    return found

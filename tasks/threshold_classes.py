"""Classes and objects out of pixels: rules, opening, holes, smallest area, components.

Functions on arrays. Opening, holes and components are of what they are given: at its edges an
object is a piece, and what it encloses together with the edge is no hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Pixels whose labels are counted or looked up at once.
_RUN_PX = 1 << 20


@dataclass(frozen=True)
class Rule:
    """Which pixels are of a class: those of a channel between two values, both excluded.

    Attributes
    ----------
    number
        Of the class, above 0.
    channel
        Its number.
    above, below
        In the units of the store.
    """

    number: int
    channel: int
    above: float = -np.inf
    below: float = np.inf


@dataclass(frozen=True)
class ClassRules:
    """How pixels become classes and objects.

    Attributes
    ----------
    rules
        Classes in order: where several hold, the first class is it. Rules of one class are joined.
    opening_px
        Radius of the disk by which each class is opened, plane by plane; 0 for none.
    fill_holes
        Whether what a class encloses becomes of it, but for what is of a class before it.
    min_area_px
        Pixels that an object must have; the others become background.
    corners_touch
        Whether pixels that meet at a corner are of one object; else they must share an edge.
    """

    rules: tuple[Rule, ...]
    opening_px: int = 0
    fill_holes: bool = False
    min_area_px: int = 0
    corners_touch: bool = True

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the classes, in order."""
        return tuple(dict.fromkeys(rule.number for rule in self.rules))


def apply_rules(pixels: NDArray[Any], rules: ClassRules) -> NDArray[np.bool_]:
    """Return which pixels the rules hold for.

    Parameters
    ----------
    pixels
        Shape (c, z, y, x), any real type.
    rules
        Their channels are those of the pixels.

    Returns
    -------
    masks
        bool, shape (1 + classes, z, y, x): first the pixels that cannot be told, because a channel
        that decides is NaN there; then those of each of `rules.numbers`.
    """
    masks = np.zeros((1 + len(rules.numbers), *pixels.shape[1:]), bool)
    for rule in rules.rules:
        channel = pixels[rule.channel]
        # As arrays, in float64: a number of Python's would be rounded to the type of the pixels.
        held = (channel > np.array([rule.above])) & (channel < np.array([rule.below]))
        masks[1 + rules.numbers.index(rule.number)] |= held
        if channel.dtype.kind == "f":
            masks[0] |= np.isnan(channel)
    return masks


def classify(
    masks: NDArray[np.bool_], rules: ClassRules, dtype: np.dtype[Any], unknown: int
) -> NDArray[Any]:
    """Return the class of each pixel, shape (z, y, x); 0 is background.

    Parameters
    ----------
    masks
        As `apply_rules` returns them; written into. Planes along z are one volume.
    rules
        The same.
    dtype
        Of the classes.
    unknown
        What pixels become that cannot be told.
    """
    found = np.zeros(masks.shape[1:], dtype)
    found[masks[0]] = unknown
    for number, mask in zip(rules.numbers, masks[1:], strict=True):
        _clean(mask, masks[0], rules)
        if rules.min_area_px > 1:
            labels, areas = components(mask, rules.corners_touch)
            _look_up(areas >= rules.min_area_px, labels, mask)
        masks[0] |= mask
        found[mask] = number
    return found


def label_objects(masks: NDArray[np.bool_], rules: ClassRules) -> NDArray[np.int32]:
    """Return the object of each pixel, int32, shape (z, y, x); 0 is background.

    Objects of different classes are different ones. They are numbered from 1, class by class, in
    the order of their first pixels.

    Parameters
    ----------
    masks, rules
        As in `classify`.
    """
    found = np.zeros(masks.shape[1:], np.int32)
    count = 0
    for mask in masks[1:]:
        _clean(mask, masks[0], rules)
        labels, areas = components(mask, rules.corners_touch)
        kept = areas >= max(1, rules.min_area_px)
        numbers = np.zeros(len(areas), np.int32)
        numbers[kept] = count + np.arange(1, 1 + kept.sum(), dtype=np.int32)
        count += int(kept.sum())
        _look_up(numbers, labels, labels)
        found += labels
        masks[0] |= labels > 0
    return found


def components(
    mask: NDArray[np.bool_], corners_touch: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return connected pixels, numbered from 1, and how many each number has.

    Parameters
    ----------
    mask
        bool, shape (z, y, x).
    corners_touch
        Whether pixels that meet at a corner are connected.

    Returns
    -------
    labels
        int32, shape (z, y, x); 0 where the mask is not.
    areas
        int64, in pixels, by number; 0 for the number 0.
    """
    structure = ndimage.generate_binary_structure(3, 3 if corners_touch else 1)
    labels = np.empty(mask.shape, np.int32)
    count = int(ndimage.label(mask, structure, output=labels))
    areas = np.zeros(count + 1, np.int64)
    for own in _runs(labels):
        areas += np.bincount(labels.reshape(-1)[own], minlength=count + 1)
    areas[0] = 0
    return labels, areas


def _look_up(table: NDArray[Any], labels: NDArray[np.int32], out: NDArray[Any]) -> None:
    """Write what a table has for each label; `out` may be the labels."""
    flat, target = labels.reshape(-1), out.reshape(-1)
    for own in _runs(labels):
        target[own] = table[flat[own]]


def _runs(labels: NDArray[np.int32]) -> Iterator[slice]:
    """Yield what is counted or looked up at once: NumPy makes copies of eight bytes a pixel."""
    for first in range(0, labels.size, _RUN_PX):
        yield slice(first, first + _RUN_PX)


def _clean(mask: NDArray[np.bool_], taken: NDArray[np.bool_], rules: ClassRules) -> None:
    """Open a class, fill its holes, and leave out what is taken; in place."""
    if radius := rules.opening_px:
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disk = (y**2 + x**2 <= radius**2).astype(np.uint8)
        for plane in mask.view(np.uint8):
            plane[...] = cv2.morphologyEx(plane, cv2.MORPH_OPEN, disk)
    if rules.fill_holes:
        _fill_holes(mask, rules.corners_touch)
    mask &= ~taken


def _fill_holes(mask: NDArray[np.bool_], corners_touch: bool) -> None:
    """Fill what is not connected with the edges, which are those in y and x of a single plane.

    Where corners connect objects, they do not connect what is between, or both could cross.
    """
    outside, areas = components(~mask, not corners_touch)
    is_hole = areas > 0
    for axis in range(mask.ndim):
        if axis or mask.shape[0] > 1:
            for edge in (0, -1):
                is_hole[outside.take(edge, axis=axis)] = False
    # 0 is the mask itself.
    is_hole[0] = True
    _look_up(is_hole, outside, mask)

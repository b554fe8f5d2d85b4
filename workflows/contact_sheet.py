"""A contact sheet: many patches and their masks in one picture, for a look with one's own eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]

GREY: Colour = (1.0, 1.0, 1.0)
#: For bright fields under fluorescence: dim enough that the other colours stay visible.
DIM_GREY: Colour = (0.55, 0.55, 0.55)
GREEN: Colour = (0.15, 1.0, 0.25)
RED: Colour = (1.0, 0.05, 0.1)
#: Colours of channels that are given none: each pair adds up to a third, and none is lost to
#: the colour-blind next to another.
CYCLE: tuple[Colour, ...] = ((0.0, 0.9, 1.0), (1.0, 0.2, 0.9), (1.0, 0.9, 0.0))


def contact_sheet(
    patches: NDArray[Any],
    *,
    columns: int | None = None,
    colours: Sequence[Colour] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.8),
    relative: Sequence[int] = (),
    labels: Sequence[str] | None = None,
    masks: NDArray[Any] | None = None,
    mask_colours: Mapping[int, Colour] | None = None,
    under: int = 0,
    gap_px: int = 4,
) -> NDArray[np.uint8]:
    """Return a picture of patches on a grid.

    Parameters
    ----------
    patches
        Shape (n, c, y, x), any real dtype.
    columns
        Patches side by side; by default the sheet is a little wider than high.
    colours
        One (red, green, blue) of 0 to 1 per channel. By default grey for a single channel,
        and cyan, magenta, yellow in turn for more.
    percentiles
        Of all pixels of a channel: what becomes black, and what becomes its full colour. They
        are the same for all patches, so that brightness can be compared.
    relative
        Channels in which a patch is first divided by its own median: transmitted light, where
        only contrast means something and uneven illumination would hide it.
    labels
        A short text per patch, written into its lower left corner.
    masks
        Shape (n, y, x), integers: each patch's mask is drawn at its right side, as outlines and a
        faint tint over one channel in grey.
    mask_colours
        (red, green, blue) of classes; pixels of other classes are left as they are.
    under
        The channel that masks are drawn over.
    gap_px
        Between patches and around them; a patch and its mask touch.

    Returns
    -------
    NDArray
        Shape (y, x, 3), uint8, in OpenCV's order blue, green, red.
    """
    if patches.ndim != 4 or not len(patches):
        raise ValueError(
            f"patches have shape {patches.shape}; a contact sheet needs (n, c, y, x) with n > 0"
        )
    n, channels, height, width = patches.shape
    if colours is None:
        colours = [GREY] if channels == 1 else list(islice(cycle(CYCLE), channels))
    if len(colours) != channels:
        raise ValueError(f"{len(colours)} colours for {channels} channels; give one per channel")
    if labels is not None and len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} patches; give one per patch")
    if masks is not None and masks.shape != (n, height, width):
        raise ValueError(f"masks have shape {masks.shape}; the patches need {(n, height, width)}")
    tile_width = width if masks is None else 2 * width
    if columns is None:
        columns = int(np.ceil(np.sqrt(n * 1.5 * height / tile_width)))
    columns = max(1, min(columns, n))
    rows = -(-n // columns)

    patches = _levelled(patches, relative)
    ranges = [_contrast(patches[:, channel], percentiles) for channel in range(channels)]
    size = (rows * (height + gap_px) + gap_px, columns * (tile_width + gap_px) + gap_px, 3)
    sheet = np.full(size, 18, np.uint8)
    for number in range(n):
        row, column = divmod(number, columns)
        y, x = gap_px + row * (height + gap_px), gap_px + column * (tile_width + gap_px)
        tile = _colour(patches[number], ranges, colours)
        if masks is not None:
            ground = _colour(patches[number, [under]], [ranges[under]], [GREY])
            tile = np.hstack([tile, _masked(ground, masks[number], mask_colours or {})])
        if labels is not None:
            _write(tile, labels[number])
        sheet[y : y + height, x : x + tile_width] = tile
    return sheet


def save_contact_sheet(path: str | Path, patches: NDArray[Any], **options: Any) -> Path:
    """Write `contact_sheet` as a picture, by the suffix of the path, and return the path."""
    path = Path(path)
    done, data = cv2.imencode(path.suffix, contact_sheet(patches, **options))
    if not done:
        raise OSError(f"{path}: OpenCV cannot write pictures of the kind {path.suffix!r}; use .png")
    path.write_bytes(data.tobytes())
    return path


def _levelled(patches: NDArray[Any], relative: Sequence[int]) -> NDArray[Any]:
    """Return the patches with some channels divided by each patch's median there."""
    if not relative:
        return patches
    levelled = patches.astype(np.float32)
    for channel in relative:
        medians = np.median(levelled[:, channel], axis=(1, 2), keepdims=True)
        levelled[:, channel] /= np.where(medians > 0, medians, 1)
    return levelled


def _contrast(pixels: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return what becomes black and what becomes full, from about a million pixels."""
    step = max(1, int(np.sqrt(pixels.size / 2**20)))
    low, high = np.percentile(pixels[:, ::step, ::step], percentiles)
    return float(low), float(high)


def _colour(
    patch: NDArray[Any], ranges: Sequence[tuple[float, float]], colours: Sequence[Colour]
) -> NDArray[np.uint8]:
    """Return a patch (c, y, x) as (y, x, 3), its channels screened over each other.

    Screening (one minus the product of what each leaves dark) adds like light but does not
    clip where channels meet.
    """
    dark = np.ones((*patch.shape[1:], 3), np.float32)
    for plane, (low, high), colour in zip(patch, ranges, colours, strict=True):
        scale = 1 / (high - low) if high > low else 0.0
        light = np.clip((plane.astype(np.float32) - low) * scale, 0, 1)
        dark *= 1 - light[:, :, None] * np.array(colour[::-1], np.float32)
    return (255 * (1 - dark) + 0.5).astype(np.uint8)


def _masked(
    ground: NDArray[np.uint8], mask: NDArray[Any], colours: Mapping[int, Colour]
) -> NDArray[np.uint8]:
    """Return a picture (y, x, 3) with classes tinted and outlined."""
    picture = ground.astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for number, colour in colours.items():
        inside = (mask == number).astype(np.uint8)
        light = 255 * np.array(colour[::-1], np.float32)
        tinted = inside > 0
        picture[tinted] = 0.85 * picture[tinted] + 0.15 * light
        # Mirrored beyond the edge: a class that goes on there gets no outline along it.
        inner = cv2.erode(inside, cross, borderType=cv2.BORDER_REFLECT_101)
        picture[tinted & (inner == 0)] = light
    return (picture + 0.5).astype(np.uint8)


def _write(tile: NDArray[np.uint8], text: str) -> None:
    """Write text into a tile, with a shadow so that it can be read on any ground."""
    scale = max(0.35, tile.shape[0] / 640)
    at = (5, tile.shape[0] - 6)
    for colour, weight in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, weight, cv2.LINE_AA)

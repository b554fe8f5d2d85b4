"""Patches after the steps of their image: float32 all the way, rounded and saturated once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .averaged import average_windows
from .copied import copy_windows
from .image import ImageOptions
from .region_windows import region_windows, shared_steps
from .rounded import rounded
from .scratch import scratch
from .source import ImageSource
from .step import Pixels, Window, halo_of, run_steps
from .windows import own_slices, own_spans, window_starts

if TYPE_CHECKING:
    from .patches import PatchSpec


def stepped_windows(
    source: ImageSource, options: ImageOptions, corners: NDArray[np.int64], patch: PatchSpec
) -> Iterator[tuple[Pixels, Window]]:
    """Yield windows of one image after all its steps, before they are rounded.

    Parameters
    ----------
    source, options, corners
        As in `patchmill.tasks.patches.cut_patches`.
    patch
        Its type and its `pad` do not matter here.

    Yields
    ------
    pixels
        float32, shape (c, z, y, x), the border `margin_px` included; valid until the next one.
        Beyond the image stands what the steps made of its mirror image.
    window
        Where they lie.
    """
    steps, resolution = source.steps.after, source.kind.resolution
    averages = patch.averages(resolution)
    # Rescaled windows lie on whole pixels of level 0, not of each other; projected ones are of
    # many planes.
    is_plain = not (source.steps.before or averages or patch.project_z or patch.project_t)
    shared = shared_steps(steps) if is_plain else 0
    steps, done = steps[shared:], steps[:shared]
    border = patch.margin_px + halo_of(steps)
    wide = replace(patch, dtype=np.dtype(np.float32), margin_px=border, pad="reflect")
    starts = window_starts(source, corners, wide)
    if done:
        windows = region_windows(source, options, corners[:, 0], starts, wide.stored_size, done)
    else:
        cut = average_windows if averages else copy_windows
        windows = cut(source, options, corners, wide)
    spans = own_spans(corners[:, 1:], patch.size, resolution)
    for pixels, (_, y, x), own in zip(windows, starts.tolist(), spans, strict=True):
        window = Window(y, x, resolution.size[1:], own_slices(border, own))
        yield run_steps(steps, pixels, window)


def stepped_patches(
    source: ImageSource, options: ImageOptions, corners: NDArray[np.int64], patch: PatchSpec
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut patches of an image that has steps, see `patchmill.tasks.patches.cut_counted`."""
    _, height, width = patch.stored_size
    if patch.output_size is not None:
        height, width = patch.output_size
    n, depth = len(corners), patch.size[0]
    patches = scratch("stepped", (n, patch.channels, depth, height, width), patch.dtype)
    clipped = np.zeros((n, patch.channels, 2), np.int64)
    starts = window_starts(source, corners, patch)
    for i, (pixels, window) in enumerate(stepped_windows(source, options, corners, patch)):
        clipped[i] = rounded(pixels, window.own, patches[i], source.paths[0])
        if not isinstance(patch.pad, str) and patch.output_size is None:
            _fill(patches[i], starts[i].tolist(), source.kind.resolution.size, patch)
    return patches, clipped


def _fill(
    pixels: NDArray[Any], start: tuple[int, int, int], size: tuple[int, int, int], patch: PatchSpec
) -> None:
    """Put the value of `patch.pad` wherever a patch (c, z, y, x) lies beyond the image."""
    for axis, (first, length) in enumerate(zip(start, size, strict=True)):
        if axis == 0 and patch.project_z:
            continue  # what is left is one plane
        along = np.moveaxis(pixels, 1 + axis, 0)
        along[: max(0, -first)] = patch.pad
        along[max(0, length - first) :] = patch.pad

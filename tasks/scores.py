"""The task that scores patches by their own raw pixels: focus, brightness, saturation, clipping.

Scores are of the pixels of a patch that lie in the image, at the patch's resolution, before any
step; each is a number for a patch and channel, but for the saturation of colours, which is one for
all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .foreground_signals import saturation_of
from .image import ImageOptions
from .patches import PatchSpec, cut_patches
from .source import NO_STEPS, ImageSource, SourceError

#: What a task holds of patches at once.
BATCH_BYTES = 1 << 26
#: "A little below the largest value": by this part of it, and one at least. A tail of bright pixels
#: has more of them there than at the largest value itself, unless the camera was saturated.
NEAR_TOP = 1 / 64


@dataclass(frozen=True)
class ScoreSpec:
    """What is scored.

    Attributes
    ----------
    patch
        What a patch is, of all channels, without border.
    focus, brightness, clipped
        Numbers of the channels that are scored.
    saturation
        Numbers of the three channels of a colour; none where it is not scored.
    """

    patch: PatchSpec
    focus: tuple[int, ...] = ()
    brightness: tuple[int, ...] = ()
    saturation: tuple[int, ...] = ()
    clipped: tuple[int, ...] = ()

    @property
    def channels(self) -> tuple[int, ...]:
        """All that are looked at, ascending."""
        return tuple(sorted({*self.focus, *self.brightness, *self.saturation, *self.clipped}))

    @property
    def columns(self) -> int:
        """How many numbers a patch has."""
        return (
            len(self.focus) + len(self.brightness) + bool(self.saturation) + 4 * len(self.clipped)
        )


def score_windows(
    sources: Sequence[ImageSource],
    windows: Sequence[NDArray[np.int64]],
    spec: ScoreSpec,
    tops: Sequence[float],
    options: ImageOptions,
) -> list[NDArray[np.float64] | str]:
    """Score the patches of images.

    Parameters
    ----------
    sources
        The images.
    windows
        Of each int64, shape (n, 4): t, z, y and x, see `cut_patches`.
    spec
        What is scored.
    tops
        The value at which each image's camera is saturated; NaN where it is not known.
    options
        How their files are opened.

    Returns
    -------
    scores
        For each image float64, shape (n, columns): the focus of each channel, the brightness of
        each, the saturation, then for each channel of `clipped` the share of pixels at or above the
        top (NaN where it is not known), the largest value, the share of pixels that have it, and
        the share of those a little below (`NEAR_TOP`). Or one sentence that says why it cannot be
        read.
    """
    found: list[NDArray[np.float64] | str] = []
    for source, corners, top in zip(sources, windows, tops, strict=True):
        try:
            found.append(_score(source, corners, spec, top, options))
        except SourceError as error:
            found.append(str(error))
    return found


def _score(
    source: ImageSource,
    corners: NDArray[np.int64],
    spec: ScoreSpec,
    top: float,
    options: ImageOptions,
) -> NDArray[np.float64]:
    channels = list(spec.channels)
    kind = replace(source.kind, planes=source.kind.planes[:, channels])
    raw = replace(source, kind=kind, steps=NO_STEPS)
    patch = replace(
        spec.patch,
        channels=len(channels),
        dtype=np.dtype(np.float32) if kind.dtype.kind != "f" else kind.dtype,
        pad="reflect",
        margin_px=0,
        halo_px=0,
        output_size=None,
    )
    scores = np.empty((len(corners), spec.columns))
    for own in compact_batches(source, corners, patch):
        pixels = cut_patches(raw, options, corners[own], patch)
        pixels = pixels.reshape(len(own), len(channels), *patch.size)
        for row, patch_pixels in zip(own.tolist(), pixels, strict=True):
            inside = _inside(source, corners[row], patch)
            scores[row] = _scores_of(patch_pixels[:, *inside], spec, channels, top)
    return scores


def compact_batches(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> Iterator[NDArray[np.intp]]:
    """Yield windows that are cut together, by number; compact ones, which share few segments.

    Where segments span the image they lie below each other, else in squares.
    """
    count = max(1, BATCH_BYTES // max(1, patch.nbytes))
    resolution = source.kind.resolution
    height, width = (n * s for n, s in zip(patch.size[1:], resolution.scale[1:], strict=True))
    if source.kind.segment[4] >= resolution.shape[2]:
        across, down = np.inf, height
    else:
        side = max(1, int(count**0.5))
        across, down = side * width, side * height
    t, z, y, x = corners.T
    order = np.lexsort((x, y, x // across, y // down, z, t))
    for start in range(0, len(order), count):
        yield order[start : start + count]


def _inside(
    source: ImageSource, corner: NDArray[np.int64], patch: PatchSpec
) -> tuple[slice, slice, slice]:
    """Return which pixels of a window lie in the image."""
    found = []
    for axis, size in enumerate(patch.size):
        position = int(source.kind.resolution.positions(axis, corner[1 + axis : 2 + axis])[0])
        length = 1 if axis == 0 and patch.project_z else source.kind.resolution.size[axis]
        found.append(slice(max(0, -position), max(1, min(size, length - position))))
    z, y, x = found
    return z, y, x


def _scores_of(
    pixels: NDArray[np.floating], spec: ScoreSpec, channels: list[int], top: float
) -> list[float]:
    """Return the scores of one patch, shape (c, z, y, x)."""
    of = {channel: pixels[number] for number, channel in enumerate(channels)}
    scores = [laplacian_variance(of[channel]) for channel in spec.focus]
    scores += [float(of[channel].mean(dtype=np.float64)) for channel in spec.brightness]
    if spec.saturation:
        colours = np.stack([of[channel].astype(np.float32) for channel in spec.saturation])
        scores.append(float(saturation_of(colours).mean(dtype=np.float64)))
    for channel in spec.clipped:
        values = of[channel]
        most = float(values.max())
        near = (values < most) & (values >= most - max(1, most * NEAR_TOP))
        reached = float((values >= top).mean()) if top == top else np.nan
        scores += [reached, most, float((values == most).mean()), float(near.mean())]
    return scores


def laplacian_variance(pixels: NDArray[np.floating]) -> float:
    """Return the variance of the Laplacian, the mean of the planes; 0 where none has 3 x 3 pixels.

    Pech-Pacheco et al., ICPR 2000, with the kernel of four neighbours. Of the pixels that have all
    of them. Noise raises it, as it raises every measure of a patch by itself; compare patches of
    one exposure.

    Parameters
    ----------
    pixels
        Shape (z, y, x).

    Examples
    --------
    >>> laplacian_variance(np.arange(25.0).reshape(1, 5, 5) ** 2)
    0.0
    """
    if min(pixels.shape[1:]) < 3:
        return 0.0
    p = pixels.astype(np.float64)
    found = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]
    found -= 4 * p[:, 1:-1, 1:-1]
    return float(found.var(axis=(1, 2)).mean())

"""The task that tries a function of the user's own on a small region, before a run starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import PatchmillError
from .image import ImageOptions
from .patches import PatchSpec
from .source import ImageSource, SourceError
from .step import Pixels, Window
from .step_call import Call
from .stepped import stepped_windows
from .users_own import loaded, source_sha256

#: How much larger the larger window is on each side; odd, so that a grid of blocks that begins at
#: a window's corner is found, too.
AROUND_PX = 13
#: Values of a window and of a larger one agree within these: relative, and of their range. Sums in
#: another order differ by less, and what lies beyond a halo by more.
RELATIVE, OF_RANGE = 1e-5, 1e-4


@dataclass(frozen=True)
class CallCheck:
    """What is tried.

    Attributes
    ----------
    step
        The step; its `sha256` is not known yet.
    is_local
        Whether only pixels within the halo decide about one; else it is of the whole window.
    source, options, patch
        The image as it enters the step, how its files are opened, and what a region is.
    corners
        int64, shape (1, 4), of the region.
    channels
        Numbers of those that the function gets.
    """

    step: Call
    is_local: bool
    source: ImageSource
    options: ImageOptions
    patch: PatchSpec
    corners: NDArray[np.int64]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class CallChecked:
    """What was found.

    Attributes
    ----------
    sha256
        Of the function's source file.
    fault
        A sentence on what is wrong with the function; empty where nothing is.
    """

    sha256: str
    fault: str = ""


def check_call(check: CallCheck) -> CallChecked:
    """Try a function on a region of an image, and on noise of the same range.

    Raises
    ------
    SourceError
        Where the region cannot be read.
    """
    name = check.step.function
    try:
        function, sha256 = loaded(name)
        if source_sha256(name, function) != sha256:
            return CallChecked(
                sha256,
                f"call: the file of {name} has changed since this worker imported it; restart the "
                "cluster",
            )
    except SourceError as error:
        return CallChecked("", error.text)
    wide = check.step.halo_px + (AROUND_PX if check.is_local else 0)
    patch = replace(check.patch, margin_px=wide)
    ((pixels, window),) = (
        (pixels[list(check.channels)], window)
        for pixels, window in stepped_windows(check.source, check.options, check.corners, patch)
    )
    step = replace(check.step, sha256=sha256)
    try:
        for kind, tried in (("a region", pixels), ("noise of its range", _noise_like(pixels))):
            for fault in _faults(step, tried, window, check.is_local):
                return CallChecked(sha256, f"call: {name} {fault} (tried on {kind})")
    except PatchmillError as error:
        return CallChecked(sha256, str(error))
    return CallChecked(sha256)


def _noise_like(pixels: Pixels) -> Pixels:
    """Return noise between the least and the largest pixel: a region may be all of one value."""
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1
    return np.random.default_rng(0).uniform(low, high, pixels.shape).astype(np.float32)


def _faults(step: Call, pixels: Pixels, window: Window, is_local: bool) -> Iterator[str]:
    """Yield what is wrong with what a function makes of pixels."""
    inner, around = pixels, AROUND_PX if is_local else 0
    if is_local:
        inner = np.ascontiguousarray(pixels[:, :, around:-around, around:-around])
    made = step(inner.copy(), window)
    if not np.array_equal(made, step(inner.copy(), window), equal_nan=True):
        yield "makes other pixels of the same ones when it is called again; take chance out of it"
    if not is_local:
        return
    halo = step.halo_px
    made = made[:, :, halo : made.shape[2] - halo, halo : made.shape[3] - halo]
    edge = halo + around
    larger = step(pixels.copy(), window)[:, :, edge:-edge, edge:-edge]
    finite = larger[np.isfinite(larger)]
    spread = float(np.ptp(finite.astype(np.float64))) if finite.size else 0.0
    close = np.isclose(made, larger, rtol=RELATIVE, atol=OF_RANGE * spread, equal_nan=True)
    if not close.all():
        differ = int(np.count_nonzero(~close))
        yield (
            f"makes other values of {differ} of {close.size} pixels where the window is "
            f"{around} px larger on each side: more than halo_px = {halo} pixels around each "
            'decide about it; write a larger halo_px, or scope = "patch" where all of a window is '
            "meant to decide"
        )

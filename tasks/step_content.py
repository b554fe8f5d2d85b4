"""The step that makes a picture of one size out of what stands out in a window.

As is usual for scanned characters and single cells: threshold, bounding box, noise to zero, pad to
keep the aspect ratio, resize.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .source import SourceError
from .step import Pixels, Window

#: How pixels are resized, by the words of OpenCV.
INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}

#: First and one past the last, in y and in x.
Box = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class CropToContent:
    """Crops a window to what is brighter than a threshold, and resizes it to one size.

    Only the image's own pixels are looked at and kept: what is mirrored beyond its edge is no
    content. All is done in float32; a pixel that is no number is no content.

    Attributes
    ----------
    channel
        Number of the one that decides; of several planes along z, all together.
    threshold
        What is above it is content, in counts.
    output_size
        (y, x) of the picture.
    ignore_edge_px
        How far from the window's edge on content counts: scans have lines there.
    margin_px
        What is kept around the content in y and x, before and after it, as far as there is any.
    noise
        Pixels below it become `fill`; None for none.
    fill
        What noise, padding and empty windows become.
    keep_aspect
        Whether the box is padded to the shape of `output_size`, or stretched.
    pad_px
        What the padded box is larger than its content on the side that decides, both ends
        together; without `keep_aspect` on each side.
    interpolation
        Out of `INTERPOLATIONS`.
    empty
        What becomes of a window without content: "raise", "blank" (all `fill`), or "whole" (it is
        the content).
    """

    channel: int
    threshold: float
    output_size: tuple[int, int]
    ignore_edge_px: int = 0
    margin_px: Box = ((0, 0), (0, 0))
    noise: float | None = None
    fill: float = 0.0
    keep_aspect: bool = True
    pad_px: int = 0
    interpolation: str = "area"
    empty: str = "raise"
    halo_px: int = 0

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Return the picture, see `Step`.

        Raises
        ------
        SourceError
            Where there is no content, and `empty` is "raise".
        """
        z, y, x = window.own
        box = self._box(pixels[self.channel, z, y, x])
        size = (*pixels.shape[:2], *self.output_size)
        if box is None:
            if self.empty == "blank":
                return np.full(size, self.fill, np.float32)
            if self.empty == "raise":
                raise SourceError(
                    f"a window has no pixel above the threshold {self.threshold:g} of "
                    "crop_to_content; write a lower one, leave such windows out by [filters], or "
                    'write empty = "blank" or "whole"',
                    detail=f"at y = {window.y + y.start}, x = {window.x + x.start}",
                )
            box = (0, y.stop - y.start), (0, x.stop - x.start)
        (y0, y1), (x0, x1) = box
        content = pixels[:, :, y.start + y0 : y.start + y1, x.start + x0 : x.start + x1]
        if self.noise is not None:
            content[content < self.noise] = self.fill
        made = np.empty(size, np.float32)
        for channel, plane in np.ndindex(size[:2]):
            made[channel, plane] = self._resized(content[channel, plane])
        return made

    def _box(self, pixels: NDArray[np.float32]) -> Box | None:
        """Return what to keep of a channel (z, y, x); None where there is no content."""
        edge = self.ignore_edge_px
        height, width = pixels.shape[1:]
        inner = pixels[:, edge : max(edge, height - edge), edge : max(edge, width - edge)]
        found: NDArray[np.bool_] = np.any(inner > self.threshold, axis=0)
        spans = []
        for axis, (length, margin) in enumerate(zip((height, width), self.margin_px, strict=True)):
            content = np.flatnonzero(np.any(found, axis=1 - axis))
            if not content.size:
                return None
            first, last = edge + int(content[0]), edge + int(content[-1])
            spans.append((max(0, first - margin[0]), min(length, last + 1 + margin[1])))
        return spans[0], spans[1]

    def _resized(self, content: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a plane of content, padded alike at both ends and resized."""
        height, width = content.shape
        full = padded_size((height, width), self.output_size, self.pad_px, self.keep_aspect)
        y, x = (full[0] - height) // 2, (full[1] - width) // 2
        if y or x:
            # Alike at both ends: the content stays in the middle, and a pixel may be missing.
            around = cv2.copyMakeBorder(content, y, y, x, x, cv2.BORDER_CONSTANT, value=self.fill)
            content = np.asarray(around, np.float32)
        method = INTERPOLATIONS[self.interpolation]
        made = cv2.resize(content, self.output_size[::-1], interpolation=method)
        return np.asarray(made, np.float32)


def padded_size(
    box: tuple[int, int], size: tuple[int, int], pad_px: int, keep_aspect: bool
) -> tuple[int, int]:
    """Return (y, x) of a box after it was padded.

    Parameters
    ----------
    box, size
        (y, x) of the content, and of what it will be resized to.
    pad_px
        What it grows at least on the side that decides.
    keep_aspect
        Whether it gets the shape of `size`, to the nearest pixel.

    Examples
    --------
    >>> padded_size((60, 100), (128, 128), 16, True)
    (116, 116)
    >>> padded_size((60, 100), (128, 128), 16, False)
    (76, 116)
    """
    height, width = box[0] + pad_px, box[1] + pad_px
    if not keep_aspect:
        return height, width
    if height * size[1] >= width * size[0]:
        return height, max(width, (2 * height * size[1] + size[0]) // (2 * size[0]))
    return max(height, (2 * width * size[0] + size[1]) // (2 * size[1])), width

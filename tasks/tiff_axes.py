"""What the dimensions of a TIFF series are: those before a page, and a page's own."""

from __future__ import annotations

from dataclasses import dataclass

import tifffile

from .image import AXES
from .source import SourceError

_PAGE_AXES = ("YX", "YXS", "SYX")


@dataclass(frozen=True)
class TiffAxes:
    """The dimensions of a series.

    Attributes
    ----------
    leading
        Letter and length of those before a page's own, which count its pages. A letter that no
        image has is of length 1.
    samples
        Of a pixel, where they are the channels, else 0.
    """

    leading: tuple[tuple[str, int], ...]
    samples: int

    @property
    def kept(self) -> tuple[tuple[str, int], ...]:
        """The leading ones that an image has."""
        names = AXES.replace("C", "") if self.samples else AXES
        return tuple((axis, length) for axis, length in self.leading if axis in names)


def axes_of(series: tifffile.TiffPageSeries, path: str, axes: str | None) -> TiffAxes:
    """Return what the dimensions of a series are.

    Parameters
    ----------
    series
        The image, or a level of it.
    path
        Of the file.
    axes
        What the recipe says they are, one letter each; None to take the file's word.

    Raises
    ------
    SourceError
        Where they do not fit, or the file does not say.
    """
    page = series.keyframe
    own, found = str(page.axes), str(series.axes)
    if axes is not None:
        if len(axes) != len(found):
            raise SourceError(
                f"{path}: has axes {found} of shape {series.shape}, but images.axes = {axes!r}; "
                f"write {len(found)} letters"
            )
        if len(set(axes)) < len(axes) or not set(axes.upper()) <= set(AXES + "S"):
            raise SourceError(
                f"{path}: images.axes = {axes!r}; give each axis a letter of its own out of {AXES}"
            )
        found = axes.upper()
    # Separate samples of a pixel may go by the name of channels.
    if own not in _PAGE_AXES or page.imagedepth != 1:
        raise SourceError(
            f"{path}: has pages of axes {own}; only Y, X and S are read; write it as OME-TIFF"
        )
    if found[-len(own) :].replace("C", "S") != own:
        raise SourceError(
            f"{path}: has pages of axes {own}, and {found} does not end in them; "
            "correct images.axes or write the file with channels before y and x"
        )
    leading = tuple(
        (axis, int(length))
        for axis, length in zip(found[: -len(own)], series.shape[: -len(own)], strict=True)
    )
    suggested = ("Z" if "S" in own else "C") + own
    for axis, length in leading:
        if axis not in AXES and length > 1:
            raise SourceError(
                f"{path}: has {length} planes along an axis {axis!r} that the file does not name; "
                f'say what they are with images.axes, for instance "{suggested}", with N for '
                "images of their own"
            )
    samples = int(series.shape[-1 if own == "YXS" else -3]) if "S" in own else 0
    if samples and dict(leading).get("C", 1) > 1:
        raise SourceError(
            f"{path}: has both channels (C) and samples of a pixel (S); write the samples as "
            "channels"
        )
    return TiffAxes(leading, samples)

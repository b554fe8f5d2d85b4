"""Which of the images in a TIFF is meant, and which levels of a pyramid it has."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import tifffile

from .source import SourceError
from .tiff_axes import TiffAxes, axes_of

#: Names that formats give to what goes along with the image: of SVS, NDPI, QPTIFF, BIF, AVS,
#: Philips (tifffile's names for them), and of OME-TIFF as Bio-Formats writes it.
_ALONG = frozenset(
    {
        "label",
        "label image",
        "macro",
        "macro image",
        "map",
        "other",
        "overview",
        "overview image",
        "thumbnail",
        "thumbnail image",
        "integrated",
    }
)
#: The NewSubfileType tag: a smaller version of another image, a mask.
_REDUCED_OR_MASK = 0b101
#: Lengths of a level are rounded once for each level above it, and some formats fill up tiles.
_LEVEL_TOLERANCE = 0.02
_LEVEL_TOLERANCE_PX = 2


def image_series(
    tif: tifffile.TiffFile, path: str, dataset: str | None
) -> tuple[tifffile.TiffPageSeries, tuple[str, ...]]:
    """Return the series that is the image, and notes on what is left out.

    Parameters
    ----------
    tif, path
        The file.
    dataset
        Number or name of the series; None where the file has one image. Labels, macros,
        thumbnails and overviews go along with the image and are none, but may be named.

    Raises
    ------
    SourceError
        Where there is none, or it is not clear which.
    """
    everything = tif.series
    if dataset is not None:
        return _named(everything, path, dataset), ()
    macros = _scn_macros(tif)
    images = [
        series
        for number, series in enumerate(everything)
        if 0 not in series.shape
        and number not in macros
        and series.name.strip().lower() not in _ALONG
        and not series.keyframe.subfiletype & _REDUCED_OR_MASK
    ] or [series for series in everything if 0 not in series.shape][:1]
    if not images:
        raise SourceError(f"{path}: holds no image; mend it or leave it out")
    first, *others = images
    # A page of the same size may be one of a stack, which was not stored like the others.
    if any(other.size >= first.size or _page(other) == _page(first) for other in others):
        raise SourceError(
            f"{path}: holds {len(images)} images ({_list(everything, images)}); say which with "
            "images.dataset, or write one image per file"
        )
    if not others:
        return first, ()
    listed = _list(everything, others)
    return first, (
        f"holds smaller images as well, which are left out ({listed}); images.dataset names one",
    )


def _page(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    return int(series.keyframe.imagelength), int(series.keyframe.imagewidth)


def _named(
    everything: Sequence[tifffile.TiffPageSeries], path: str, dataset: str
) -> tifffile.TiffPageSeries:
    found = [s for s in everything if s.name == dataset]
    if not found and dataset.isdecimal() and int(dataset) < len(everything):
        found = [everything[int(dataset)]]
    if len(found) != 1 or 0 in found[0].shape:
        raise SourceError(
            f"{path}: has {len(found)} images that go by images.dataset = {dataset!r}; write the "
            f"number or name of one: {_list(everything, everything)}"
        )
    return found[0]


def _list(
    everything: Sequence[tifffile.TiffPageSeries], some: Sequence[tifffile.TiffPageSeries]
) -> str:
    numbered = {id(series): number for number, series in enumerate(everything)}
    texts = [
        f"{numbered[id(s)]}{f' {s.name!r}' if s.name else ''}: "
        f"{' x '.join(map(str, s.shape))} {s.dtype}"
        for s in some
    ]
    return "; ".join(texts[:6]) + ("; …" if len(texts) > 6 else "")


def _scn_macros(tif: tifffile.TiffFile) -> set[int]:
    """Return the series of a Leica SCN that show all of the slide, as OpenSlide tells them."""
    if not tif.is_scn or not tif.scn_metadata:
        return set()
    found = set()
    number = 0
    for collection in ElementTree.fromstring(tif.scn_metadata).findall("{*}collection"):
        for image in collection.findall("{*}image"):
            view = image.find("{*}view")
            for _ in image.findall("{*}pixels"):
                if view is not None and all(
                    view.get(key) == collection.get(key) for key in ("sizeX", "sizeY")
                ):
                    found.add(number)
                number += 1
    return found


def levels_of(
    series: tifffile.TiffPageSeries, path: str, axes: str | None
) -> tuple[list[tifffile.TiffPageSeries], TiffAxes, tuple[str, ...]]:
    """Return the levels of an image, finest first, what its axes are, and notes.

    A level that is not the same image at another size is left out.

    Parameters
    ----------
    series
        The image.
    path
        Of the file.
    axes
        What the recipe says the axes are, None to take the file's word.
    """
    own = axes_of(series, path, axes)
    levels, notes = [series], []
    for number, level in enumerate(series.levels[1:], start=1):
        if _is_level(levels, level, own, path, axes):
            levels.append(level)
        else:
            notes.append(
                f"level {number}, {' x '.join(map(str, level.shape))} {level.dtype}, is not the "
                "image at another size and is left out"
            )
    return levels, own, tuple(notes)


def _is_level(
    levels: Sequence[tifffile.TiffPageSeries],
    level: tifffile.TiffPageSeries,
    own: TiffAxes,
    path: str,
    axes: str | None,
) -> bool:
    try:
        found = axes_of(level, path, axes)
    except SourceError:
        return False
    if found != own or level.dtype != levels[0].dtype:
        return False
    (full_y, full_x), (last_y, last_x), (y, x) = (_page(s) for s in (levels[0], levels[-1], level))
    if y > last_y or x > last_x or (y, x) == (last_y, last_x) or min(y, x) < 1:
        return False
    # The same factor along both, give or take the rounding of lengths.
    slack = 1 + _LEVEL_TOLERANCE + _LEVEL_TOLERANCE_PX / min(y, x)
    ratio = (full_y / y) / (full_x / x)
    return 1 / slack <= ratio <= slack

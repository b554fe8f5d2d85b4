"""How a file that annotates an image lies on it: which planes, which level, and how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..tasks.resolution import Resolution, as_level, rescaled
from ..tasks.source import FileInfo, ImageKind, ImageSource, SourceError
from .patches_section import PatchesRecipe

if TYPE_CHECKING:
    from .images import SurveyedImage

_Factors = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Fit:
    """A file as workers read it beside its image.

    Attributes
    ----------
    source
        Its planes as the image's are numbered.
    scale
        Level-0 pixels of the image in one pixel of the file's level that is read, (z, y, x).
    """

    source: ImageSource
    scale: _Factors


def fit_to(
    image: SurveyedImage,
    path: str,
    info: FileInfo,
    channels: Sequence[int],
    factors: tuple[float, float],
    patches: PatchesRecipe,
    key: str,
) -> Fit:
    """Say how a file lies on its image.

    Parameters
    ----------
    image
        That is annotated.
    path, info
        The file, and what was found in it.
    channels
        Of the file, that are read.
    factors
        Pixels of the image, (y, x), in one of the file, both at level 0.
    patches
        What is cut.
    key
        Of the table in the recipe, for errors.

    Raises
    ------
    SourceError
        Where its size, its times or its planes are not those of the image.
    """
    _check_size(image, info, factors, key)
    resolution = image.source.kind.resolution
    times, planes = _planes(image, info, patches)
    # Where it has one plane, that lies wherever the image's is.
    has_depth = planes.shape[1] > 1
    wanted = [scale / f for scale, f in zip(resolution.scale, (1.0, *factors), strict=True)]
    shapes = [level.shape for level in info.levels]
    level = rescaled(shapes, (wanted[0] if has_depth else 1.0, wanted[1], wanted[2]))
    level = level or as_level(shapes, 0)
    scale = as_level(shapes, level.level).scale
    places = np.zeros((len(times), len(channels), planes.shape[1], 4), np.int32)
    places[..., 1] = times[:, None, None]
    places[..., 2] = np.array(channels)[:, None]
    places[..., 3] = planes[:, None]
    kind = ImageKind(
        planes=places,
        resolution=Resolution(
            level.level, (planes.shape[1], *level.shape[1:]), (1.0, 1.0, 1.0), scale
        ),
        segment=info.levels[level.level].segment,
        dtype=np.dtype(info.dtype),
        held_bytes=info.held_bytes,
    )
    source = ImageSource(
        image.id, (path,), (info.identity,), (info.members,), _item(image, info), kind
    )
    y, x = (own * f for own, f in zip(scale[1:], factors, strict=True))
    return Fit(source, (scale[0], y, x))


def _check_size(
    image: SurveyedImage, info: FileInfo, factors: tuple[float, float], key: str
) -> None:
    """Refuse a file of another size; programs round a smaller one up or down."""
    sizes = list(zip(info.shape[3:], image.shape[3:], factors, strict=True))
    if all(abs(own - full / factor) < 1 for own, full, factor in sizes):
        return
    stated = ", of which each is to be " + " x ".join(f"{factor:g}" for factor in factors)
    raise SourceError(
        f"is {info.shape[3]} x {info.shape[4]} pixels, and its image {image.shape[3]} x "
        f"{image.shape[4]}{stated if set(factors) != {1.0} else ''}; give one of the image's "
        f"size, or write {key}.factor or {key}.mpp"
    )


def _item(image: SurveyedImage, info: FileInfo) -> int:
    """Return which image in the file it is, by the name that the image has in its own."""
    if not info.items:
        return 0
    name = dict(image.files.groups).get("item")
    if name not in info.items:
        raise SourceError(
            f"holds {len(info.items)} images, and none is called {name or 'as its image is'}; "
            "give a file for each image, or one with images of the same names"
        )
    return info.items.index(name)


def _planes(
    image: SurveyedImage, info: FileInfo, patches: PatchesRecipe
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which times of the file are read, shape (t,), and which planes at each, (t, z)."""
    n_t, _, n_z, _, _ = image.shape
    own_t, _, own_z, _, _ = info.shape
    times = np.arange(own_t)
    if isinstance(patches.t, int):
        times = times if own_t == 1 else times[patches.t : patches.t + 1]
    _check_count("times", own_t, n_t, "t", patches.t)
    _check_count("planes", own_z, n_z, "z", patches.z)
    planes = np.broadcast_to(np.arange(own_z), (len(times), own_z))
    if patches.one_z and own_z > 1 and image.focus is not None:
        planes = np.broadcast_to(image.focus[:, :1].astype(np.int64), (len(times), 1))
    return times, planes


def _check_count(what: str, own: int, full: int, axis: str, chosen: int | str) -> None:
    """Refuse a file with other times or planes than its image's, as far as they are cut."""
    projects = chosen in ("max", "mean")
    one_is_enough = projects or chosen == "focus" or isinstance(chosen, int)
    if (own == full and not (projects and own > 1)) or (own == 1 and one_is_enough):
        return
    if projects:
        raise SourceError(
            f'has {own} {what}, and patches.{axis} = "{chosen}" makes the image one plane; give '
            "one plane"
        )
    raise SourceError(
        f"has {own} {what}, and its image {full}; give one with as many"
        + ("" if one_is_enough else f", or choose or project them with patches.{axis}")
    )

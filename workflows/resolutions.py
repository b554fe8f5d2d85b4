"""At which resolution the images of a recipe are cut, and whether they belong into one store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..tasks.resolution import TOLERANCE, Resolution, as_level, is_known, rescaled
from ..tasks.source import SourceError
from .errors import RecipeError
from .patches_section import PatchesRecipe

if TYPE_CHECKING:
    from .files import ImageFiles
    from .images import SurveyedImage
    from .recipe import Recipe

_Zyx = tuple[float, float, float]


def voxel_size(recipe: Recipe, files: ImageFiles, found: _Zyx) -> _Zyx:
    """Return the voxel size of level 0, (z, y, x) in micrometres; NaN where it is not known.

    What the manifest says of the image stands above what the recipe says of all, and that above
    what was found in the file.
    """
    stated = recipe.images.voxel_um or (None,) * 3
    z, y, x = (own if said is None else said for own, said in zip(found, stated, strict=True))
    return (z, y, x) if files.mpp is None else (z, files.mpp, files.mpp)


def choose_resolution(
    patches: PatchesRecipe, shapes: Sequence[tuple[int, int, int]], voxel_um: _Zyx
) -> Resolution:
    """Return at which resolution an image is cut.

    Parameters
    ----------
    patches
        Says the level, the micrometres per pixel, or the voxel size; else level 0.
    shapes
        (z, y, x) of its levels.
    voxel_um
        Of level 0.

    Raises
    ------
    SourceError
        Where it has no such level, is coarser than that, or its voxel size is not known.
    """
    if patches.level >= len(shapes):
        raise SourceError(
            f"has {len(shapes)} levels (0 is the finest), and patches.level = {patches.level}"
        )
    wanted = wanted_voxel_um(patches)
    if wanted is None:
        resolution = as_level(shapes, patches.level)
    else:
        resolution = _rescaled(patches, shapes, voxel_um, wanted)
    if patches.one_z and resolution.scale[0] != 1:
        raise SourceError(
            f"its level {resolution.level} has {resolution.shape[0]} planes and level 0 has "
            f"{shapes[0][0]}, so patches.z = {patches.z!r} means no plane of it; write a finer "
            "patches.level"
        )
    return resolution


def wanted_voxel_um(patches: PatchesRecipe) -> _Zyx | None:
    """Return the voxel size (z, y, x) that a recipe asks for, NaN where it takes what there is."""
    if patches.mpp is not None:
        return math.nan, patches.mpp, patches.mpp
    if patches.voxel_um is None:
        return None
    z, y, x = (math.nan if size is None else size for size in patches.voxel_um)
    return z, y, x


def _rescaled(
    patches: PatchesRecipe,
    shapes: Sequence[tuple[int, int, int]],
    voxel_um: _Zyx,
    wanted: _Zyx,
) -> Resolution:
    key = "patches.mpp" if patches.mpp else "patches.voxel_um"
    needed = [own for own, want in zip(voxel_um, wanted, strict=True) if not math.isnan(want)]
    if not is_known(needed):
        raise SourceError(
            f"its file does not say how large a pixel is ({_text(voxel_um)} um in z, y, x), which "
            f"{key} needs; write images.voxel_um, or a column mpp in a manifest"
        )
    z, y, x = (
        1.0 if math.isnan(want) else want / own for own, want in zip(voxel_um, wanted, strict=True)
    )
    resolution = rescaled(shapes, (z, y, x))
    if resolution is None:
        raise SourceError(
            f"its voxels of {_text(voxel_um)} um (z, y, x) are coarser than {key} = "
            f"{_text(wanted)}, and nothing is made finer; write a larger one, or leave it out"
        )
    return resolution


def _text(voxel_um: Iterable[float]) -> str:
    return "[" + ", ".join("?" if math.isnan(n) else f"{n:.4g}" for n in voxel_um) + "]"


def cut_voxel_um(image: SurveyedImage) -> _Zyx:
    """Return the voxel size of an image's patches, (z, y, x) in micrometres."""
    z, y, x = (
        own * scale
        for own, scale in zip(image.voxel_um, image.source.kind.resolution.scale, strict=True)
    )
    return z, y, x


def check_mixture(patches: PatchesRecipe, images: Sequence[SurveyedImage]) -> None:
    """Refuse images whose patches would be of different sizes in the world.

    Raises
    ------
    RecipeError
        Where known pixel sizes, or depths of 3-D patches, differ by more than 1 %, unless
        `patches.allow_mixed_mpp` says that they may.
    """
    if patches.allow_mixed_mpp:
        return
    cut = [(image.id, cut_voxel_um(image)) for image in images]
    for found in _mixed(patches, cut):
        raise RecipeError(
            f"images.paths: {found}; write patches.mpp (with z, patches.voxel_um) to rescale "
            "them, or patches.allow_mixed_mpp = true"
        )


def mixture_notes(patches: PatchesRecipe, images: Sequence[SurveyedImage]) -> Iterator[str]:
    """Yield how the pixels of images differ in size before they are rescaled, for the plan."""
    what = (
        "which patches.allow_mixed_mpp permits" if patches.allow_mixed_mpp else "and are rescaled"
    )
    for found in _mixed(patches, [(image.id, image.voxel_um) for image in images]):
        yield f"{found}, {what}"


def _mixed(patches: PatchesRecipe, sizes: Sequence[tuple[str, _Zyx]]) -> Iterator[str]:
    """Yield for each axis that counts how known sizes differ, where they do by more than 1 %."""
    for axis, name in enumerate("zyx"):
        if name == "z" and not patches.is_3d:
            continue
        known = [(size[axis], image) for image, size in sizes if math.isfinite(size[axis])]
        if not known:
            continue
        (least, fine), (most, coarse) = min(known), max(known)
        if most > least * (1 + TOLERANCE):
            yield (
                f"pixels are of {least:.4g} um along {name} in {fine} and of {most:.4g} um in "
                f"{coarse}"
            )

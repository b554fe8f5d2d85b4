"""What [foreground] is for each image: channels by number, a level for its mask, and lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..tasks.annotation import AnnotationField
from ..tasks.foreground import Foreground
from ..tasks.resolution import Resolution, as_level, is_known
from ..tasks.source import SourceError
from .errors import RecipeError
from .foreground_section import ForegroundRecipe
from .images import SurveyedImage
from .recipe import Recipe
from .survey import Survey

#: A level may have that many times fewer pixels than are wanted.
MOST_COARSER = 2


def bind_foreground(
    recipe: Recipe, surveyed: Survey, fields: Sequence[AnnotationField] = ()
) -> Survey:
    """Return the images with `source.foreground`, whose thresholds are not yet looked for.

    Images that lack what a length needs are moved to `failed`.

    Parameters
    ----------
    recipe
        With `[foreground]`.
    surveyed
        Of one kind; with `source.annotations` where a given mask is meant.
    fields
        What these annotations are of.

    Raises
    ------
    RecipeError
        Where channels are not the images', or are not named; or there is no such mask.
    """
    table = recipe.foreground
    if table is None or not surveyed.images:
        return surveyed
    names = surveyed.images[0].channels
    channels: tuple[int, ...] = ()
    if table.method != "mask":
        is_colour = table.method == "saturation"
        channels = channel_numbers("foreground.channel", table.channel, names, is_colour)
    images, failed = [], list(surveyed.failed)
    for image in surveyed.images:
        try:
            own = _foreground(recipe, table, image, channels, fields)
        except SourceError as error:
            failed.append((image.files, str(error)))
        else:
            images.append(replace(image, source=replace(image.source, foreground=own)))
    return replace(surveyed, images=tuple(images), failed=tuple(failed))


def channel_numbers(
    key: str, wanted: Sequence[str], names: Sequence[str], is_colour: bool = False
) -> tuple[int, ...]:
    """Return the numbers of channels; which ones must be said where there are several.

    Parameters
    ----------
    key
        Of the recipe, for errors.
    wanted
        Names of channels; none for the only one.
    names
        Of the images' channels.
    is_colour
        Whether three are wanted: those of a colour.

    Raises
    ------
    RecipeError
        Where a name is none of the images', or it is not clear what is meant.
    """
    listed = ", ".join(f'"{name}"' for name in names)
    for name in wanted:
        if name not in names:
            raise RecipeError(f'{key}: found "{name}"; the channels are {listed}')
    chosen = tuple(list(names).index(name) for name in wanted or names)
    if is_colour and len(chosen) != 3:
        raise RecipeError(
            f"{key}: the saturation of colours needs three channels, and there are {len(chosen)} "
            f"({listed}); write the names of red, green and blue"
        )
    if not is_colour and not wanted and len(names) > 1:
        raise RecipeError(f"{key}: is missing; write which channels count, out of {listed}")
    return chosen


def mask_resolution(image: SurveyedImage, pixels: int) -> tuple[Resolution, int]:
    """Return the resolution of an image's mask, and its level.

    The coarsest level that has about as many, shrunk by a whole number where it has far more; the
    finest where none has. It has the planes of the level that is cut.

    Parameters
    ----------
    pixels
        Of a plane of the mask, about.
    """
    own = image.source.kind.resolution
    shapes = [level.shape for level in image.levels]
    depth = shapes[own.level][0]
    same = [number for number, shape in enumerate(shapes) if shape[0] == depth]
    fine = [number for number in same if math.prod(shapes[number][1:]) >= pixels / MOST_COARSER]
    level = fine[-1] if fine else same[0]
    _, height, width = shapes[level]
    zoom = max(1, min(round(math.sqrt(height * width / pixels)), height, width))
    z, y, x = as_level(shapes, level).scale
    shape = (own.shape[0], height, width)
    return Resolution(level, shape, (1.0, zoom, zoom), (z, y * zoom, x * zoom)), level


def _foreground(
    recipe: Recipe,
    table: ForegroundRecipe,
    image: SurveyedImage,
    channels: tuple[int, ...],
    fields: Sequence[AnnotationField],
) -> Foreground:
    resolution, level = mask_resolution(image, table.pixels)
    pixel = math.sqrt(resolution.scale[1] * resolution.scale[2])
    radius = _length(table, "radius", image)
    made = Foreground(
        resolution=resolution,
        segment=image.levels[level].segment,
        method=table.method,
        channels=channels,
        thresholds=_stated(table, len(channels)),
        is_dark=table.dark,
        percentile=50.0 if table.percentile is None else table.percentile,
        radius=max(1, round(radius / pixel)),
        min_value=-math.inf if table.min_value is None else table.min_value,
        max_value=math.inf if table.max_value is None else table.max_value,
        project_z=recipe.patches.project_z,
        project_t=recipe.patches.project_t,
        closing=_length(table, "closing", image) / pixel,
        min_area=_area(table, "min_area", image) / pixel**2,
        max_hole=_area(table, "max_hole", image) / pixel**2,
    )
    if table.method != "mask":
        return made
    name = str(table.mask).replace(".", "/", 1)
    numbers = {field.name: number for number, field in enumerate(fields)}
    if name not in numbers:
        listed = ", ".join(f'"{field.name.replace("/", ".", 1)}"' for field in fields) or "none"
        raise RecipeError(f'foreground.mask: found "{table.mask}"; the recipe makes {listed}')
    field = fields[numbers[name]]
    return replace(
        made,
        annotation=image.source.annotations[numbers[name]],
        annotation_field=field,
        classes=_classes(table, field),
    )


def _stated(table: ForegroundRecipe, channels: int) -> tuple[float, ...]:
    """Return the threshold of each signal, where the recipe says it."""
    if table.value is None:
        return ()
    return (table.value,) * (1 if table.method == "saturation" else channels)


def _classes(table: ForegroundRecipe, field: AnnotationField) -> tuple[int, ...]:
    numbers = {name: number for number, name in field.classes}
    for name in table.classes:
        if name not in numbers:
            raise RecipeError(
                f'foreground.classes: found "{name}"; {table.mask} has {", ".join(numbers)}'
            )
    return tuple(numbers[name] for name in table.classes)


def _length(table: ForegroundRecipe, name: str, image: SurveyedImage) -> float:
    """Return a length in pixels of level 0, 0 where there is none."""
    px, um = getattr(table, f"{name}_px"), getattr(table, f"{name}_um")
    if um is not None:
        return float(um / math.sqrt(_pixel_um2(image, f"{name}_um")))
    return float(px or 0)


def _area(table: ForegroundRecipe, name: str, image: SurveyedImage) -> float:
    """Return an area in pixels of level 0, 0 where there is none."""
    px, um2 = getattr(table, f"{name}_px"), getattr(table, f"{name}_um2")
    return float(um2 / _pixel_um2(image, f"{name}_um2") if um2 is not None else px or 0)


def _pixel_um2(image: SurveyedImage, key: str) -> float:
    if not is_known(image.voxel_um[1:]):
        raise SourceError(
            f"its file does not say how large a pixel is, which foreground.{key} needs; write "
            "images.voxel_um, or the length in pixels"
        )
    return image.voxel_um[1] * image.voxel_um[2]

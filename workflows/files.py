"""Finds the files that a recipe names, joins them to images, and their columns to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .complete import choose_channels, drop_incomplete, finish, unlike_sets
from .gather import column_names, gather
from .globs import list_files
from .image_columns import ITEM, check_used, settled
from .image_files import Found, ImageFiles, SourceFile, group_of
from .manifest import ListedFile, Listing, read_manifest
from .metadata import join_metadata, metadata_columns

if TYPE_CHECKING:
    from .recipe import Recipe

__all__ = ["Found", "ImageFiles", "SourceFile", "find_images", "group_of", "settled"]


def find_images(recipe: Recipe) -> Found:
    """Find the files that a recipe names and join them into images.

    Opens no file but the manifest and the table of `[metadata]`. 200,000 files take a few seconds.

    Raises
    ------
    RecipeError
        When a glob matches nothing, the manifest is wrong, the pattern does not match, two files
        are one plane of an image, images lack channels or planes, the recipe uses columns that
        there are not, or the table of `[metadata]` does not fit.
    """
    listing = _list(recipe)
    own = column_names(recipe, listing)
    columns = (*own, *metadata_columns(recipe, own))
    recipe = settled(recipe, columns)
    check_used(recipe, columns)
    gathered = gather(recipe, listing)
    channels: tuple[str, ...] | None = None
    unused: tuple[tuple[str, int], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    if "channel" in (*listing.columns, *recipe.images.named_groups):
        channels, unused = choose_channels(recipe, gathered)
        left_out = drop_incomplete(recipe, gathered, channels)
    images = finish(gathered, channels)
    found = Found(images, channels, left_out, unused, columns, notes=tuple(unlike_sets(images)))
    return _join(recipe, found, own)


def _list(recipe: Recipe) -> Listing:
    if recipe.images.manifest is not None:
        return read_manifest(recipe)
    chosen = recipe.images
    files = list_files(recipe.folder, chosen.paths, chosen.exclude, chosen.storage)
    listed = [ListedFile(path, relative, (), relative) for relative, path in files.items()]
    return Listing((), listed)


def _join(recipe: Recipe, found: Found, own: tuple[str, ...]) -> Found:
    """Join the table of `[metadata]` to the images, unless it goes by items of files."""
    if recipe.metadata is None:
        return found
    if ITEM in recipe.metadata.on.values() and ITEM not in own:
        return replace(found, joins_items=True)
    rows = [{**dict(image.groups), "id": image.id} for image in found.images]
    joined = join_metadata(recipe, rows)
    images = tuple(
        replace(image, groups=(*image.groups, *((name, row[name]) for name in joined.columns)))
        for image, row in zip(found.images, joined.rows, strict=True)
    )
    return replace(found, images=images, unused_metadata=joined.unused)

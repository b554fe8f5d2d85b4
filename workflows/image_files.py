"""What an image is before it was opened: its files, and the columns that describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of an image.

    Attributes
    ----------
    path
        Absolute, or a URL.
    relative
        To the recipe's folder, with forward slashes; a URL as it is.
    channel, z, t
        What the pattern's groups or the manifest's columns of these names say; None where there
        is no such name.
    """

    path: str
    relative: str
    channel: str | None = None
    z: str | None = None
    t: str | None = None


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """An image as files.

    Attributes
    ----------
    id
        "FOLDER/name=value,name=value", the manifest's `id`, or the relative path; unique.
    groups
        Name and value of the columns that describe the image: of the manifest but `image` and
        `id`, of the pattern but channel, z and t, and of the table of `[metadata]`, in this order.
    files
        Sorted by t, then channel, then z: times and depths naturally, channels as in `Found`.
    mpp
        Micrometres per pixel in y and x that the manifest states in place of the file; None where
        it does not.
    """

    id: str
    groups: tuple[tuple[str, str], ...]
    files: tuple[SourceFile, ...]
    mpp: float | None = None

    def portable(self, text: str) -> str:
        """Return a text with the paths of the files relative, as a store may keep it."""
        for file in self.files:
            text = text.replace(file.path, file.relative)
        return text


@dataclass(frozen=True, slots=True)
class Found:
    """What `find_images` found.

    Attributes
    ----------
    images
        In natural order of their ids.
    channels
        Keys of the channels that every image has, in order; None where neither pattern nor
        manifest says channels, so that a file holds all channels.
    left_out
        Id and reason of images that `missing_channel = "skip"` left out.
    unused_channels
        Keys that files have and `images.channels` does not list, with how many files.
    columns
        Names of all columns that describe images, those of `[metadata]` included.
    unused_metadata
        Keys of rows of the table of `[metadata]` that no image has.
    joins_items
        Whether `[metadata]` is still to be joined, by `join_metadata`, because `metadata.on` names
        "item", which is known once the files were opened.
    notes
        What a user should look at, though it may be meant: sets of different depth or duration.
    """

    images: tuple[ImageFiles, ...]
    channels: tuple[str, ...] | None
    left_out: tuple[tuple[str, str], ...] = ()
    unused_channels: tuple[tuple[str, int], ...] = ()
    columns: tuple[str, ...] = ()
    unused_metadata: tuple[str, ...] = ()
    joins_items: bool = False
    notes: tuple[str, ...] = ()


def group_of(image: ImageFiles, recipe: Recipe) -> tuple[str, ...]:
    """Return the values of `images.group`, by which images are kept together in a split.

    Without `images.group` each image, with all its z and t, is a group by its id.
    """
    if not recipe.images.group:
        return (image.id,)
    values = dict(image.groups)
    return tuple(values[name] for name in recipe.images.group)

"""The errors of the driver: what is wrong with a recipe, its files or its splits."""

from __future__ import annotations

from ..reader.errors import PatchmillError


class RecipeError(PatchmillError, ValueError):
    """A recipe, or the files that it names, cannot be used; the text names the keys."""


class SplitError(PatchmillError, ValueError):
    """The groups cannot be put into the splits that the recipe asks for."""

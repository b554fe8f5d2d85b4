"""What is considered in all images, from geometry to what is left; each step returns it anew.

In this order: places by geometry, a label map or a table; scores; splits; how many of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..tasks.annotation import AnnotationField
from .blocks import block_counts
from .candidates import REASONS, Candidates, Columns, corners_read, grid_candidates
from .centres import centred
from .chosen import at_most, scored, with_background, with_blocks
from .errors import RecipeError
from .images import SurveyedImage
from .objects import object_centres
from .patches_section import PatchesRecipe
from .points import point_centres
from .random_places import random_candidates
from .recipe import Recipe
from .survey import Connect, Survey

#: The reason that `keep_background` takes a share back of.
FOREGROUND = "foreground"
#: Says of the scores of one image's candidates why each is rejected: a number of the texts, which
#: begin with "" for those that are not.
Reject = Callable[[Columns], tuple[NDArray[np.uint8], Sequence[str]]]


@dataclass(frozen=True, eq=False)
class Considered:
    """Images, and the candidates of each.

    Attributes
    ----------
    surveyed
        The images, and those that could not be read.
    candidates
        One for each image; images that are alike have the same object.
    reasons
        Why candidates are rejected, by number.
    names
        Of columns that are enumerations: what each number means.
    notes
        What a user should look at.
    """

    surveyed: Survey
    candidates: tuple[Candidates, ...]
    reasons: tuple[str, ...] = REASONS
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[SurveyedImage, ...]:
        """The images."""
        return self.surveyed.images

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {image.id: number for number, image in enumerate(self.images)}

    def windows(self, patches: PatchesRecipe, image: SurveyedImage) -> NDArray[np.int64]:
        """Return (t, z, y, x) of an image's candidates that are kept, as workers count."""
        own = self.candidates[self._numbers[image.id]]
        kept = own.kept()
        return corners_read(patches, {axis: getattr(own, axis)[kept] for axis in "tzyx"})

    def rejected(self) -> dict[str, int]:
        """Return how many candidates were rejected for each reason, of those that there are."""
        total = np.zeros(len(self.reasons), np.int64)
        counted: dict[int, NDArray[np.int64]] = {}
        for own in self.candidates:
            if id(own) not in counted:
                counted[id(own)] = np.bincount(own.reason, minlength=len(total))
            total += counted[id(own)]
        return {
            name: count
            for name, count in zip(self.reasons, total.tolist(), strict=True)
            if name and count
        }


def make_candidates(
    recipe: Recipe, surveyed: Survey, fields: Sequence[AnnotationField], connect: Connect
) -> Considered:
    """Find the places of all patches, by geometry, a table or a label map.

    Parameters
    ----------
    recipe
        Settled.
    surveyed
        With `source.annotations` where the recipe has any.
    fields
        What these annotations are of.
    connect
        Opens a cluster; called only for label maps that were not looked at before.

    Raises
    ------
    RecipeError
        Where the table of points, or the label map, does not fit the images.
    """
    patches = recipe.patches
    if patches.keep_background and recipe.foreground is None:
        raise _nothing_to_keep(patches)
    if patches.at == "objects":
        surveyed, of_images = object_centres(recipe, surveyed, fields, connect)
        pairs = zip(surveyed.images, of_images, strict=True)
        return Considered(surveyed, tuple(centred(image, patches, own) for image, own in pairs))
    if patches.at == "points":
        of_images, names, notes = point_centres(recipe, surveyed)
        pairs = zip(surveyed.images, of_images, strict=True)
        candidates = tuple(centred(image, patches, own) for image, own in pairs)
        return Considered(surveyed, candidates, names=names, notes=notes)
    if patches.at == "random":
        return Considered(
            surveyed,
            tuple(random_candidates(image, patches, recipe.seed) for image in surveyed.images),
        )
    return Considered(surveyed, tuple(_grids(surveyed.images, patches)))


def _nothing_to_keep(patches: PatchesRecipe) -> RecipeError:
    return RecipeError(
        f"patches.keep_background: found {patches.keep_background}, and nothing is rejected for "
        "its foreground; write foreground.min_foreground_fraction, or leave it out"
    )


def require_kept(considered: Considered, why: str = "") -> None:
    """Refuse a recipe that leaves no candidate.

    Parameters
    ----------
    why
        What else there is to say, such as what scores were and should be.

    Raises
    ------
    RecipeError
        That says how many were rejected for each reason.
    """
    if any(own.kept().size for own in considered.candidates):
        return
    total = sum(len(own) for own in considered.candidates)
    rejected = ", ".join(f"{name} {count:,}" for name, count in considered.rejected().items())
    text = f"no patch is left of {total:,} candidates"
    text += f"; rejected are: {rejected}" if rejected else ": there is no place for one"
    raise RecipeError(f"patches: {text}" + (f"; {why}" if why else ""))


def _grids(images: Sequence[SurveyedImage], patches: PatchesRecipe) -> Iterator[Candidates]:
    """Yield the grid of each image, the same object for those that are alike."""
    known: dict[object, Candidates] = {}
    for image in images:
        if image.focus is not None:
            yield grid_candidates(image, patches)
            continue
        key = (id(image.source.kind), image.times)
        if key not in known:
            known[key] = grid_candidates(image, patches)
        yield known[key]


def with_scores(
    recipe: Recipe,
    considered: Considered,
    surveyed: Survey,
    scores: Mapping[str, Sequence[NDArray[np.float32]]],
    reject: Reject,
) -> Considered:
    """Take in the scores of the candidates that were kept.

    Parameters
    ----------
    surveyed
        The images that could be scored, in order, some perhaps fewer.
    scores
        By name, for each image of `surveyed` one number for each of `Considered.windows`.
    reject
        What the recipe rejects; its texts are the same for all images.

    Raises
    ------
    RecipeError
        Where a table's column has the name of a score, or `patches.keep_background` has nothing
        to keep.
    """
    patches = recipe.patches
    numbers = {image.id: number for number, image in enumerate(considered.images)}
    for name in scores:
        if any(name in own.columns for own in considered.candidates):
            raise RecipeError(f'patches.points: the column "{name}" is a score; call it otherwise')
    _, texts = reject({name: np.zeros(0, np.float32) for name in scores})
    reasons = (*considered.reasons, *texts[1:])
    if patches.keep_background and FOREGROUND not in reasons:
        raise _nothing_to_keep(patches)
    of_text = np.array([0, *range(len(considered.reasons), len(reasons))], np.uint8)
    candidates = []
    for number, image in enumerate(surveyed.images):
        own = considered.candidates[numbers[image.id]]
        if scores:
            columns: Columns = {name: values[number] for name, values in scores.items()}
            own = scored(own, columns, of_text[reject(columns)[0]])
        if patches.keep_background:
            foreground = reasons.index(FOREGROUND)
            own = with_background(own, patches.keep_background, foreground, recipe.seed, image.id)
        candidates.append(own)
    return replace(considered, surveyed=surveyed, candidates=tuple(candidates), reasons=reasons)


def image_counts(recipe: Recipe, considered: Considered) -> NDArray[np.int64]:
    """Return how much each image counts when splits get their shares, int64, shape (images,).

    That is the number of its places, whatever scores say of them: the split of an image must not
    depend on the pixels of another. Objects are found in pixels, so that with them each counts 1.
    """
    if recipe.patches.at == "objects":
        return np.ones(len(considered.images), np.int64)
    return places_of_images(recipe, considered)


def places_of_images(recipe: Recipe, considered: Considered) -> NDArray[np.int64]:
    """Return how many patches each image has at most, whatever scores say, int64, (images,)."""
    known: dict[int, int] = {}
    for own in considered.candidates:
        if id(own) not in known:
            known[id(own)] = int(np.count_nonzero(own.fits()))
    counts = np.array([known[id(own)] for own in considered.candidates], np.int64)
    return np.minimum(counts, recipe.patches.max_per_image or counts.max(initial=0))


def counts_of_blocks(
    recipe: Recipe, considered: Considered, blocks_px: tuple[int, int]
) -> list[NDArray[np.int64]]:
    """Return for each image how much each of its blocks counts, as `image_counts` says."""
    found = []
    for image, own in zip(considered.images, considered.candidates, strict=True):
        fits = own.fits()
        counts = block_counts(image.shape[3:], blocks_px, own.y[fits], own.x[fits])
        found.append(np.ones_like(counts) if recipe.patches.at == "objects" else counts)
    return found


def with_splits(
    recipe: Recipe,
    considered: Considered,
    maps: Sequence[NDArray[np.int8]] | None,
    halo_px: int = 0,
) -> Considered:
    """Reject what reads pixels of two splits, then what is more than `patches.max_per_image`.

    Parameters
    ----------
    maps
        The split of each block of each image, where splits are spatial.
    halo_px
        What steps read around a patch and its border.
    """
    patches, blocks_px = recipe.patches, recipe.split.blocks_px if recipe.split else None
    if maps is None and patches.max_per_image is None:
        return considered
    candidates = []
    for number, (image, own) in enumerate(
        zip(considered.images, considered.candidates, strict=True)
    ):
        shares = None
        if maps is not None and blocks_px is not None:
            resolution = image.source.kind.resolution
            own = with_blocks(own, resolution, patches, maps[number], blocks_px, halo_px)
            # Where objects lie is said by pixels, so that they have shares of the area.
            of_places = None if patches.at == "objects" else own.split
            shares = maps[number].reshape(-1) if of_places is None else of_places[own.fits()]
        if patches.max_per_image is not None:
            own = at_most(own, patches.max_per_image, recipe.seed, image.id, shares)
        candidates.append(own)
    return replace(considered, candidates=tuple(candidates))

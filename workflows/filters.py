"""Scores candidates by their own pixels, for [filters]: on the cluster, or from the cache."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks.patches import PatchSpec
from ..tasks.scores import ScoreSpec, compact_batches, score_windows
from ..tasks.source import ImageSource
from .foreground_binding import channel_numbers
from .images import SurveyedImage
from .looking import Task, look
from .recipe import Recipe
from .saturation import Brightest, camera_tops, guess_note
from .score_cache import ArrayCache, windows_digest
from .survey import Connect

#: What a task reads of an image, in bytes; of a larger one several tasks read parts.
PIECE_BYTES = 1 << 29

Corners = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FilterScores:
    """What was found in windows.

    Attributes
    ----------
    spec
        What was scored.
    channels
        The names of the images' channels.
    tops
        The value at which each image's camera is saturated; NaN where it must be guessed.
    scores
        Of each image, as `score_windows` returns them.
    read_bytes
        Of pixels, decoded, that they take to read where nothing is known.
    """

    spec: ScoreSpec
    channels: tuple[str, ...]
    tops: tuple[float, ...]
    scores: Sequence[NDArray[np.float64] | str]
    read_bytes: int

    def columns(self) -> tuple[dict[str, list[NDArray[np.float32]]], tuple[str, ...]]:
        """Return scores by name, of the images that could be read, and notes on what was guessed.

        Names are "sharpness_NAME" (of `filters.focus`), "brightness_NAME", "saturation" and
        "clipped_NAME".
        """
        readable = [
            (top, own)
            for top, own in zip(self.tops, self.scores, strict=True)
            if not isinstance(own, str)
        ]
        labels = [f"sharpness_{self.channels[channel]}" for channel in self.spec.focus]
        labels += [f"brightness_{self.channels[channel]}" for channel in self.spec.brightness]
        labels += ["saturation"] if self.spec.saturation else []
        columns = {
            label: [own[:, at].astype(np.float32) for _, own in readable]
            for at, label in enumerate(labels)
        }
        notes: list[str] = []
        window_px = math.prod(self.spec.patch.size)
        unknown = [number for number, (top, _) in enumerate(readable) if math.isnan(top)]
        for number, channel in enumerate(self.spec.clipped):
            name, first = self.channels[channel], len(labels) + 4 * number
            shares = [own[:, first] for _, own in readable]
            brightest = [Brightest(*own[:, first + 1 : first + 4].T) for _, own in readable]
            guessed = [brightest[n].guessed_top(window_px) for n in unknown]
            for n, top in zip(unknown, guessed, strict=True):
                shares[n] = brightest[n].clipped(top)
            notes += [guess_note(name, guessed)] if unknown else []
            columns[f"clipped_{name}"] = [own.astype(np.float32) for own in shares]
        return columns, tuple(notes)


def score_spec(recipe: Recipe, names: Sequence[str]) -> ScoreSpec:
    """Return what [filters] asks to be scored, of images whose channels have these names.

    Raises
    ------
    RecipeError
        Where a filter does not name channels that the images have.
    """
    tables = recipe.filters.tables() if recipe.filters else {}
    numbers = {
        name: channel_numbers(f"filters.{name}.channel", table.channel, names, name == "saturation")
        for name, table in tables.items()
    }
    patches = recipe.patches
    patch = PatchSpec(
        channels=len(names),
        size=patches.size_zyx,
        dtype=np.dtype(np.float32),
        pad="reflect",
        codec="none",
        level=0,
        rows_per_shard=1,
        is_3d=patches.is_3d,
        project_z=patches.project_z,
        project_t=patches.project_t,
    )
    return ScoreSpec(patch, **numbers)


def score_filters(
    recipe: Recipe,
    images: Sequence[SurveyedImage],
    corners: Sequence[Corners],
    connect: Connect,
) -> FilterScores:
    """Score windows of images by what [filters] asks for.

    Parameters
    ----------
    recipe
        Settled, with `[filters]`.
    images
        Of one kind; at least one.
    corners
        The windows of each: int64, shape (n, 4), as `cut_patches` takes them.
    connect
        Called only where something is not known from an earlier run.

    Raises
    ------
    RecipeError
        Where a filter does not fit the images.
    """
    names = images[0].channels
    spec = score_spec(recipe, names)
    tops = camera_tops(recipe, images) if spec.clipped else [math.nan] * len(images)
    options = recipe.images.options
    # A value that is not known yet is looked for in what is kept of the brightest pixels.
    decisive = [asdict(replace(spec, patch=replace(spec.patch, dtype=np.dtype(np.void))))]
    decisive = json.loads(json.dumps(decisive, default=str))
    cache = ArrayCache("scores", options, decisive)
    sources: list[ImageSource] = [
        replace(image.source, foreground=None, annotations=()) for image in images
    ]
    keys = [
        [windows_digest(own), "" if math.isnan(top) else top]
        for own, top in zip(corners, tops, strict=True)
    ]
    found: list[Any] = [None] * len(images)
    pieces: list[tuple[int, NDArray[np.intp]]] = []
    total = 0
    for number, (source, own) in enumerate(zip(sources, corners, strict=True)):
        total += _nbytes(source, spec) * len(own)
        kept = cache.get(source, keys[number])
        if kept is not None:
            found[number] = kept["scores"]
        else:
            found[number] = np.empty((len(own), spec.columns))
            pieces += [(number, piece) for piece in _pieces(source, own, spec)]
    windows = [corners[number][piece] for number, piece in pieces]
    of_piece = [number for number, _ in pieces]

    def keep(number: int, scores: NDArray[np.float64]) -> bool:
        of, piece = pieces[number]
        found[of][piece] = scores
        return True

    read = look(
        connect,
        Task(
            "scores",
            score_windows,
            lambda own: (
                [sources[of_piece[n]] for n in own],
                [windows[n] for n in own],
                spec,
                [tops[of_piece[n]] for n in own],
                options,
            ),
        ),
        [None] * len(pieces),
        [_nbytes(sources[number], spec) * len(piece) for number, piece in pieces],
        keep,
    )
    # Of several parts that cannot be read the first counts, whichever was tried first.
    for number, reason in reversed(list(zip(of_piece, read, strict=True))):
        if isinstance(reason, str):
            found[number] = reason
    for number in dict.fromkeys(of_piece):
        if not isinstance(found[number], str):
            cache.put(sources[number], keys[number], {"scores": found[number]})
    return FilterScores(spec, names, tuple(tops), found, total)


def _pieces(source: ImageSource, corners: Corners, spec: ScoreSpec) -> list[NDArray[np.intp]]:
    """Return windows that one task scores, by number."""
    most = max(1, PIECE_BYTES // _nbytes(source, spec))
    order = list(compact_batches(source, corners, spec.patch))
    every = np.concatenate(order) if order else np.empty(0, np.intp)
    return [every[start : start + most] for start in range(0, len(every), most)]


def _nbytes(source: ImageSource, spec: ScoreSpec) -> int:
    """Return how many bytes of pixels one window is made of."""
    kind, patch = source.kind, spec.patch
    n_t, n_c, n_z, _ = kind.planes.shape
    together = min(n_c, -(-len(spec.channels) // kind.segment[1]) * kind.segment[1])
    depth, height, width = (
        n * zoom for n, zoom in zip(patch.size, kind.resolution.zoom, strict=True)
    )
    planes = (n_z if patch.project_z else depth) * (n_t if patch.project_t else 1)
    nbytes: int = round(planes * height * width) * together * kind.dtype.itemsize
    return max(1, nbytes)

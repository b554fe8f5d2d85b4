"""Keeps what was measured of a group of images, so that a second run reads nothing.

The key is what was measured: the identities of the images, their planes and regions, the steps
before, and the mask; not what the numbers are for. So another percentile reads nothing either.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from dask.base import tokenize

from ..tasks.measure import Halves, MeasureSpec
from ..tasks.sketch import Sketch
from .cache import Cache, option_values, source_key
from .regions import Regions

#: Raised whenever the same regions may give other sketches.
STATISTICS_VERSION = 1


@dataclass(frozen=True, eq=False)
class Kept:
    """What was measured of a group.

    Attributes
    ----------
    sketches
        For each channel.
    regions
        How many.
    """

    sketches: Halves
    regions: int


class StatisticsCache:
    """Finds and keeps what was measured.

    Parameters
    ----------
    spec
        How.
    """

    def __init__(self, spec: MeasureSpec) -> None:
        options = [STATISTICS_VERSION, option_values(spec.options), list(spec.channels)]
        self._cache = Cache("statistics", [*options, spec.is_whole, spec.foreground])
        self._foreground = spec.foreground
        # Images of one kind have the same steps, which may hold whole pictures.
        self._tokens: dict[int, tuple[object, str]] = {}

    def key(self, measured: Sequence[Regions]) -> list[Any]:
        """Return what says what is measured, as JSON values."""
        digest = hashlib.sha256()
        for regions in measured:
            digest.update(json.dumps(self._described(regions)).encode())
        return [len(measured), digest.hexdigest()]

    def _described(self, regions: Regions) -> list[Any]:
        source, patch = regions.source, regions.patch
        corners = hashlib.sha256(regions.corners.tobytes()).hexdigest()
        return [
            source_key(source),
            asdict(source.kind.resolution),
            [corners, regions.halves.tolist()[:1], regions.wanted],
            [patch.size, patch.project_z, patch.project_t],
            [self._token(step) for step in (*source.steps.before, None, *source.steps.after)],
            self._token(source.foreground) if self._foreground else "",
        ]

    def _token(self, value: object) -> str:
        if id(value) not in self._tokens:
            # The value is kept, so that its id is not given to another one.
            self._tokens[id(value)] = value, tokenize(value)
        return self._tokens[id(value)][1]

    def get(self, key: Sequence[Any]) -> Kept | None:
        """Return what was measured; None where nobody did."""
        found = self._cache.read(key)
        try:
            return None if found is None else _decoded(json.loads(found))
        except (ValueError, KeyError, TypeError, zlib.error):
            return None  # cut short, or of another version: measured again

    def put(self, key: Sequence[Any], kept: Kept) -> None:
        """Keep what was measured."""
        sketches = [[_encoded(half) for half in pair] for pair in kept.sketches]
        self._cache.write(key, json.dumps({"regions": kept.regions, "sketches": sketches}))


def _encoded(sketch: Sketch) -> dict[str, Any]:
    packed = zlib.compress(sketch.bins.astype("<i8").tobytes(), 1)
    text = base64.b64encode(packed).decode("ascii")
    return {"is_whole": sketch.is_whole, "low": sketch.low, "high": sketch.high, "bins": text}


def _decoded(content: Any) -> Kept:
    sketches = tuple((_sketch(even), _sketch(odd)) for even, odd in content["sketches"])
    return Kept(sketches, int(content["regions"]))


def _sketch(half: Any) -> Sketch:
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(half["bins"])), "<i8")
    bins = numbers.reshape(2 if half["is_whole"] else 4, -1).astype(np.int64)
    return Sketch(bool(half["is_whole"]), bins, float(half["low"]), float(half["high"]))

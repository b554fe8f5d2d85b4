"""Keeps what was found in the pixels of images, so that other limits read nothing.

The key is what was looked at and how: an image's identity and planes, the windows, and what makes
a mask or a score; never the limits that scores are held against.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from ..tasks.contrast import Joins
from ..tasks.foreground import Foreground
from ..tasks.foreground_scores import ForegroundScore
from ..tasks.image import ImageOptions
from ..tasks.resolution import Resolution
from ..tasks.sketch import Sketch
from ..tasks.source import ImageSource
from .cache import Cache, option_values, source_key

#: Raised whenever the same images may give other masks or scores.
SCORE_VERSION = 1

Arrays = dict[str, NDArray[Any]]
Corners = NDArray[np.int64]


class ArrayCache:
    """Finds and keeps arrays of an image, by name.

    Parameters
    ----------
    kind
        Of what is kept: a folder.
    options
        How files are opened.
    decisive
        JSON values of what else decides all of it.
    """

    def __init__(self, kind: str, options: ImageOptions, decisive: Sequence[Any]) -> None:
        self._cache = Cache(kind, [SCORE_VERSION, option_values(options), *decisive])

    def get(self, source: ImageSource, decisive: Sequence[Any]) -> Arrays | None:
        """Return what was found; None where nobody looked.

        Parameters
        ----------
        decisive
            JSON values of what decides what is found in this image.
        """
        found = self._cache.read([*_image_key(source), *decisive])
        try:
            return None if found is None else _decoded(json.loads(found))
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
            return None  # cut short, or of another version: looked at again

    def put(self, source: ImageSource, decisive: Sequence[Any], arrays: Arrays) -> None:
        """Keep what was found."""
        self._cache.write([*_image_key(source), *decisive], json.dumps(_encoded(arrays)))


class HistogramCache:
    """Finds and keeps histograms of the signals of images that have `foreground`."""

    def __init__(self, options: ImageOptions) -> None:
        self._cache = ArrayCache("histogram", options, ())

    def get(self, source: ImageSource) -> list[Sketch] | None:
        """Return the histogram of each signal; None where nobody looked."""
        packed = self._cache.get(source, _signal_key(source))
        if packed is None:
            return None
        found = []
        for number in range(len(packed) // 2):
            is_whole, low, high = packed[f"ends{number}"].tolist()
            found.append(Sketch(bool(is_whole), packed[f"bins{number}"], low, high))
        return found

    def put(self, source: ImageSource, sketches: Sequence[Sketch]) -> None:
        """Keep histograms."""
        packed: Arrays = {}
        for number, own in enumerate(sketches):
            packed[f"bins{number}"] = own.bins
            packed[f"ends{number}"] = np.array([own.is_whole, own.low, own.high])
        self._cache.put(source, _signal_key(source), packed)


class FractionCache:
    """Finds and keeps how much of windows is foreground.

    Parameters
    ----------
    options
        How files are opened.
    size
        (z, y, x) of a window in pixels of the patch.
    """

    def __init__(self, options: ImageOptions, size: Sequence[int]) -> None:
        self._cache = ArrayCache("foreground", options, [list(size)])

    def get(self, source: ImageSource, corners: Corners) -> ForegroundScore | None:
        """Return what was found; None where nobody looked."""
        packed = self._cache.get(source, _mask_key(source, corners))
        if packed is None:
            return None
        joins = tuple(Joins(*counts) for counts in packed["joins"].tolist())
        return ForegroundScore(tuple(packed["thresholds"].tolist()), joins, packed["fractions"])

    def put(self, source: ImageSource, corners: Corners, score: ForegroundScore) -> None:
        """Keep what was found."""
        joins = [[own.pixels, own.above, own.pairs, own.joined] for own in score.joins]
        packed: Arrays = {
            "thresholds": np.array(score.thresholds, np.float64),
            "joins": np.array(joins, np.int64).reshape(-1, 4),
            "fractions": score.fractions,
        }
        self._cache.put(source, _mask_key(source, corners), packed)


def windows_digest(corners: Corners) -> str:
    """Return the sha256 of windows."""
    return sha256(np.ascontiguousarray(corners).view(np.uint8).data).hexdigest()


def _image_key(source: ImageSource) -> list[Any]:
    # A level may be rescaled, and what is an integer in one file is a float in another.
    return [*source_key(source), _values(source.kind.resolution), str(source.kind.dtype)]


def _mask_key(source: ImageSource, corners: Corners) -> list[Any]:
    return [_token(source.foreground), windows_digest(corners)]


def _signal_key(source: ImageSource) -> list[Any]:
    """Return what decides the signals: no limit of thresholds, nor what mends a mask."""
    own = source.foreground
    assert own is not None
    method = own.method if own.method in ("local_std", "saturation") else "counts"
    signal = Foreground(
        resolution=own.resolution,
        segment=own.segment,
        method=method,
        channels=own.channels,
        radius=own.radius,
        project_z=own.project_z,
        project_t=own.project_t,
    )
    return [_token(signal)]


# Thousands of small images have the same.
_token: Callable[[Foreground | None], str] = lru_cache(maxsize=256)(tokenize)


@lru_cache(maxsize=256)
def _values(resolution: Resolution) -> dict[str, Any]:
    """Return what a resolution is, as JSON values; not to be written into."""
    return asdict(resolution)


def _encoded(arrays: Arrays) -> dict[str, list[Any]]:
    packed = {}
    for name, values in arrays.items():
        dtype = values.dtype.newbyteorder("<")
        data = zlib.compress(np.ascontiguousarray(values.astype(dtype)).tobytes(), 1)
        packed[name] = [dtype.str, list(values.shape), base64.b64encode(data).decode("ascii")]
    return packed


def _decoded(content: Any) -> Arrays:
    return {
        name: np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype).reshape(shape)
        for name, (dtype, shape, packed) in content.items()
    }

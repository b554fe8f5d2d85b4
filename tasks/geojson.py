"""Reads the polygons of a GeoJSON file as QuPath exports it: a FeatureCollection, or a list.

Coordinates are full-resolution pixels, (0, 0) the upper left corner of the first pixel, as QuPath
writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geojson_features import read_features
from .polygons import PolygonBuilder, Polygons
from .source import SourceError

#: A coordinate beyond this is no pixel of any image.
MAX_COORDINATE = 1e9


@dataclass(frozen=True, eq=False)
class GeoJson:
    """What a file holds.

    Attributes
    ----------
    polygons
        Of all features that are polygons or multipolygons; each feature is an object.
    features
        How many of these there are of each classification; "" for none.
    others
        How many features there are of each other type of geometry.
    """

    polygons: Polygons
    features: dict[str, int]
    others: dict[str, int]

    @property
    def nbytes(self) -> int:
        """Of the polygons."""
        return self.polygons.nbytes


def parse_geojson(path: str, text: str, key: str = "classification") -> GeoJson:
    """Return the polygons of a file.

    Parameters
    ----------
    path
        For errors.
    text
        All of it.
    key
        What a feature's classification is called among its properties: a text, or an object with a
        `name` or a list of `names`, which are joined by ": " as QuPath shows them.

    Raises
    ------
    SourceError
        Where it is no GeoJSON, or coordinates are not numbers.
    """
    polygons = PolygonBuilder()
    numbers: dict[str, int] = {}
    features: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for place, feature in enumerate(read_features(path, text)):
        where = f"{path}: its feature {place}, from 0,"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise SourceError(f"{where} is not of type Feature; write a GeoJSON FeatureCollection")
        geometry = feature.get("geometry") or {}
        kind = geometry.get("type") if isinstance(geometry, dict) else geometry
        if kind not in ("Polygon", "MultiPolygon"):
            others[str(kind)] += 1
            continue
        name = _name(where, feature, key)
        number = numbers.setdefault(name, len(numbers))
        for rings in _polygons(where, kind, geometry.get("coordinates")):
            polygons.add(rings, features.total(), number)
        features[name] += 1
    return GeoJson(polygons.finish(tuple(numbers)), dict(features), dict(others))


def _name(where: str, feature: dict[str, Any], key: str) -> str:
    """Return the classification of a feature."""
    properties = feature.get("properties") or {}
    found = properties.get(key) if isinstance(properties, dict) else properties
    if isinstance(found, dict):
        found = found.get("name", found.get("names"))
    if isinstance(found, list) and all(isinstance(part, str) for part in found):
        found = ": ".join(found)
    if found is not None and not isinstance(found, str):
        raise SourceError(f'{where} has a "{key}" that is no name: {_quoted(found)}')
    return found or ""


def _polygons(where: str, kind: str, coordinates: Any) -> Iterator[list[NDArray[np.float64]]]:
    """Yield the rings of each polygon of a geometry."""
    polygons = coordinates if kind == "MultiPolygon" else [coordinates]
    if not isinstance(polygons, list) or not all(isinstance(rings, list) for rings in polygons):
        raise SourceError(f"{where} is a {kind} without lists of coordinates")
    for rings in polygons:
        yield [_ring(where, ring) for ring in rings]


def _ring(where: str, ring: Any) -> NDArray[np.float64]:
    try:
        points = np.asarray(ring)
        # As it stands: a text is no number, and one too large for 64 bits is no pixel.
        if points.size == 0 and isinstance(ring, list):
            return np.empty((0, 2))
        if points.dtype.kind not in "iuf" or points.ndim != 2 or points.shape[1] < 2:
            raise ValueError
    except ValueError:
        raise SourceError(
            f"{where} has a ring that is not a list of [x, y] in numbers: {_quoted(ring)}"
        ) from None
    points = points[:, :2].astype(np.float64)
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise SourceError(
            f"{where} has a coordinate that is no pixel: at most {MAX_COORDINATE:g} is expected; "
            "write full-resolution pixels"
        )
    return points


def _quoted(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Polygons as masks and label maps of windows, at any resolution."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.tasks.annotation import AnnotationField
from patchmill.tasks.annotation_geojson import GeoJsonFile, GeoJsonLabels, GeoJsonMask
from patchmill.tasks.geojson_file import survey_geojson
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.resolution import as_level, rescaled
from patchmill.tasks.source import SourceError

MASK = AnnotationField(
    "masks/tissue", np.dtype("uint8"), ((0, "background"), (1, "Tumor"), (2, "Stroma")), 255
)
LABELS = AnnotationField("labels/cells", np.dtype("uint16"))
CLASSES = (("Tumor", 1), ("Stroma", 2))


def square(y, x, side, name, hole=None):
    def ring(y, x, side):
        return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]

    rings = [ring(y, x, side)] + ([ring(*hole)] if hole else [])
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"classification": {"name": name}},
    }


@pytest.fixture
def polygons(tmp_path):
    def write(*features):
        # Not the same twice: times of files are coarse.
        path = tmp_path / f"{len(list(tmp_path.glob('*.geojson')))}.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        (info,) = survey_geojson([str(path)], "classification", False)
        return GeoJsonFile(str(path), path.name, info.identity, "classification")

    return write


@pytest.fixture
def image(tmp_path, described):
    def make(resolution=None, shape=(90, 100)):
        path = tmp_path / "image.tif"
        if not path.exists():
            tifffile.imwrite(path, np.zeros(shape, np.uint16))
        return described(path, resolution=resolution).source

    return make


def cut(annotation, source, corners, patch, field):
    annotation = pickle.loads(pickle.dumps(annotation))
    corners = np.asarray(corners, np.int64)
    patches = np.zeros((len(corners), 1, *patch.stored_size), np.uint16)
    found = annotation.cut(source, ImageOptions(), corners, patch, field, patches)
    assert (found.dtype, found.shape) == (field.dtype, (len(corners), *patch.stored_size))
    return found[:, 0]


def test_classes_in_order_holes_and_what_lies_outside(polygons, image, patch_spec):
    file = polygons(
        square(10, 10, 20, "Tumor", hole=(15, 15, 4)),
        square(20, 20, 30, "Stroma"),
        square(5, 60, 10, "Necrosis"),
        square(8, 62, 30, "Stroma"),
    )
    expected = np.full((90, 100), 255, np.uint8)
    expected[5:15, 60:70] = 255
    expected[20:50, 20:50] = 2
    expected[8:38, 62:92] = 2
    tumor = np.zeros((90, 100), bool)
    tumor[10:30, 10:30] = True
    tumor[15:19, 15:19] = False
    first = expected.copy()
    first[tumor] = 1
    patch = patch_spec(size=(1, 90, 100))
    found = cut(GeoJsonMask(file, CLASSES, 255), image(), [[0, 0, 0, 0]], patch, MASK)[0]
    np.testing.assert_array_equal(found, first)
    # The other order; and what lies outside is background, but for what is unknown.
    last = np.where(tumor & (expected == 255), 1, expected)
    last[(last == 255)] = 0
    last[5:15, 60:70] = 255
    last[8:38, 62:92] = 2
    found = cut(GeoJsonMask(file, CLASSES[::-1], 0), image(), [[0, 0, 0, 0]], patch, MASK)[0]
    np.testing.assert_array_equal(found, last)


def test_labels_are_places_in_the_file(polygons, image, patch_spec):
    file = polygons(
        square(10, 10, 20, "Cell"), square(20, 20, 30, "Debris"), square(25, 25, 30, "Cell")
    )
    patch = patch_spec(size=(1, 90, 100))
    found = cut(GeoJsonLabels(file), image(), [[0, 0, 0, 0]], patch, LABELS)[0]
    expected = np.zeros((90, 100), int)
    expected[25:55, 25:55], expected[20:50, 20:50], expected[10:30, 10:30] = 3, 2, 1
    np.testing.assert_array_equal(found, expected)
    found = cut(GeoJsonLabels(file, ("Cell",)), image(), [[0, 0, 0, 0]], patch, LABELS)[0]
    expected = np.zeros((90, 100), int)
    expected[25:55, 25:55], expected[10:30, 10:30] = 3, 1
    np.testing.assert_array_equal(found, expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    margin=st.integers(0, 6),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_windows_are_windows_of_the_whole(polygons, image, patch_spec, seed, size, margin):
    rng = np.random.default_rng(seed)
    features = [
        square(*rng.uniform(-20, 95, 2), rng.uniform(0, 60), rng.choice(["Tumor", "Stroma", "x"]))
        for _ in range(12)
    ]
    file = polygons(*features)
    annotation = GeoJsonMask(file, CLASSES, 0)
    spec = patch_spec(size=(1, 90, 100))
    whole = cut(annotation, image(), [[0, 0, 0, 0]], spec, MASK)[0]
    padded = np.pad(whole, 60, constant_values=255)
    corners = np.zeros((6, 4), np.int64)
    corners[:, 2], corners[:, 3] = rng.integers(0, 90, 6), rng.integers(0, 100, 6)
    patch = patch_spec(size=(1, *size), margin_px=margin)
    height, width = patch.stored_size[1:]
    found = cut(annotation, image(), corners, patch, MASK)
    for window, (_, _, y, x) in zip(found, corners.tolist(), strict=True):
        y, x = y + 60 - margin, x + 60 - margin
        np.testing.assert_array_equal(window, padded[y : y + height, x : x + width])


@pytest.mark.parametrize("factor", [1.7, 3.0, 2.0])
def test_rescaled(polygons, image, patch_spec, factor):
    """A pixel of the patch is of the class in which its centre lies, at full resolution."""
    file = polygons(square(11.3, 7.9, 33.3, "Tumor"), square(52.0, 41.5, 20.2, "Stroma"))
    source = image(lambda shapes: rescaled(shapes, (1.0, factor, factor)))
    size = source.kind.resolution.size
    patch = patch_spec(size=(1, 12, 12))
    resolution = source.kind.resolution
    corners = [
        [0, 0, *(int(np.floor(n * factor + 1e-6)) for n in (y, x))]
        for y in range(0, size[1], 12)
        for x in range(0, size[2], 12)
    ]
    found = cut(GeoJsonMask(file, CLASSES, 0), source, corners, patch, MASK)
    for window, (_, _, y, x) in zip(found, corners, strict=True):
        for i, j in np.ndindex(12, 12):
            p = resolution.positions(1, np.array([y]))[0] + i
            q = resolution.positions(2, np.array([x]))[0] + j
            cy, cx = y + (i + 0.5) * factor, x + (j + 0.5) * factor
            expected = 0
            if 11.3 <= cy < 11.3 + 33.3 and 7.9 <= cx < 7.9 + 33.3:
                expected = 1
            elif 52.0 <= cy < 72.2 and 41.5 <= cx < 61.7:
                expected = 2
            if p >= size[1] or q >= size[2]:
                expected = 255
            assert window[i, j] == expected


def test_levels_are_painted_at_their_own_pixels(polygons, patch_spec, image):
    file = polygons(square(16, 8, 32, "Tumor"))
    source = image(lambda shapes: as_level([shapes[0], (1, 45, 50)], 0))
    # As a level of half the resolution would say it.
    half = as_level([(1, 90, 100), (1, 45, 50)], 1)
    source = replace(source, kind=replace(source.kind, resolution=half))
    window = cut(
        GeoJsonMask(file, CLASSES, 0), source, [[0, 0, 8, 0]], patch_spec(size=(1, 24, 24)), MASK
    )[0]
    expected = np.zeros((24, 24), int)
    expected[4:20, 4:20] = 1
    np.testing.assert_array_equal(window, expected)


def test_a_file_that_changed_names_itself(polygons, image, patch_spec, tmp_path):
    file = polygons(square(1, 1, 5, "Tumor"))
    (tmp_path / "0.geojson").write_text("[]  ")
    with pytest.raises(SourceError, match=r"^0\.geojson: changed since the survey"):
        cut(GeoJsonMask(file, CLASSES, 0), image(), [[0, 0, 0, 0]], patch_spec(), MASK)

"""GeoJSON as QuPath writes it, and as it should not be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from patchmill.tasks.geojson import parse_geojson
from patchmill.tasks.geojson_file import open_geojson, survey_geojson
from patchmill.tasks.source import SourceError

SQUARE = [[0, 0], [6, 0], [6, 6], [0, 6], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]


def feature(coordinates, kind="Polygon", name="Tumor", **properties):
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {
        "type": "Feature",
        "id": "0c3e",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **properties},
    }


def parse(content, **options):
    text = content if isinstance(content, str) else json.dumps(content)
    return parse_geojson("a.geojson", text, **options)


@pytest.mark.parametrize("form", ["collection", "list", "one"])
def test_forms_of_a_file(form):
    one = feature([SQUARE, HOLE])
    content = {
        "collection": {"crs": {"x": [1, {}]}, "features": [one], "type": "FeatureCollection"},
        "list": [one],
        "one": one,
    }[form]
    for text in (json.dumps(content), json.dumps(content, indent=2), " \n" + json.dumps(content)):
        found = parse(text)
        assert found.features == {"Tumor": 1}
        assert found.others == {}
        centres = np.arange(6) + 0.5
        assert found.polygons.paint(0, centres, centres)[2].sum() == 36 - 4


def test_multipolygons_are_one_object_and_names_are_what_qupath_shows():
    moved = (np.array(SQUARE) + 10).tolist()
    features = [
        feature([[SQUARE], [moved, (np.array(HOLE) + 10).tolist()]], "MultiPolygon"),
        feature([SQUARE], name=None, classification={"names": ["Tumor", "Positive"]}),
        feature([SQUARE], name=None, classification="Stroma"),
        feature([SQUARE], name=None),
        feature([1, 2], "Point"),
        {"type": "Feature", "geometry": None, "properties": None},
        # Three coordinates are allowed; heights are left out.
        feature([[[*point, 7.5] for point in SQUARE]]),
    ]
    found = parse(features)
    assert found.features == {"Tumor": 2, "Tumor: Positive": 1, "Stroma": 1, "": 1}
    assert found.others == {"Point": 1, "None": 1}
    polygons = found.polygons
    assert polygons.objects.tolist() == [0, 0, 1, 2, 3, 4]
    assert [polygons.all_names[n] for n in polygons.names] == [
        *("Tumor", "Tumor", "Tumor: Positive", "Stroma", "", "Tumor"),
    ]
    assert polygons.boxes[1].tolist() == [10, 16, 10, 16]


def test_another_property_may_be_the_classification():
    found = parse([feature([SQUARE], label="vessel"), feature([SQUARE])], key="label")
    assert found.features == {"vessel": 1, "": 1}


@pytest.mark.parametrize("content", [[], {"type": "FeatureCollection", "features": []}])
def test_no_features(content):
    found = parse(content)
    assert found.features == {}
    assert found.polygons.touching(0, 9, 0, 9).tolist() == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "not read as GeoJSON"),
        ("[", "not read as GeoJSON"),
        ('{"type": "FeatureCollection"', "not read as GeoJSON"),
        ('{"type": "FeatureCollection"}', "feature 0, from 0, is not of type Feature"),
        ("[] []", "not read as GeoJSON"),
        ("[1]", "feature 0, from 0, is not of type Feature"),
        ('{"features": 3}', "not read as GeoJSON"),
        ("[" * 200_000, "nested too deeply"),
        ('[{"type": "Feature", "geometry": ' + '{"a":' * 200_000, "nested too deeply"),
        ([feature(None)], "Polygon without lists"),
        ([feature([None])], r"list of \[x, y\]"),
        ([feature([SQUARE], "MultiPolygon")], r"list of \[x, y\]"),
        ([feature([[[1, 2], [3]]])], r"list of \[x, y\]"),
        ([feature([[["1", "2"]] * 4])], r"list of \[x, y\]"),
        ([feature([[[1, 10**400], [3, 4]]])], r"list of \[x, y\]"),
        ([feature([[[1, 2e9], [3, 4], [5, 6]]])], "no pixel"),
        (json.dumps([feature([[[1, 2], [3, 4]]])]).replace("3", "1e999"), "no pixel"),
        (json.dumps([feature([SQUARE])]).replace("6", "NaN"), "NaN is no number"),
        (json.dumps([feature([SQUARE])]).replace("6", "-Infinity"), "Infinity is no number"),
        (json.dumps([feature([SQUARE])]).replace("6", "6" * 5000), "not read as GeoJSON"),
        ([feature([SQUARE], name=None, classification=7)], "is no name: 7"),
        ([feature([SQUARE], name=None, classification={"name": [1]})], "is no name"),
    ],
)
def test_what_is_no_geojson_is_one_sentence(content, sentence):
    with pytest.raises(SourceError, match=sentence) as caught:
        parse(content)
    assert str(caught.value).startswith("a.geojson: ")
    assert len(str(caught.value)) < 400


def test_survey_and_later(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([feature([SQUARE])]).encode())
    bad = tmp_path / "b.geojson"
    bad.write_bytes(b"\xff\xfe[]")
    found = survey_geojson(
        [str(path), str(bad), str(tmp_path / "none"), str(tmp_path)], "classification", True
    )
    assert found[0].features == {"Tumor": 1}
    assert len(found[0].identity.sha256) == 64
    assert "not UTF-8" in found[1]
    assert "is gone" in found[2]
    assert isinstance(found[3], str)
    kept = open_geojson(str(path), found[0].identity, "classification")
    assert open_geojson(str(path), found[0].identity, "classification") is kept
    path.write_text("[]")
    with pytest.raises(SourceError, match="changed since the survey"):
        open_geojson(str(path), found[0].identity, "another key")

"""The tables [masks.NAME] and [labels.NAME] that name no files of pixels: keys, what is bound."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from patchmill.tasks.annotation_file import BlankAnnotation
from patchmill.tasks.annotation_geojson import GeoJsonLabels, GeoJsonMask
from patchmill.tasks.annotation_thresholds import ThresholdAnnotation
from patchmill.workflows.annotation_recipe import AnnotationBinding
from patchmill.workflows.annotations_geojson import GeoJsonLabelsRecipe, GeoJsonMaskRecipe
from patchmill.workflows.annotations_made import MadeLabelsRecipe, MadeMaskRecipe
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.problems import translate

RULES = [
    {"class": "dead", "channel": "iodide", "above": 300},
    {"class": "live", "channel": "calcein", "above": 250.5, "below": 60000},
]
MADE = {
    "from": "thresholds",
    "classes": {"0": "background", "1": "live", "2": "dead"},
    "rules": RULES,
}
PAINTED = {
    "from": "geojson",
    "path": "{stem}.geojson",
    "classes": {"1": "Tumor", "2": "Stroma"},
}


def problems(kind, tables):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(tables)
    return {p.key: p.text for p in translate(caught.value, kind, tables)}


def binding(folder, key="masks.cells", images=("a", "b"), size=(1, 90, 100), steps=(), is_3d=False):
    def surveyed(name):
        file = SimpleNamespace(path=str(folder / f"{name}.tif"), relative=f"{name}.tif")
        resolution = SimpleNamespace(size=size)
        return SimpleNamespace(
            id=name,
            channels=("calcein", "iodide", "brightfield"),
            files=SimpleNamespace(files=(file,), groups=()),
            source=SimpleNamespace(kind=SimpleNamespace(resolution=resolution)),
        )

    options = SimpleNamespace(storage=())
    recipe = SimpleNamespace(
        folder=Path(folder),
        images=SimpleNamespace(options=options, identity="mtime", manifest=None),
        metadata=None,
        patches=SimpleNamespace(is_3d=is_3d),
        steps=steps,
    )
    return AnnotationBinding(key, recipe, tuple(map(surveyed, images)), connect=None)


def test_rules_become_what_workers_do(tmp_path):
    recipe = MadeMaskRecipe.model_validate(MADE | {"opening_px": 2, "connectivity": "edges"})
    bound = recipe.bind(binding(tmp_path))
    assert bound.field.name == "masks/cells"
    assert (bound.field.dtype, bound.field.ignore) == (np.uint8, 255)
    assert bound.field.classes == ((0, "background"), (1, "live"), (2, "dead"))
    (made,) = set(bound.annotations)
    assert isinstance(made, ThresholdAnnotation)
    assert len(bound.annotations) == 2
    assert not made.of_image
    assert made.rules.numbers == (2, 1)
    assert [(r.channel, r.above, r.below) for r in made.rules.rules] == [
        (1, 300.0, np.inf),
        (0, 250.5, 60000.0),
    ]
    assert (made.rules.opening_px, made.rules.corners_touch) == (2, False)


@pytest.mark.parametrize(("scope", "dtype"), [("patch", "uint16"), ("image", "uint32")])
def test_objects_of_rules_without_a_class_are_alike(tmp_path, scope, dtype):
    rules = [{"channel": "calcein", "above": 3}, {"channel": "iodide", "above": 3}]
    tables = {"from": "thresholds", "rules": rules, "scope": scope}
    bound = MadeLabelsRecipe.model_validate(tables).bind(binding(tmp_path, "labels.cells"))
    assert (bound.field.dtype, bound.field.ignore) == (np.dtype(dtype), None)
    assert bound.annotations[0].rules.numbers == (1,)
    assert bound.annotations[0].of_image == (scope == "image")


def test_a_recipe_is_read_again_as_it_was_written():
    for kind, tables in ((MadeMaskRecipe, MADE), (GeoJsonMaskRecipe, PAINTED)):
        recipe = kind.model_validate(tables)
        again = json.loads(json.dumps(recipe.model_dump(mode="json", by_alias=True)))
        assert kind.model_validate(again) == recipe


def test_whole_images_only_where_they_fit(tmp_path):
    recipe = MadeMaskRecipe.model_validate(MADE | {"scope": "image", "max_image_pixels": 9000})
    assert recipe.bind(binding(tmp_path)).annotations[0].of_image
    (text, _) = recipe.bind(binding(tmp_path, size=(1, 90, 101))).annotations
    assert text == (
        'has 90 x 101 pixels as it is cut, and masks.cells with scope = "image" holds at most 9000 '
        'at once; write scope = "patch", or a larger masks.cells.max_image_pixels'
    )
    # Planes of a stack are each by themselves; of volumes all are held.
    assert recipe.bind(binding(tmp_path, size=(5, 90, 100))).annotations[0].of_image
    volumes = recipe.bind(binding(tmp_path, size=(5, 90, 100), is_3d=True))
    assert "5 x 90 x 100" in volumes.annotations[0]


def test_what_is_done_to_each_patch_cannot_be_done_to_the_image(tmp_path):
    recipe = MadeMaskRecipe.model_validate(MADE | {"scope": "image"})
    for step in ({"scope": "patch", "output_size": None}, {"output_size": (64, 64)}):
        own = SimpleNamespace(name="zscore", **step)
        with pytest.raises(RecipeError, match=r'masks.cells.scope: .*steps\[0\], "zscore"'):
            recipe.bind(binding(tmp_path, steps=(own,)))
        MadeMaskRecipe.model_validate(MADE).bind(binding(tmp_path, steps=(own,)))


def test_a_channel_that_images_do_not_have(tmp_path):
    tables = MADE | {"rules": [*RULES, {"class": "live", "channel": "DAPI", "above": 1}]}
    with pytest.raises(
        RecipeError, match=r'masks.cells.rules\[2\].channel: found "DAPI"; the chan'
    ):
        MadeMaskRecipe.model_validate(tables).bind(binding(tmp_path))


@pytest.mark.parametrize(
    ("change", "key", "part"),
    [
        ({"rules": []}, "rules", "write a list of rules"),
        ({"rules": [3]}, "rules[0]", "found 3"),
        ({"rules": [{"class": "live", "channel": "c"}]}, "rules[0].above", "is missing"),
        (
            {"rules": [{"class": "live", "channel": "c", "above": 5, "below": 5}]},
            "rules[0].above",
            "nothing is",
        ),
        ({"rules": [{"class": "live", "channel": "c", "above": "5"}]}, "rules[0].above", "number"),
        (
            {"rules": [{"class": "live", "channel": "c", "above": float("nan")}]},
            "rules[0].above",
            "number",
        ),
        (
            {"rules": [{"class": "lives", "channel": "c", "above": 5}]},
            "rules[0].class",
            "live, dead",
        ),
        (
            {"rules": [{"class": "background", "channel": "c", "above": 5}]},
            "rules[0].class",
            "live, dead",
        ),
        ({"rules": [{"channel": "c", "above": 5}]}, "rules[0].class", "found nothing"),
        ({"rules": [{"class": "live", "chanel": "c", "above": 5}]}, "rules[0].chanel", "channel?"),
        ({"classes": {"1": "live", "2": "dead"}}, "classes", "has no class 0"),
        ({"scope": "all"}, "scope", '"patch" or "image"'),
        ({"opening_px": 1.5}, "opening_px", "whole pixels"),
        ({"min_area_px": -1}, "min_area_px", "whole number"),
        ({"fill_holes": 1}, "fill_holes", "true or false"),
    ],
)
def test_what_is_wrong_with_thresholds(change, key, part):
    assert part in problems(MadeMaskRecipe, MADE | change)[key]


@pytest.mark.parametrize(
    ("change", "key", "part"),
    [
        ({"path": None}, "path", "is missing"),
        ({"column": "annotations"}, "path", "as column does"),
        ({"order": ["Tumor"]}, "order", 'write each class once: ["Tumor", "Stroma"]'),
        ({"order": ["Tumor", "Stroma", "Fat"]}, "order", "write each class once"),
        ({"outside": "background"}, "outside", 'add 0 = "background"'),
        ({"missing_mask": "background"}, "missing_mask", 'add 0 = "background"'),
        ({"unknown": "skip"}, "unknown", '"raise" or "ignore"'),
    ],
)
def test_what_is_wrong_with_polygons(change, key, part):
    assert part in problems(GeoJsonMaskRecipe, PAINTED | change)[key]


def feature(name, kind="Polygon"):
    ring = [[0, 0], [9, 0], [9, 9], [0, 0]]
    coordinates = {"Polygon": [ring], "Point": [1, 2]}[kind]
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"classification": {"name": name}} if name else {},
    }


@pytest.fixture
def polygons(tmp_path, client):
    def write(*features, name="a"):
        (tmp_path / f"{name}.geojson").write_text(json.dumps(list(features)))

    def bind(kind=GeoJsonMaskRecipe, key="masks.tissue", steps=(), **change):
        tables = {k: v for k, v in (PAINTED | change).items() if v is not None}
        own = binding(tmp_path, key, steps=steps)
        own = AnnotationBinding(own.key, own.recipe, own.images, lambda: nullcontext(client))
        return kind.model_validate(tables).bind(own)

    return write, bind


def test_a_file_for_each_image(polygons, tmp_path):
    write, bind = polygons
    write(feature("Tumor"), feature("Stroma"))
    write(feature("Tumor"), name="b")
    bound = bind(order=["Stroma", "Tumor"])
    first, second = bound.annotations
    assert isinstance(first, GeoJsonMask)
    assert first.classes == (("Stroma", 2), ("Tumor", 1))
    assert first.outside == 255
    assert [name for own in (first, second) for name, _ in own.files] == ["a.geojson", "b.geojson"]
    assert first.file.identity.size_bytes == (tmp_path / "a.geojson").stat().st_size
    classes = {"0": "background", "1": "Tumor", "2": "Stroma"}
    assert bind(classes=classes, outside="background").annotations[0].outside == 0
    labels = bind(GeoJsonLabelsRecipe, "labels.cells", classes=None, only="Tumor")
    assert isinstance(labels.annotations[0], GeoJsonLabels)
    assert (labels.annotations[0].only, labels.field.dtype) == (("Tumor",), np.uint32)


def test_a_second_look_asks_no_cluster(polygons, tmp_path):
    write, bind = polygons
    write(feature("Tumor"))
    write(feature("Tumor"), name="b")
    known = bind().annotations[0].file.identity
    own = binding(tmp_path, "masks.tissue")  # which has no cluster at all
    assert GeoJsonMaskRecipe.model_validate(PAINTED).bind(own).annotations[0].file.identity == known


def test_an_image_without_a_file(polygons):
    write, bind = polygons
    write(feature("Tumor"))
    assert bind().annotations[1] == (
        "has no file b.geojson (masks.tissue); add it, or write masks.tissue.missing_mask = "
        '"ignore" or "background"'
    )
    assert bind(missing_mask="ignore").annotations[1] == BlankAnnotation(255)
    labels = {"kind": GeoJsonLabelsRecipe, "key": "labels.cells", "classes": None}
    assert isinstance(bind(**labels).annotations[1], str)
    assert bind(**labels, missing_mask="background").annotations[1] == BlankAnnotation(0)


def test_features_that_the_recipe_does_not_know(polygons):
    write, bind = polygons
    write(feature("Tumor"), feature("Fat"), feature(""), feature("Tumor", "Point"))
    write("nonsense", name="b")
    first, second = bind().annotations
    assert first.startswith("a.geojson: holds features that have no area (1 of Point); take them")
    assert second.startswith("b.geojson: its feature 0, from 0, is not of type Feature")
    skipping = bind(other_geometries="skip").annotations[0]
    assert skipping.startswith('a.geojson: has classifications that are no classes: "Fat", none;')
    made = bind(other_geometries="skip", unknown="ignore").annotations[0]
    assert isinstance(made, GeoJsonMask)


def test_more_features_than_numbers(polygons):
    write, bind = polygons
    write(*[feature("Tumor")] * 300)
    found = bind(GeoJsonLabelsRecipe, "labels.cells", classes=None, dtype="uint8").annotations[0]
    assert found.startswith("a.geojson: has 300 objects, and labels/cells is uint8")


def test_polygons_are_not_found_again_in_patches_of_another_size(polygons):
    write, bind = polygons
    write(feature("Tumor"))
    step = SimpleNamespace(name="crop", output_size=(64, 64))
    with pytest.raises(RecipeError, match=r'masks.tissue: steps\[0\], "crop"'):
        bind(steps=(step,))

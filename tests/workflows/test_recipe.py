import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchmill.workflows.annotations_section import LABELS, MASKS, annotation_keys
from patchmill.workflows.classes_section import class_keys
from patchmill.workflows.dtypes import is_widening
from patchmill.workflows.problems import known_keys
from patchmill.workflows.recipe import Recipe, RecipeError
from patchmill.workflows.step_recipe import StepRecipe
from patchmill.workflows.steps_section import step_keys

PATTERN = r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"
FULL = r"""
seed = 3
[images]
paths    = ["plate1/**/*.tif"]
pattern  = '(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)'
exclude  = ["*_thumb*"]
group    = ["well"]
on_error = "skip"
[images.channels]
2 = "GFP"
1 = "DAPI"
[patches]
size   = [256, 128]
stride = 64
edge   = "pad"
pad    = 0.0
[split]
fractions = { val = 0.2, train = 0.8 }
[store]
codec = "zstd"
shard_bytes = "64 MiB"
"""


def make(images=None, patches=None, **sections):
    return Recipe.from_dict(
        {
            "images": {"paths": "*.tif", "pattern": PATTERN} | (images or {}),
            "patches": {"size": 256} | (patches or {}),
            **sections,
        }
    )


def problems(images=None, patches=None, **sections):
    with pytest.raises(RecipeError) as caught:
        make(images, patches, **sections)
    return str(caught.value)


def test_load_reads_every_section(tmp_path):
    (tmp_path / "recipe.toml").write_text(FULL)
    recipe = Recipe.load(tmp_path / "recipe.toml")
    assert recipe.folder == tmp_path
    assert recipe.seed == 3
    assert recipe.images.group == ("well",)
    assert list(recipe.images.channels.items()) == [("2", "GFP"), ("1", "DAPI")]
    assert recipe.patches.size == (256, 128)
    assert recipe.patches.stride == (64, 64)
    assert recipe.patches.pad == 0
    assert list(recipe.split.fractions) == ["val", "train"]
    assert (recipe.store.codec, recipe.store.level) == ("zstd", 3)
    assert recipe.store.shard_bytes == 64 * 2**20


def test_load_is_absolute_from_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "recipe.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("recipe.toml").folder == tmp_path


def test_defaults():
    recipe = Recipe.from_dict({"images": {"paths": "a.tif"}, "patches": {"size": 64}}, "/data")
    assert recipe.images.paths == ("a.tif",)
    assert recipe.patches.stride == recipe.patches.size == (64, 64)
    assert recipe.split is None
    assert (recipe.store.codec, recipe.store.level, recipe.store.shard_bytes) == (
        "lz4",
        5,
        64 * 10**6,
    )
    assert recipe.folder == Path("/data")


def test_canonical_keeps_order_through_sorted_json_and_comes_back():
    recipe = Recipe.from_dict(tomllib.loads(FULL), "/data")
    text = json.dumps(recipe.canonical(), sort_keys=True)
    assert "/data" not in text
    assert Recipe.from_dict(json.loads(text), "/data") == recipe
    other = tomllib.loads(FULL)
    other["images"]["channels"] = {"1": "DAPI", "2": "GFP"}
    assert json.dumps(Recipe.from_dict(other).canonical(), sort_keys=True) != text


def test_canonical_is_the_same_for_defaults_written_out():
    short = make().canonical()
    assert (
        make(patches={"stride": [256, 256], "pad": "reflect"}, store={"level": 5}).canonical()
        == short
    )
    assert short["images"]["on_error"] == "raise"


#: What no store says, because keys may stand there.
SECRET = {"images.storage", "store.storage"}
#: Every other key, none at its default but those that others exclude.
EVERY = {
    "seed": 3,
    "images": {
        "paths": ["a/*.tif", "s3://bucket/*.tif"],
        "pattern": PATTERN,
        "exclude": ["*_thumb*"],
        "group": ["well"],
        "on_error": "skip",
        "missing_channel": "skip",
        "channels": {"2": "GFP", "1": "DAPI"},
        "dtype": "uint8",
        "axes": "NCZYX",
        "identity": "content",
        "reader": "package.module:function",
        "dataset": "t0/channel 1",
        "palette": "colour",
        "voxel_um": [2.0, 0.5, 0.25],
        "saturation": 4095.0,
        "table": {"size": [137, 236], "id": "name", "pixels": "image"},
        "max_pixels": 10**12,
        "max_segment_bytes": "2 GiB",
        "max_seconds": 60,
    },
    "patches": {
        "size": [4, 64, 32],
        "stride": [2, 80, 32],
        "edge": "pad",
        "pad": 7,
        "margin_px": 5,
        "allow_gaps": True,
        "z": "stack",
        "t": "max",
        "voxel_um": [1.0, 0.5, 0.5],
        "allow_mixed_mpp": True,
    },
    "metadata": {"table": "p.csv", "on": {"Well": "well"}, "missing": "empty", "wells": "well"},
    "foreground": {
        "method": "local_std",
        "channel": ["DAPI"],
        "min_value": 3.0,
        "max_value": 90.0,
        "by": ["well"],
        "dark": True,
        "radius_px": 16.0,
        "closing_px": 8.0,
        "min_area_px": 400.0,
        "max_hole_px": 300.0,
        "pixels": 10**5,
        "min_foreground_fraction": 0.1,
        "max_foreground_fraction": 0.9,
    },
    "filters": {
        "focus": {"channel": "DAPI", "min": 50.0, "max": 1e6},
        "brightness": {"channel": ["DAPI", "GFP"], "min": 120.0, "max": 9e3},
        "saturation": {"channel": ["R", "G", "B"], "min": 0.05, "max": 0.9},
        "clipped": {"channel": "GFP", "min": 0.001, "max": 0.01},
    },
    "masks": {
        "a": {
            "from": "files",
            "path": "{folder}/{stem}.png",
            "axes": "YXS",
            "dataset": "a",
            "reader": "package.module:function",
            "factor": 4.0,
            "missing_mask": "background",
            "classes": {"0": "background", "7": "live"},
            "ignore": 9,
            "colours": {"live": [0, 255, 0], "ignore": [1, 2, 3]},
            "unknown": "ignore",
        },
        "b": {
            "from": "files",
            "column": "mask",
            "channel": "cells",
            "mpp": 0.5,
            "missing_mask": "ignore",
            "classes": {"1": "live"},
            "unknown": "raise",
        },
        "c": {
            "from": "thresholds",
            "classes": {"0": "background", "2": "live"},
            "ignore": 3,
            "rules": [{"class": "live", "channel": "GFP", "above": 3.0, "below": 9.0}],
            "scope": "image",
            "opening_px": 2,
            "fill_holes": True,
            "min_area_px": 40,
            "connectivity": "edges",
            "max_image_pixels": 10**6,
        },
        "d": {
            "from": "geojson",
            "path": "{id}.geojson",
            "classes": {"0": "background", "1": "Tumor"},
            "ignore": 4,
            "order": ["Tumor", "background"],
            "outside": "background",
            "unknown": "ignore",
            "property": "name",
            "other_geometries": "skip",
            "missing_mask": "ignore",
        },
    },
    "labels": {
        "a": {
            "from": "files",
            "path": "{folder}/{stem}.png",
            "axes": "CYX",
            "dataset": "0",
            "reader": "package.module:function",
            "channel": 1,
            "factor": 2.0,
            "missing_mask": "background",
            "dtype": "uint64",
        },
        "b": {"from": "files", "column": "label", "mpp": 0.25},
        "c": {
            "from": "thresholds",
            "rules": [
                {"class": "x", "channel": "GFP", "below": 9.0},
                {"channel": "A", "above": 1.0},
            ],
            "scope": "image",
            "opening_px": 2,
            "fill_holes": True,
            "min_area_px": 40,
            "connectivity": "edges",
            "max_image_pixels": 10**6,
            "dtype": "uint8",
        },
        "d": {
            "from": "geojson",
            "column": "polygons",
            "only": ["Tumor"],
            "property": "name",
            "other_geometries": "skip",
            "missing_mask": "background",
            "dtype": "uint16",
        },
    },
    "classes": {
        "kind": {
            "from": "mask",
            "mask": "a",
            "rule": "presence",
            "min_fraction": 0.01,
            "order": ["live"],
        },
        "drug": {"from": "column", "column": "drug", "order": ["none", "x"]},
    },
    "steps": [
        {
            "name": "illumination",
            "channels": ["DAPI"],
            "flat": "estimate",
            "dark": {"DAPI": 100, "GFP": "dark.tif"},
            "by": "plate",
            "where": "role == 'control'",
            "from": "all",
            "min_fields": 20,
            "max_fields": 200,
            "degree": 5,
            "max_field_px": 10**6,
            "allow_pyramids": True,
            "pedestal": 50.0,
        },
        {"name": "hot_pixels", "size_px": 5, "threshold": 9.0, "min_noise": 2.0},
        {"name": "hot_pixels", "threshold_counts": 200.0},
        {"name": "geometry"},
        {"name": "median", "size_px": 5},
        {"name": "gaussian", "sigma_px": 1.5},
        {"name": "invert", "top": 4095.0},
        {"name": "background", "method": "constant", "value": 100.0, "pedestal": 7.0},
        {"name": "background", "method": "opening", "radius_px": 50, "shrink": 5},
        {
            "name": "background",
            "method": "rolling_ball",
            "radius_px": 50,
            "shrink_by": "min",
            "height": 9.0,
        },
        {"name": "background", "method": "percentile", "percentile": 2.0, "scope": "image"},
        {
            "name": "percentile",
            "low": 1.0,
            "high": 99.0,
            "by": ["plate"],
            "where": "role == 'control'",
            "from": ["train", "val"],
            "foreground": True,
            "statistics": "all",
            "to": [0, 1],
            "clip": False,
        },
        {"name": "gamma", "gamma": 0.5, "range": [0, 1]},
        {"name": "clip", "low": 0.1, "high": 0.9},
        {"name": "log", "offset": 2.0, "base": "10"},
    ],
    "split": {"fractions": {"val": 0.2, "train": 0.8}, "stratify": "drug"},
    "store": {"codec": "zstd", "level": 9, "shard_bytes": "1 GB", "dtype": "float32"},
}
IMAGES = EVERY["images"]
#: The keys of statistics, but for `scope`, which excludes `by`.
MEASURED = {
    "by": ["plate"],
    "where": "role == 'control'",
    "from": "all",
    "foreground": True,
    "statistics": 32,
}
TO_RANGE = ("min_max", "max")
CALL = {"call": "mylab:smooth", "options": {"radius": 3}, "dtype": "uint16"}
STAIN = {"method": "reinhard", "mean": [8.0, 0.1, 0.2], "std": [0.6, 0.1, 0.03], "top": 255.0}
CROP = {
    "name": "crop_to_content",
    "size": [128, 96],
    "threshold": 80.0,
    "channel": "DAPI",
    "ignore_edge_px": 5,
    "margin_px": [[10, 9], 13],
    "noise": 28.0,
    "fill": 1.0,
    "keep_aspect": False,
    "pad_px": 16,
    "interpolation": "linear",
    "empty": "blank",
}
#: Tables in place of those, with what they do not have or say otherwise.
OTHERWISE = [
    {},
    {"images": {**IMAGES, "voxel_um": 0.5, "channels": {}}},
    {"images": {**IMAGES, "voxel_um": [0.5, 0.25]}},
    {"images": {"manifest": "m.csv", "table": {"size": 28}}, "split": {"from": "old/splits.csv"}},
    {"patches": {"size": 64, "z": "focus", "focus": "each", "level": 2, "t": 3}},
    {"patches": {"size": 64, "z": 0, "mpp": 1, "t": "mean"}},
    {"patches": {"size": [1, 64, 64], "z": "stack", "voxel_um": 0.5}},
    {"images": {"paths": "*"}, "metadata": None, "split": {"folds": 2, "blocks_px": 9}},
    {"patches": {"size": 64, "at": "random", "count": 9, "max_per_image": 5}},
    {"patches": {"size": 64, "at": "objects", "objects": "a", "min_area_px": 3, "max_area_px": 9}},
    {"patches": {"size": 64, "at": "points", "points": "p.csv", "points_unit": "um"}},
    {"patches": {"size": 64, "at": "points", "points": "p.csv", "points_missing": "skip"}},
    {"patches": {"size": 64, "keep_background": 0.1}},
    {"foreground": {"method": "fixed", "value": 300.0, "closing_um": 5.0, "min_area_um2": 50.0}},
    {"foreground": {"method": "percentile", "percentile": 90.0, "max_hole_um2": 50.0}},
    {"foreground": {"method": "local_std", "radius_um": 5.0}},
    {"foreground": {"method": "mask", "mask": "masks.a", "classes": ["live"]}},
    {"foreground": None, "filters": {"focus": {"max": 9.0}, "clipped": None}},
    {"steps": [{"name": name, **MEASURED, "to": [0, 1], "clip": False} for name in TO_RANGE]},
    {"steps": [{"name": "z_score", **MEASURED}]},
    {"steps": [{"name": "background", "method": "percentile", **MEASURED}]},
    {"steps": [{"name": "max", "scope": "patch"}, {"name": "z_score", "scope": "image"}]},
    {"steps": [{"name": name, "scope": "all"} for name in ("percentile", "min_max")]},
    {"steps": [{"name": "stain", **MEASURED, **STAIN}, {"name": "stain", "scope": "all"}]},
    {"steps": [CROP]},
    {"steps": [{"name": "call", **CALL, "halo_px": 3, "scope": "local"}]},
    {"steps": [{"name": "call", **CALL, "output_size": [9, 8], "scope": "patch"}]},
    {"labels": {"d": {"from": "geojson", "path": "{id}.geojson"}}},
    {"masks": {"d": {"from": "geojson", "column": "a", "classes": {"1": "Tumor"}}}},
]


@pytest.mark.parametrize("other", OTHERWISE, ids=str)
def test_canonical_comes_back(other):
    recipe = Recipe.from_dict({**EVERY, **other})
    text = json.dumps(recipe.canonical(), sort_keys=True, allow_nan=False)
    again = Recipe.from_dict(json.loads(text))
    assert again == recipe
    assert json.dumps(again.canonical(), sort_keys=True) == text


def keys_of(tables) -> Iterator[str]:
    """Yield the keys in tables of a recipe, those of steps and masks by their kind."""
    for name, table in tables.items():
        if name == "seed":
            yield name
        elif name == "steps":
            for step in table:
                own = set(step) - set(StepRecipe.model_fields)
                yield from (f"steps.{step['name']}.{key}" for key in own)
        elif name in ("masks", "labels", "classes"):
            for own in table.values():
                yield from (f"{name}.{own.get('from', 'files')}.{key}" for key in own)
        else:
            yield from (f"{name}.{key}" for key in table or ())
            nested = {"images": ("table",), "filters": (table or {}) if name == "filters" else ()}
            for key in nested.get(name, ()):
                yield from (f"{name}.{key}.{own}" for own in (table or {}).get(key) or ())


def every_key() -> set[str]:
    """Return the keys of a recipe, those of steps, masks, label maps and classes by their kind."""
    return {
        *(key for key in known_keys(Recipe) if "." in key or key == "seed"),
        *(f"steps.{key}" for key in step_keys()),
        *annotation_keys(),
        *class_keys(),
    }


def test_canonical_says_every_key():
    """With its default, too: a store says what it was made with, whatever later versions do."""
    bare = {"images": {"paths": "*.tif"}, "patches": {"size": 8}}
    content = Recipe.from_dict(bare).canonical()
    tables = ("images", "patches", "store")
    said = {f"{name}.{key}" for name in tables for key in content[name]}
    keys = {key for key in known_keys(Recipe) if key.count(".") == 1}
    assert said == {key for key in keys if key.startswith(tables)} - SECRET
    none = ("metadata", "split", "foreground", "filters")
    assert [content[name] for name in none] == [None] * 4
    assert [content[name] for name in ("masks", "labels", "classes", "steps")] == [{}, {}, {}, []]
    assert content["images"]["manifest"] is None
    assert content["patches"]["margin_px"] == 0
    written = {**bare, "patches": {"size": 8, "stride": 8, "z": "each", "margin_px": 0}}
    assert Recipe.from_dict(written).canonical() == content


def test_canonical_says_every_key_of_every_kind():
    content = Recipe.from_dict(EVERY).canonical()
    for number, step in enumerate(content["steps"]):
        assert set(step) >= set(EVERY["steps"][number]) | set(StepRecipe.model_fields)
    for table, kinds in (("masks", MASKS), ("labels", LABELS)):
        for own in content[table].values():
            fields = kinds[own["from"]].model_fields.items()
            assert set(own) == {field.alias or key for key, field in fields}


def test_every_key_comes_back_above():
    tried = {key for tables in (EVERY, *OTHERWISE) for key in keys_of(tables)}
    assert tried == every_key() - SECRET


@pytest.mark.parametrize("table", ["images", "store"])
def test_keys_to_a_server_are_nowhere(table):
    options = {"secret_access_key": "hush", "client_options.timeout": "30s"}
    recipe = make(**{table: {"storage": options}})
    assert dict(getattr(recipe, table).storage) == options
    assert "hush" not in json.dumps(recipe.canonical()) + repr(recipe)
    text = problems(**{table: {"storage": {"secret_access_key": "hush", "timeout": 30}}})
    assert "hush" not in text
    assert "the option timeout needs a text in quotes" in text


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_a_border_is_padded_whatever_the_edge(edge):
    assert make(patches={"edge": edge, "pad": 3, "margin_px": 1}).patches.pad == 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [(5, 5), ("64 MB", 64 * 10**6), ("64MiB", 64 * 2**20), ("1.5 GB", 1.5e9), ("10 kb", 10**4)],
)
def test_shard_bytes(given, expected):
    assert make(store={"shard_bytes": given}).store.shard_bytes == expected


def test_canonical_keeps_the_order_of_what_is_joined():
    data = {
        "images": {"manifest": "m.csv"},
        "patches": {"size": 8},
        "metadata": {"table": "p.csv", "on": {"Well": "well", "plate": "plate"}, "wells": "well"},
    }
    recipe = Recipe.from_dict(data)
    text = json.dumps(recipe.canonical(), sort_keys=True)
    assert Recipe.from_dict(json.loads(text)) == recipe
    assert list(recipe.metadata.on) == ["Well", "plate"]


def test_names_wait_for_the_manifest_and_the_plate_map():
    split = {"folds": 2, "stratify": "drug"}
    data = {"images": {"manifest": "m.csv", "group": "dose"}, "patches": {"size": 8}}
    assert Recipe.from_dict(data | {"split": split}).images.group == ("dose",)
    recipe = make({"group": "dose"}, metadata={"table": "p.csv", "on": "well"}, split=split)
    assert recipe.metadata.on == {"well": "well"}
    assert recipe.splits_file is None


def test_channel_keys_may_be_numbers_in_python():
    assert make({"channels": {1: "DAPI"}}).images.channels == {"1": "DAPI"}


def test_all_problems_come_in_one_error_and_name_their_keys():
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(
            {
                "sead": 1,
                "images": {"paths": "*.tif", "pattern": "(?P<well>", "on_eror": "skip"},
                "patches": {"size": "big"},
                "store": {"codec": "lz5"},
            }
        )
    text = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert text.startswith("the recipe has 5 problems:")
    assert "sead: unknown key; did you mean seed?" in text
    assert "images.on_eror: unknown key; did you mean images.on_error?" in text
    assert 'images.pattern: found "(?P<well>"; not a regular expression: ' in text
    assert 'patches.size: found "big"; write [y, x] in whole pixels' in text
    assert 'store.codec: found "lz5"; write "lz4", "zstd" or "none"' in text
    assert "pydantic" not in text


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"seed": -1}, "seed: found -1; write a whole number of at least 0"),
        ({"seed": "3"}, 'seed: found "3"; write a whole'),
        ({"seed": True}, "seed: found true; write a whole"),
        ({"images": {"paths": []}}, "images.paths: is empty"),
        ({"images": {"paths": [3]}}, "images.paths: found [3]; write a text or a list"),
        ({"images": {"pattern": r"A(\d)"}}, "names nothing; write what tells"),
        (
            {"images": {"on_error": "ignore"}},
            'images.on_error: found "ignore"; write "raise" or "skip"',
        ),
        (
            {"images": {"group": "wel"}},
            '"wel" is not a named group of images.pattern, which has: well, site',
        ),
        ({"images": {"group": "channel"}}, "tells planes of one image apart"),
        ({"images": {"group": ["well", "well"]}}, "write each name once"),
        ({"images": {"paths": None}}, "images.paths: found null; write a text or a list"),
        ({"images": {"manifest": "m.csv"}}, "lists the files, and so does images.paths; leave"),
        ({"images": {"manifest": "s3://b/m.csv"}}, "write the path of a CSV or parquet file"),
        ({"metadata": {}}, "metadata.table: is missing; write the path of a CSV or parquet file"),
        ({"metadata": {"table": "m.csv"}}, "metadata.on: is missing; write columns that both"),
        ({"metadata": {"table": "m.csv", "on": []}}, "on: found []; write names of columns"),
        ({"metadata": {"table": "m.csv", "on": ["a", "a"]}}, "write each name once"),
        (
            {"metadata": {"table": "m.csv", "on": {"a": "b", "c": "b"}}},
            "write each column of the images once",
        ),
        (
            {"metadata": {"table": "m.csv", "on": "plate", "wells": "well"}},
            'metadata.wells: "well" is not in metadata.on, which has: plate',
        ),
        (
            {"images": {"group": "well", "pattern": None}},
            "needs images.pattern with a named group (?P<well>",
        ),
        ({"images": {"group": "split", "pattern": "(?P<split>.)"}}, "the other column"),
        ({"images": {"channels": {"1": "A", "2": "A"}}}, 'channels 1 and 2 are both called "A"'),
        ({"images": {"channels": {"1": "a/b"}}}, 'has a "/" in it'),
        ({"images": {"channels": {"1": ".a"}}}, "starts with a dot"),
        ({"images": {"channels": {"1": ""}}}, "is empty"),
        (
            {"images": {"channels": {"1": "A", "on_error": "skip"}}},
            "move it above [images.channels]",
        ),
        ({"images": {"dtype": "uint17"}}, "write one of uint8, uint16"),
        ({"images": {"axes": "CY"}}, 'as in "CYX"'),
        ({"images": {"axes": "YXX"}}, 'as in "CYX"'),
        ({"images": {"axes": 3}}, 'as in "CYX"'),
        ({"images": {"reader": "mine"}}, 'reader: found "mine"; write "package.module:function"'),
        ({"images": {"reader": ["a:b"]}}, 'found ["a:b"]; write "package.module:function"'),
        ({"images": {"dataset": 0}}, "images.dataset: found 0; write what inside a file is meant"),
        (
            {"images": {"palette": "color"}},
            'images.palette: found "color"; write "index" or "colour"',
        ),
        ({"images": {"voxel_um": 0}}, "images.voxel_um: found 0; write micrometres, [z, y, x]"),
        ({"images": {"voxel_um": [0.5]}}, "images.voxel_um: found [0.5]; write micrometres"),
        ({"images": {"voxel_um": "0.5"}}, 'images.voxel_um: found "0.5"; write micrometres'),
        ({"images": {"voxel_um": [1, 1, -1]}}, "found [1, 1, -1]; write micrometres"),
        ({"images": {"table": [137, 236]}}, "images.table: found [137, 236]; write a table"),
        ({"images": {"table": {}}}, "images.table.size: is missing; write [y, x] of an image"),
        ({"images": {"table": {"size": 0}}}, "images.table.size: found 0; write [y, x] in whole"),
        ({"images": {"table": {"size": 9, "id": 3}}}, "images.table.id: found 3; write the column"),
        (
            {"images": {"table": {"size": 9, "pixel": "p"}}},
            "images.table.pixel: unknown key; did you mean images.table.pixels?",
        ),
        ({"images": {"storage": "eu"}}, "images.storage: write a table such as { region ="),
        ({"store": {"storage": ["eu"]}}, "store.storage: write a table such as { region ="),
        ({"images": {"max_pixels": 0}}, "images.max_pixels: found 0; write a whole number above 0"),
        ({"images": {"max_pixels": 1.5}}, "images.max_pixels: found 1.5; write a whole number"),
        ({"images": {"max_seconds": "1 h"}}, 'images.max_seconds: found "1 h"; write a whole'),
        ({"images": {"max_segment_bytes": "1 XB"}}, 'max_segment_bytes: found "1 XB"; write a num'),
        ({"images": {"pattern": "(?P<a>.)", "missing_channel": "skip"}}, "(?P<channel>...)"),
        ({"images": {"stride": 3}}, "images.stride: unknown key; did you mean patches.stride?"),
        ({"patches": {"size": 0}}, "patches.size: found 0; write [y, x]"),
        ({"patches": {"size": [256]}}, "patches.size: found [256]; write [y, x]"),
        ({"patches": {"size": [256.0, 2]}}, "patches.size: found [256.0, 2]; write [y, x]"),
        (
            {"patches": {"size": [9, 8], "stride": [8, 9]}},
            "leaves gaps of [0, 1] px between patches of [9, 8]",
        ),
        ({"patches": {"pad": 3}}, 'with edge = "drop", which pads nothing'),
        ({"patches": {"edge": "pad", "pad": "zero"}}, 'write "reflect" or a number'),
        ({"patches": {"edge": "pad", "pad": float("nan")}}, 'write "reflect" or a number'),
        ({"patches": {"margin_px": -1}}, "patches.margin_px: found -1; write a whole number of"),
        ({"patches": {"margin_px": 1.0}}, "patches.margin_px: found 1.0; write a whole number of"),
        ({"patches": {"margin_px": True}}, "patches.margin_px: found true; write a whole number"),
        ({"patches": {"margin_px": [8, 8]}}, "patches.margin_px: found [8, 8]; write a whole"),
        (
            {"patches": {"size": [64, 256], "margin_px": 257}},
            "found 257, and each side of [64, 256] px would get that much more; write at most 256",
        ),
        ({"patches": {"size": [1, 2, 3, 4]}}, "found [1, 2, 3, 4]; write [y, x] in whole pixels"),
        ({"patches": {"size": [0, 8, 8], "z": "stack"}}, 'with z = "stack", [z, y, x]'),
        ({"patches": {"size": [2, 8, 8]}}, 'z = "each"; write [y, x], or z = "stack" for an axis'),
        ({"patches": {"z": "stack"}}, 'found [256, 256] with z = "stack"; write [z, y, x]'),
        (
            {"patches": {"size": [2, 8, 8], "stride": 8, "z": "stack"}},
            "stride: [8, 8] has not as many numbers as size = [2, 8, 8]; write one for each",
        ),
        (
            {"patches": {"size": [2, 8, 8], "stride": [3, 8, 8], "z": "stack"}},
            "leaves gaps of [1, 0, 0] px between patches of [2, 8, 8]",
        ),
        ({"patches": {"z": "maximum"}}, 'patches.z: found "maximum"; write "each", "max", "mean",'),
        ({"patches": {"z": -1}}, "patches.z: found -1; write "),
        ({"patches": {"z": 1.5}}, 'patches.z: found 1.5; write "each"'),
        ({"patches": {"z": True}}, 'patches.z: found true; write "each"'),
        ({"patches": {"t": "stack"}}, 'patches.t: found "stack"; write "each", "max", "mean", or'),
        ({"patches": {"t": [0]}}, 'patches.t: found [0]; write "each", "max", "mean", or'),
        ({"patches": {"z": "max", "t": "mean"}}, 'found "mean" with z = "max"; project both alike'),
        ({"patches": {"focus": "DAPI"}}, 'patches.focus: is for z = "focus", and z is "each"'),
        ({"patches": {"z": "focus", "focus": 0}}, "focus: found 0; write the name of a channel"),
        ({"patches": {"level": -1}}, "patches.level: found -1; write a whole number of at least 0"),
        ({"patches": {"level": True}}, "patches.level: found true; write a whole number"),
        ({"patches": {"mpp": 0}}, "patches.mpp: found 0; write micrometres per pixel, a number"),
        ({"patches": {"mpp": [0.5, 0.5]}}, "patches.mpp: found [0.5, 0.5]; write micrometres per"),
        ({"patches": {"mpp": True}}, "patches.mpp: found true; write micrometres per pixel"),
        (
            {"patches": {"mpp": 0.5, "level": 1}},
            "patches.mpp: level and mpp each say the resolution; write one of them",
        ),
        (
            {"patches": {"mpp": 1, "voxel_um": 1, "z": "stack", "size": [2, 8, 8]}},
            "patches.voxel_um: mpp and voxel_um each say the resolution",
        ),
        ({"patches": {"voxel_um": 1.0}}, 'is for patches with an axis z (z = "stack"); write patc'),
        ({"patches": {"allow_mixed_mpp": 1}}, "allow_mixed_mpp: found 1; write true or false"),
        ({"split": {}}, "split.fractions: is missing"),
        ({"split": {"fractions": {"a": 0.5}}}, "sum to 0.5"),
        ({"split": {"fractions": {"a": 1, "b": 0}}}, "b needs a number above 0"),
        ({"split": {"fractions": 0.8}}, "split.fractions: found 0.8; write a table"),
        ({"split": {"folds": 1}}, "split.folds: found 1; write a whole number from 2"),
        ({"split": {"folds": 5, "fractions": {"a": 1}}}, "leave out fractions or folds"),
        ({"split": {"folds": 5, "from": "well"}}, "leave out fractions and folds"),
        ({"split": {"from": "plate"}}, 'split.from: "plate" is not a named group'),
        ({"split": {"from": "z"}}, 'split.from: "z" tells planes'),
        ({"split": {"stratify": "well"}}, "split.stratify: says no shares"),
        (
            {"split": {"folds": 2, "stratify": "dose"}},
            'split.stratify: "dose" is not a named group',
        ),
        ({"split": {"blocks_px": 512}}, "split.blocks_px: says no shares"),
        ({"split": {"folds": 2, "blocks_px": 9, "from": "a.csv"}}, "leave one out"),
        ({"images": {"group": "well"}, "split": {"folds": 2, "blocks_px": 9}}, "leave one out"),
        ({"store": {"level": 10}}, "store.level: found 10; write a whole number from 0 to 9"),
        ({"store": {"codec": "none", "level": 3}}, "has no levels"),
        ({"store": {"shard_bytes": "64 XB"}}, 'such as "64 MB"'),
        ({"store": {"shard_bytes": 0}}, 'such as "64 MB"'),
        (
            {"images": {"dtype": "int64"}, "store": {"dtype": "float64"}},
            "float64 cannot hold every value",
        ),
        ({"store": 3}, "store: found 3; write a table [store]"),
    ],
)
def test_each_problem_says_what_to_write(sections, expected):
    assert expected in problems(**sections)


def test_nothing_at_all():
    with pytest.raises(RecipeError, match=r"images: is missing.*\n.*patches: is missing"):
        Recipe.from_dict({})


def test_gaps_may_be_allowed():
    assert make(patches={"stride": 300, "allow_gaps": True}).patches.stride == (300, 300)


def test_from_is_a_column_or_a_file(tmp_path):
    data = {"images": {"paths": "*", "pattern": PATTERN}, "patches": {"size": 8}}
    column = Recipe.from_dict(data | {"split": {"from": "well"}}, tmp_path)
    assert column.splits_file is None
    file = Recipe.from_dict(data | {"split": {"from": "old/splits.csv"}}, tmp_path)
    assert file.splits_file == tmp_path / "old/splits.csv"


def test_model_validate_raises_the_same():
    with pytest.raises(RecipeError):
        Recipe.model_validate({"images": 3})
    recipe = make()
    assert Recipe.model_validate(recipe) is recipe


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        make().seed = 4


def test_load_names_file_and_line(tmp_path):
    path = tmp_path / "recipe.toml"
    with pytest.raises(RecipeError, match="no recipe at"):
        Recipe.load(path)
    path.write_text('seed = 0\n[images]\npaths = ["a"\nseed = 0\n')
    with pytest.raises(RecipeError, match=rf"{re.escape(str(path))} is not valid TOML: .*line 4"):
        Recipe.load(path)
    path.write_text('[images]\npattern = "(?P<a>\\d)"\n')
    with pytest.raises(RecipeError, match=r"line 2.*single quotes"):
        Recipe.load(path)
    path.write_bytes(b"seed = 0 # \xe9")
    with pytest.raises(RecipeError, match="is not UTF-8"):
        Recipe.load(path)
    path.write_text("[images]\npaths = 'a'\n")
    with pytest.raises(RecipeError, match=rf"{re.escape(str(path))}: patches: is missing"):
        Recipe.load(path)


def test_widening():
    assert is_widening("uint8", "uint16")
    assert is_widening("uint16", "int32")
    assert is_widening("uint32", "float64")
    assert not is_widening("uint32", "float32")
    assert not is_widening("uint64", "float64")
    assert not is_widening("float32", "uint16")

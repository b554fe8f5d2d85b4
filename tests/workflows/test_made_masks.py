"""Masks and label maps made from images and from polygons, from the recipe to the store."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage import measure

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError

NAMES = ("A", "B")


@pytest.fixture
def field(tmp_path):
    """Two images of two channels: blobs of all sizes, and one object all the way through."""
    images = {}
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng(number)
        noise = ndimage.gaussian_filter(rng.normal(size=(2, 210, 170)), (0, 4, 4))
        counts = np.where(noise > 0.07, 900, 100) + rng.integers(0, 50, noise.shape)
        counts[0, 100:104, :] = 950
        counts[0, 100:190, 164:167] = 950
        images[name] = counts.astype(np.uint16)
        tifffile.imwrite(
            tmp_path / f"{name}.tif", images[name], rowsperstrip=10, photometric="minisblack"
        )
    return images


def tables(shard="40 kB", **others):
    recipe = {
        "images": {"paths": "*.tif", "axes": "CYX", "channels": {"0": "live", "1": "dead"}},
        "patches": {"size": 32, "edge": "pad"},
        "store": {"shard_bytes": shard},
    }
    for name, keys in others.items():
        recipe[name] = {**recipe.get(name, {}), **keys} if isinstance(keys, dict) else keys
    return recipe


def join(store, name, images, edge):
    """Put the windows of a field together again, of each image; what is padded is `edge`."""
    joined = {own: np.full(pixels.shape[1:], -1, np.int64) for own, pixels in images.items()}
    ids = store.images["id"].tolist()
    found = store.read(range(len(store)))[name]
    for row, window in enumerate(found):
        y, x = (int(store.index[axis][row]) for axis in "yx")
        whole = joined[ids[store.index["image"][row]].removesuffix(".tif")]
        part = whole[y : y + 32, x : x + 32]
        part[...] = window[: part.shape[0], : part.shape[1]]
        assert (window[part.shape[0] :] == edge).all()
        assert (window[:, part.shape[1] :] == edge).all()
    return joined


MADE = {
    "masks": {
        "viability": {
            "from": "thresholds",
            "classes": {"0": "background", "1": "live", "2": "dead"},
            "rules": [
                {"class": "dead", "channel": "dead", "above": 500},
                {"class": "live", "channel": "live", "above": 500},
            ],
        }
    },
    "labels": {
        "cells": {
            "from": "thresholds",
            "scope": "image",
            "rules": [{"channel": "live", "above": 500}],
            "min_area_px": 30,
            "fill_holes": True,
        }
    },
}


def test_objects_larger_than_a_shard_one_to_one(cut, field):
    stores, rows_per_shard = [], []
    for n, shard in enumerate(("40 kB", "9 kB")):
        outcome = cut(tables(shard, **MADE), store=f"{n}.zarr")
        rows_per_shard.append(outcome.plan.patch.rows_per_shard)
        stores.append(open_store(outcome.store))
    labels = [join(store, "labels/cells", field, 0) for store in stores]
    masks = join(stores[0], "masks/viability", field, 255)
    for name, pixels in field.items():
        live, dead = pixels > 500
        np.testing.assert_array_equal(masks[name], np.where(dead, 2, live))
        expected = measure.label(ndimage.binary_fill_holes(live), connectivity=2)
        for region in measure.regionprops(expected):
            if region.area < 30:
                expected[expected == region.label] = 0
        pairs = np.unique(np.stack([labels[0][name].ravel(), expected.ravel()]), axis=1)
        assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1] > 10
        np.testing.assert_array_equal(labels[1][name], labels[0][name])
    # The object that goes all the way through A is in several shards, of either size.
    for store, rows in zip(stores, rows_per_shard, strict=True):
        number = labels[0]["A"][102, 5]
        assert number == labels[0]["A"][185, 165] > 0
        is_a = store.index["image"] == store.images["id"].tolist().index("A.tif")
        windows = store.read(range(len(store)))["labels/cells"]
        has = (windows == number).any(axis=(1, 2)) & is_a
        assert len(set((np.flatnonzero(has) // rows).tolist())) > 2
    assert stores[0].fields["labels/cells"].dtype == np.uint32


def test_thresholds_are_of_what_is_stored(cut, field):
    """After steps with a halo, rescaling off: the whole image is what its patches are."""
    made = {
        **MADE["masks"]["viability"],
        "scope": "image",
        "rules": [
            {"class": "live", "channel": "live", "above": 300.5},
        ],
    }
    steps = [{"name": "gaussian", "sigma_px": 2.0}]
    store = open_store(
        cut(tables(steps=steps, masks={"viability": made}, patches={"margin_px": 4})).store
    )
    found = store.read(range(len(store)))
    ids = store.images["id"].tolist()
    for row in range(len(store)):
        image, mask = found["image"][row], found["masks/viability"][row]
        y, x = (int(store.index[axis][row]) - 4 for axis in "yx")
        shape = field[ids[store.index["image"][row]].removesuffix(".tif")].shape[1:]
        rows = (np.arange(40) + y >= 0) & (np.arange(40) + y < shape[0])
        columns = (np.arange(40) + x >= 0) & (np.arange(40) + x < shape[1])
        inside = rows[:, None] & columns
        np.testing.assert_array_equal(mask, np.where(inside, image[0] > 300, 255))
    assert 0.05 < (found["masks/viability"] == 1).mean() < 0.95


def test_an_image_too_large_to_be_held_whole(cut, field):
    cells = {**MADE["labels"]["cells"], "max_image_pixels": 210 * 170 - 1}
    with pytest.raises(PatchmillError, match=r"210 x 170 pixels as it is cut, and labels\.cells"):
        cut(tables(labels={"cells": cells}))


def polygon(rings, name):
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def box(y, x, height, width):
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


TISSUE = {
    "masks": {
        "tissue": {
            "from": "geojson",
            "path": "notes/{stem}.geojson",
            "classes": {"1": "Tumor", "2": "Stroma"},
            "order": ["Stroma", "Tumor"],
        }
    },
    "labels": {"regions": {"from": "geojson", "path": "notes/{stem}.geojson"}},
}


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    features = [
        polygon([box(10, 20, 120, 90), box(30, 40, 20, 30)], "Tumor"),
        polygon([box(100, 60, 90, 100)], "Stroma"),
    ]
    for name in NAMES:
        content = {"type": "FeatureCollection", "features": features}
        (tmp_path / "notes" / f"{name}.geojson").write_text(json.dumps(content))
    return tmp_path / "notes"


def test_polygons(cut, field, notes):
    store = open_store(cut(tables(**TISSUE)).store)
    masks = join(store, "masks/tissue", field, 255)
    labels = join(store, "labels/regions", field, 0)
    tumor = np.zeros((210, 170), bool)
    tumor[10:130, 20:110] = True
    tumor[30:50, 40:70] = False
    mask, label = np.full((210, 170), 255), np.zeros((210, 170), int)
    label[100:190, 60:160] = 2
    mask[tumor], label[tumor] = 1, 1
    mask[100:190, 60:160] = 2
    for name in NAMES:
        np.testing.assert_array_equal(masks[name], mask)
        np.testing.assert_array_equal(labels[name], label)


def test_polygons_of_an_image_that_is_not_there(cut, field, notes):
    (notes / "B.geojson").unlink()
    with pytest.raises(PatchmillError, match=r"has no file notes/B\.geojson \(masks\.tissue\)"):
        cut(tables(**TISSUE))
    outcome = cut(tables(**TISSUE, images={"on_error": "skip"}))
    assert [image.id for image in outcome.plan.images] == ["A.tif"]
    tissue = {**TISSUE["masks"]["tissue"], "missing_mask": "ignore"}
    store = open_store(cut(tables(masks={"tissue": tissue}), store="ignored.zarr").store)
    assert (join(store, "masks/tissue", field, 255)["B"] == 255).all()


def test_a_file_that_changes_makes_another_plan(cut, field, notes, tmp_path):
    first = cut(tables(**TISSUE)).plan.digest
    path = notes / "A.geojson"
    path.write_text(path.read_text() + "\n")
    second = cut(tables(**TISSUE), store="again.zarr").plan.digest
    assert first != second

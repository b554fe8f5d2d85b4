"""Masks and label maps in a store: the same windows as the image, through the reader."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError, StoreError

CLASSES = {0: "background", 1: "live", 2: "dead"}


@pytest.fixture
def tables(tmp_path, noise):
    """Two images with masks and labels, one of which is not annotated everywhere."""
    (tmp_path / "m").mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(("a", "b")):
        tifffile.imwrite(tmp_path / f"{name}.tif", noise(40, 52, seed=number))
        mask = rng.choice(np.array([0, 1, 2, 9], np.uint8), (40, 52), p=[0.6, 0.2, 0.1, 0.1])
        tifffile.imwrite(tmp_path / "m" / f"{name}_mask.tif", mask)
        labels = rng.integers(0, 70_000, (40, 52)).astype(np.float64)
        tifffile.imwrite(tmp_path / "m" / f"{name}_labels.tif", labels)
    return {
        "images": {"paths": "*.tif"},
        "patches": {"size": 16, "edge": "pad", "margin_px": 3},
        "masks": {"cells": {"path": "m/{stem}_mask.tif", "classes": CLASSES}},
        "labels": {"nuclei": {"path": "m/{stem}_labels.tif"}},
        "split": {"fractions": {"train": 0.5, "val": 0.5}},
        "store": {"shard_bytes": "5 kB"},
    }


def padded(path, blank):
    return np.pad(tifffile.imread(path), 64, constant_values=blank)


def test_each_field_is_the_window_of_its_file(tmp_path, cut, tables):
    outcome = cut(tables)
    store = open_store(outcome.store)
    assert {"image", "masks/cells", "labels/nuclei"} <= set(store.fields)
    assert store.fields["masks/cells"].dtype == np.uint8
    assert store.fields["labels/nuclei"].dtype == np.uint32
    assert dict(store.fields["masks/cells"].classes) == CLASSES
    assert store.fields["masks/cells"].ignore == 255
    assert (store.fields["image"].classes, store.fields["labels/nuclei"].ignore) == ((), None)
    masks = {n: padded(tmp_path / "m" / f"{n}_mask.tif", 9) for n in "ab"}
    labels = {n: padded(tmp_path / "m" / f"{n}_labels.tif", 0) for n in "ab"}
    rows = store.read(range(len(store)))
    names = store.images["id"].tolist()
    for row in range(len(store)):
        name = names[store.index["image"][row]][0]
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        window = np.s_[y + 61 : y + 83, x + 61 : x + 83]
        mask = masks[name][window]
        np.testing.assert_array_equal(rows["masks/cells"][row], np.where(mask == 9, 255, mask))
        np.testing.assert_array_equal(rows["labels/nuclei"][row], labels[name][window])


def test_shards_of_any_size_hold_the_same(tmp_path, cut, tables):
    one = open_store(cut(tables, "one.zarr").store)
    tables["store"] = {"shard_bytes": "1 MB"}
    other = open_store(cut(tables, "other.zarr").store)
    first, second = one.read(range(len(one))), other.read(range(len(other)))
    for name in ("image", "masks/cells", "labels/nuclei"):
        np.testing.assert_array_equal(first[name], second[name])


def test_a_changed_mask_is_another_store(tmp_path, cut, tables):
    cut(tables)
    path = tmp_path / "m/a_mask.tif"
    mask = tifffile.imread(path)
    tifffile.imwrite(path, mask[::-1])
    with pytest.raises(StoreError, match=r"a\.tif: has changed"):
        cut(tables)


def test_labels_that_do_not_fit_make_the_image_fail(tmp_path, cut, tables):
    tables["labels"]["nuclei"]["dtype"] = "uint16"
    with pytest.raises(PatchmillError, match=r"m/[ab]_labels\.tif: holds what is no label.*uint16"):
        cut(tables)
    labels = tifffile.imread(tmp_path / "m/b_labels.tif")
    tifffile.imwrite(tmp_path / "m/b_labels.tif", labels % 60_000)
    tables["images"]["on_error"] = "skip"
    outcome = cut(tables, "t.zarr")
    ((name, reason),) = outcome.failed
    assert name == "a.tif"
    assert reason.startswith("m/a_labels.tif: holds what is no label")
    assert len(open_store(outcome.store)) == 12


def test_classes_of_patches(tmp_path, cut, tables):
    tables["classes"] = {
        "kind": {"from": "mask", "mask": "cells", "rule": "presence", "min_fraction": 0.1},
        "middle": {"from": "mask", "mask": "cells", "rule": "centre"},
        "well": {"from": "column", "column": "well"},
    }
    tables["images"] = {"paths": "*.tif", "pattern": r"(?P<well>\w)\.tif"}
    store = open_store(cut(tables).store)
    masks = store.read(range(len(store)))["masks/cells"]
    enough = []
    for row, mask in enumerate(masks):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        own = mask[3:-3, 3:-3][: 40 - y, : 52 - x]
        share = (own == 1).mean()
        assert store.index["fraction_cells_live"][row] == np.float32(share)
        enough.append(share >= 0.1)
    live = store.select(where='kind == "live"')
    assert len(live) == sum(enough)
    assert len(store.select(where='well == "a"')) == 12
    loader = store.loader(batch_size=8, balance="middle", seed=0, samples_per_epoch=64)
    assert sum(len(batch["index"]) for batch in loader) == 64

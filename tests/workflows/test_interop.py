"""A store opens in every zarr v3 library that is here, and says the same in each."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tensorstore
import xarray
import zarr

from patchmill.reader import open_store


@pytest.fixture(params=["lz4", "zstd", "none"])
def store(request, cut, plate, plate_tables):
    plate("ABCDE")
    fractions = {"train": 0.6, "val": 0.4}
    return cut(
        plate_tables(
            store={"codec": request.param, "shard_bytes": "7 kB"}, split={"fractions": fractions}
        )
    ).store


def test_zarr_python_reads_the_same_patches(store):
    image = zarr.open_group(store, mode="r")["image"]
    ours = open_store(store)
    np.testing.assert_array_equal(image[:], ours.read(range(len(ours)))["image"])
    assert image.metadata.dimension_names == ("patch", "c", "y", "x")
    assert image.chunks == (1, 2, 16, 16)
    assert len(ours) % image.shards[0] != 0  # the last shard is not full, and reads all the same


def test_tensorstore_reads_the_same_patches_and_columns(store):
    def opened(name):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / name)}}
        return tensorstore.open(spec, read=True).result()

    ours = open_store(store)
    found = opened("image").read().result()
    np.testing.assert_array_equal(found, ours.read(range(len(ours)))["image"])
    assert opened("image").domain.labels == ("patch", "c", "y", "x")
    for name in ours.index:
        np.testing.assert_array_equal(opened(f"index/{name}").read().result(), ours.index[name])
    candidates = zarr.open_group(store / "candidates", mode="r")
    for name, column in candidates.arrays():
        found = opened(f"candidates/{name}").read().result()
        np.testing.assert_array_equal(found, column[:])
    for path in sorted((store / "images").glob("*/zarr.json")):
        if json.loads(path.read_text())["data_type"] != "string":
            found = opened(f"images/{path.parent.name}").read().result()
            np.testing.assert_array_equal(found, ours.images[path.parent.name])


@pytest.mark.parametrize("consolidated", [True, False])
def test_xarray_opens_every_group_without_a_warning(store, consolidated):
    ours = open_store(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not consolidated:
            # zarr-python warns of the text codec wherever it reads the metadata of one.
            warnings.filterwarnings("ignore", message=".*vlen-utf8")
        for group in ("", "index", "images", "candidates"):
            path = str(store / group)
            with xarray.open_zarr(path, consolidated=consolidated, chunks=None) as data:
                if group == "":
                    assert data["image"].dims == ("patch", "c", "y", "x")
                    np.testing.assert_array_equal(data["image"][3], ours[3]["image"])
                elif group == "index":
                    assert set(data) == set(ours.index)
                    assert {data[name].dims for name in data} == {("patch",)}
                    np.testing.assert_array_equal(data["y"], ours.index["y"])
                elif group == "images":
                    assert set(data) == set(ours.images)
                    assert {data[name].dims[0] for name in data} == {"image"}
                    assert data["well"].values.tolist() == ours.images["well"].tolist()
                else:
                    assert {data[name].dims for name in data} == {("candidate",)}
                    assert data["kept"].dtype == bool


def test_what_the_columns_are(store):
    ours = open_store(store)
    kinds = {name: str(ours.index[name].dtype) for name in ours.index}
    measured = {f"{s}_{c}" for c in ("1", "2") for s in ("count", "mean", "std", "min", "max")}
    assert set(kinds) == {"image", "t", "z", "y", "x", "level", "split", "valid"} | measured
    assert [kinds[n] for n in ("image", "t", "z", "y", "x")] == ["int32"] * 3 + ["int64"] * 2
    assert [kinds[n] for n in ("level", "split", "valid")] == ["uint8", "uint8", "bool"]
    assert [kinds[n] for n in ("mean_1", "std_1", "min_1", "max_1")] == ["float64"] * 2 + [
        "uint16"
    ] * 2


def test_the_metadata_are_strict_json_and_digests_are_right(store):
    import hashlib

    root = json.loads((store / "zarr.json").read_text(), parse_constant=pytest.fail)
    own = root["attributes"]["patchmill"]
    others = sorted(
        path.relative_to(store).as_posix()
        for path in store.rglob("zarr.json")
        if path.parent != store
    )
    assert sorted(own["sha256"]) == sorted([*others, "zarr.json"])
    for name in others:
        assert own["sha256"][name] == hashlib.sha256((store / name).read_bytes()).hexdigest()
    digest = own["sha256"].pop("zarr.json")
    canonical = json.dumps(root, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(canonical.encode()).hexdigest()
    assert (own["format"], own["complete"], own["void"]) == (1, True, 0)
    assert (own["axes"], own["channels"], own["fields"]) == (["c", "y", "x"], ["1", "2"], ["image"])


@pytest.fixture
def masked(tmp_path, annotated, cut):
    """A store with masks and label maps, read with the reader."""
    store = open_store(cut(annotated(tmp_path, wells="ABCD")).store)
    return store, store.read(range(len(store)))


FIELDS = ["masks/cells", "masks/bright", "labels/nuclei"]


@pytest.mark.parametrize("field", FIELDS)
def test_masks_and_label_maps_are_read_by_all(masked, field):
    ours, rows = masked
    array = zarr.open_group(ours.path, mode="r")[field]
    np.testing.assert_array_equal(array[:], rows[field])
    assert array.metadata.dimension_names == ("patch", "y", "x")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(ours.path / field)}}
    opened = tensorstore.open(spec, read=True).result()
    assert opened.domain.labels == ("patch", "y", "x")
    np.testing.assert_array_equal(opened.read().result(), rows[field])
    group, name = field.split("/")
    with (
        warnings.catch_warnings(),
        xarray.open_zarr(str(ours.path / group), chunks=None) as data,
    ):
        warnings.simplefilter("error")
        assert data[name].dims == ("patch", "y", "x")
        np.testing.assert_array_equal(data[name], rows[field])
    attributes = {
        "masks/cells": {"classes": {"background": 0, "live": 1, "dead": 2}, "ignore": 255},
        "masks/bright": {"classes": {"background": 0, "cell": 1}, "ignore": 255},
        "labels/nuclei": {},
    }[field]
    assert array.attrs.asdict() == attributes


def test_statistics_are_read_by_all(masked):
    ours, _ = masked
    values, counts = ours.histogram("train")
    for name, expected in (("value", values), ("count", counts)):
        path = str(ours.path / "statistics" / name)
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
        found = tensorstore.open(spec, read=True).result().read().result()
        np.testing.assert_array_equal(found[0] if name == "count" else found, expected)
    with xarray.open_zarr(str(ours.path / "statistics"), chunks=None) as data:
        assert data["count"].dims == ("split", "channel", "bin")
        assert data["value"].dims == ("bin",)
        np.testing.assert_array_equal(data["count"][0], counts)

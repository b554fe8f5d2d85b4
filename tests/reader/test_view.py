"""Views: positions, splits, void rows, statistics, columns."""

import numpy as np
import pytest

from patchmill.reader import DamagedStoreError, IncompleteStoreError, open_store


def test_a_store_is_the_view_of_all_its_rows(plain):
    store = open_store(plain.path)
    assert len(store) == 37
    assert store.channels == ("c0", "c1")
    assert store.axes == ("c", "y", "x")
    assert store.splits == {"train": (0, 21), "val": (21, 27), "test": (27, 37)}
    assert store.attributes["plan"] == "0" * 64
    assert store.rows == range(37)
    assert [sample["index"] for sample in store] == list(range(37))
    np.testing.assert_array_equal(store[-1]["image"], plain.pixels[36])
    assert "37 patches" in repr(store)


def test_select_gives_the_rows_of_splits(plain):
    store = open_store(plain.path)
    val = store.select(split="val")
    assert val.rows == range(21, 27)
    np.testing.assert_array_equal(val[2]["image"], plain.pixels[23])
    assert val[2]["index"] == 23
    assert store.select(split=["val", "train"]).rows == range(27)  # neighbours stay a range
    apart = store.select(split=["test", "train"])
    np.testing.assert_array_equal(apart.rows, [*range(21), *range(27, 37)])
    np.testing.assert_array_equal(apart[21]["image"], plain.pixels[27])
    assert len(apart.select(split="test")) == 10
    assert apart.select(split="test").rows.tolist() == list(range(27, 37))
    assert store.select(split=["train", "val"]).select(split="val").rows == range(21, 27)


def test_an_unknown_split_names_those_that_are_there(plain):
    store = open_store(plain.path)
    with pytest.raises(ValueError, match="'dev' is not among 'train', 'val', 'test'"):
        store.select(split="dev")
    with pytest.raises(ValueError, match="'val' is not among 'train'"):
        store.select(split="train").select(split="val")
    with pytest.raises(ValueError, match="none is not among"):
        store.select(split=[])


def test_read_takes_positions_in_any_order(plain):
    view = open_store(plain.path).select(split="test")
    block = view.read([3, -1, 3, 0])
    np.testing.assert_array_equal(block["index"], [30, 36, 30, 27])
    assert block["index"].dtype == np.int64
    np.testing.assert_array_equal(block["image"], plain.pixels[[30, 36, 30, 27]])
    assert view.read([])["image"].shape == (0, 2, 12, 10)


@pytest.mark.parametrize("position", [10, -11, 10**12])
def test_positions_outside(plain, position):
    view = open_store(plain.path).select(split="test")
    with pytest.raises(IndexError, match=f"row {position} is not in this view, which has 10"):
        view[position]
    with pytest.raises(IndexError):
        view.read([0, position])


@pytest.mark.parametrize("rows", [[0.5], [[1, 2]], [True, False], ["a"]])
def test_read_refuses_what_are_no_positions(plain, rows):
    with pytest.raises(ValueError, match="give a list of integers"):
        open_store(plain.path).read(rows)


def test_read_into_refuses_arrays_that_do_not_fit(plain):
    view = open_store(plain.path).select(split="train")
    rows = np.arange(3)
    good = np.zeros((3, 2, 12, 10), np.uint16)
    assert view.read_into(rows, {"image": good}).tolist() == [0, 1, 2]
    for bad in (good[:2], good.astype(np.int16), np.zeros((3, 2, 12, 20), np.uint16)[..., ::2]):
        with pytest.raises(ValueError, match="in C order"):
            view.read_into(rows, {"image": bad})


def test_void_rows_are_left_out(make_store):
    written = make_store(void=[0, 5, 6, 21, 36], splits={"train": 21, "val": 16})
    store = open_store(written.path)
    valid = np.setdiff1d(np.arange(37), [0, 5, 6, 21, 36])
    np.testing.assert_array_equal(store.rows, valid)
    np.testing.assert_array_equal(store.read(range(32))["image"], written.pixels[valid])
    assert len(store.select(split="train")) == 18
    np.testing.assert_array_equal(store.select(split="val").rows, valid[18:])
    seen = np.concatenate([b["index"][b["valid"]] for b in store.loader(5, shuffle=True)])
    np.testing.assert_array_equal(np.sort(seen), valid)


def test_void_rows_that_do_not_add_up_are_damage(make_store):
    written = make_store(void=[3])
    written.edit(lambda own: own.update(void=2))
    with pytest.raises(DamagedStoreError, match="says that 2 rows are void"):
        open_store(written.path)


def test_statistics_of_views(plain):
    store = open_store(plain.path)
    apart = [*range(21), *range(27, 37)]
    for splits, rows in ((["val"], range(21, 27)), (["train", "test"], apart)):
        pixels = plain.pixels[rows].astype(float)
        found = store.select(split=splits).statistics
        np.testing.assert_array_equal(found["count"], len(rows) * 120)
        np.testing.assert_allclose(found["mean"], pixels.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(found["std"], pixels.std(axis=(0, 2, 3)))
        np.testing.assert_array_equal(found["min"], pixels.min(axis=(0, 2, 3)))
        np.testing.assert_array_equal(found["max"], pixels.max(axis=(0, 2, 3)))
    assert list(store.statistics) == ["train", "val", "test"]


def test_statistics_where_nothing_was_seen(make_store):
    written = make_store(splits={"train": 37, "val": 0})
    store = open_store(written.path)
    assert store.statistics["val"]["count"].tolist() == [0, 0]
    assert np.isnan(store.select(split="val").statistics["mean"]).all()
    both = store.select(split=["train", "val"]).statistics
    for measure, values in store.statistics["train"].items():
        np.testing.assert_allclose(both[measure], values)


def test_statistics_of_an_unfinished_store(make_store):
    written = make_store()
    written.edit(lambda own: (own.update(complete=False), own.pop("statistics")))
    store = open_store(written.path, allow_incomplete=True)
    assert store.statistics == {}
    with pytest.raises(IncompleteStoreError, match="no statistics of train"):
        _ = store.select(split="train").statistics


def test_columns(plain):
    store = open_store(plain.path)
    assert list(store.index) == ["split", "valid", "x"]
    np.testing.assert_array_equal(store.index["x"], np.arange(37) * 3)
    assert store.index["x"] is store.index["x"]
    assert not store.index["x"].flags.writeable
    assert store.index.meanings("split") == ("train", "val", "test")
    assert list(store.images["path"]) == ["a.tif", "b.tif"]
    with pytest.raises(KeyError, match="no column 'y'"):
        store.index["y"]


def test_a_damaged_column_is_named(make_store):
    written = make_store()
    written.edit(lambda meta: meta.update(shape=[36]), "index/x/zarr.json")
    with pytest.raises(DamagedStoreError, match=r"index/x has shape \(36,\)"):
        open_store(written.path).index["x"]

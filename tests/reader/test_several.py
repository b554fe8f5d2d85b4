"""Several stores read as one: rows, splits, columns, statistics, and what they must share."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader import SeveralStores, StoreError, open_store, several
from patchmill.reader.order import block_order
from patchmill.reader.sampling import balanced_weights, drawn_order

SPLITS = [{"train": 21, "val": 6, "test": 10}, {"val": 4, "train": 8}, {"train": 5, "extra": 2}]
ROWS = [37, 12, 7]
FIRSTS = [0, 37, 49, 56]
VOID = [[0, 22], [], [3]]
NAMES = np.concatenate([np.repeat(list(splits), list(splits.values())) for splits in SPLITS])
STORE = np.repeat([0, 1, 2], ROWS)
VALID = np.ones(56, bool)
VALID[[0, 22, 52]] = False


@pytest.fixture(scope="module")
def written(new_store, add_columns):
    found = []
    for number, (splits, void) in enumerate(zip(SPLITS, VOID, strict=True)):
        rows = sum(splits.values())
        recipe = {"images": {"group": ["well"]}}
        # Shards of another size, another codec: only what is read must be alike.
        options = {
            "rows_per_shard": 8 - 3 * number,
            "codec": ["lz4", "zstd", "none"][number],
            "seed": number,
        }
        each = new_store(rows=rows, splits=splits, void=void, recipe=recipe, **options)
        image = np.arange(rows) % (number + 2)
        add_columns(each.path, "index", image=image.astype(np.int32))
        wells = [f"{'ABC'[number]}{n:02}" for n in range(number + 1)] + ["Z99"]
        add_columns(each.path, "images", path=[f"{number}/{well}" for well in wells], well=wells)
        found.append(each)
    add_columns(found[0].path, "index", only=np.zeros(37))
    return found


@pytest.fixture(scope="module")
def pixels(written):
    return np.concatenate([each.pixels for each in written])


@pytest.fixture(scope="module")
def store(written):
    return open_store([each.path for each in written])


def test_rows_follow_each_other(store, written, pixels):
    assert isinstance(store, SeveralStores)
    assert len(store) == 53
    np.testing.assert_array_equal(store.rows, np.flatnonzero(VALID))
    assert store.paths == tuple(each.path for each in written)
    assert (store.channels, store.axes) == (("c0", "c1"), ("c", "y", "x"))
    field = store.fields["image"]
    assert (field.rows, field.shape, field.dtype) == (56, (2, 12, 10), np.uint16)
    assert [sample["index"] for sample in store] == np.flatnonzero(VALID).tolist()
    np.testing.assert_array_equal(store[-1]["image"], pixels[55])
    np.testing.assert_array_equal(store.read(range(53))["image"], pixels[VALID])
    assert store.is_complete
    assert store.attributes["format"] == 1
    assert "splits" not in store.attributes
    assert "53 patches; train 34, val 10, test 10, extra 2" in repr(store)
    assert all(str(path) in repr(store.select(split="val")) for path in store.paths)


@given(st.lists(st.integers(-53, 52), max_size=30), st.booleans())
def test_any_rows_in_any_order(store, pixels, positions, is_large):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "_LARGE_NBYTES", 0 if is_large else 1 << 20)
        block = store.read(positions)
    rows = np.flatnonzero(VALID)[np.array(positions, int)]
    np.testing.assert_array_equal(block["index"], rows)
    np.testing.assert_array_equal(block["image"], pixels[rows])


@pytest.mark.parametrize("large_nbytes", [0, 1 << 20])
def test_windows_of_patches(store, pixels, monkeypatch, large_nbytes):
    monkeypatch.setattr(several, "_LARGE_NBYTES", large_nbytes)
    positions = np.array([40, 3, 52, 36])
    corners = np.array([[0, 0], [4, 2], [1, 5], [4, 5]])
    out = np.zeros((4, 2, 8, 5), np.uint16)
    rows = store.view.read_into(positions, {"image": out}, corners)
    for row, (y, x), found in zip(rows.tolist(), corners.tolist(), out, strict=True):
        np.testing.assert_array_equal(found, pixels[row, :, y : y + 8, x : x + 5])


def test_arrays_that_do_not_fit_are_refused(store):
    with pytest.raises(ValueError, match="in C order"):
        store.read_rows_into(np.array([1, 40]), {"image": np.zeros((3, 2, 12, 10), np.uint16)})
    with pytest.raises(IndexError):
        store.read([53])


def test_splits_of_one_name_are_joined(store, pixels):
    assert store.splits == {
        "train": ((0, 21), (41, 49), (49, 54)),
        "val": ((21, 27), (37, 41)),
        "test": ((27, 37),),
        "extra": ((54, 56),),
    }
    for splits in (["train"], ["val", "test"], ["extra", "train"], list(store.splits)):
        view = store.select(split=splits)
        rows = np.flatnonzero(np.isin(NAMES, splits) & VALID)
        np.testing.assert_array_equal(view.rows, rows)
        np.testing.assert_array_equal(view.read(range(len(view)))["image"], pixels[rows])
        assert view.column("split").tolist() == NAMES[rows].tolist()
        assert set(view.splits) == set(splits)
    with pytest.raises(ValueError, match="'dev' is not among 'train', 'val', 'test', 'extra'"):
        store.select(split="dev")


def test_columns_are_joined(store, written):
    assert set(store.index) == {"store", "image", "split", "valid", "x"}  # not "only"
    np.testing.assert_array_equal(store.index["store"], STORE)
    np.testing.assert_array_equal(store.index["valid"], VALID)
    assert store.index["image"].tolist() == (
        [row % 2 for row in range(37)]
        + [2 + row % 3 for row in range(12)]
        + [5 + row % 4 for row in range(7)]
    )
    assert store.index.meanings("split") == ("train", "val", "test", "extra")
    assert not store.index["split"].flags.writeable
    assert not store.index["store"].flags.writeable
    assert store.images["well"].tolist() == (
        ["A00", "Z99", "B00", "B01", "Z99", "C00", "C01", "C02", "Z99"]
    )
    assert store.column("path").tolist()[0] == "0/Z99"
    view = store.select(split="val")
    wells = view.column("well").tolist()
    single = [open_store(each.path).column("well").tolist() for each in written]
    rows = [FIRSTS[n] + r for n in range(3) for r in open_store(written[n].path).rows]
    of_row = dict(zip(rows, sum(single, []), strict=True))  # noqa: RUF017
    assert wells == [of_row[row] for row in view.rows]
    with pytest.raises(KeyError, match="not all of the stores have a column 'only'"):
        store.index["only"]
    with pytest.raises(StoreError, match="'x' is not an enumeration"):
        store.index.meanings("x")


def test_select_by_store_group_and_condition(store):
    second = store.select(where="store == 1")
    assert list(second.rows) == [*range(37, 49)]
    shared = store.select(group="Z99", where="store != 0")
    well = np.concatenate([np.arange(n) % k == k - 1 for n, k in zip(ROWS, (2, 3, 4), strict=True)])
    np.testing.assert_array_equal(shared.rows, np.flatnonzero(well & VALID & (STORE > 0)))
    with pytest.raises(ValueError, match="group 'Z98' is not among 'A00'"):
        store.select(group="Z98")


def test_stores_are_mixed_by_weight(store):
    train = store.select(split="train")
    weights = balanced_weights(train.classes("store"))
    drawn = drawn_order(weights, 30_000, 0, 0)
    counts = np.bincount(train.column("store")[drawn])
    np.testing.assert_allclose(counts / 10_000, 1, atol=0.05)


def test_statistics(store, pixels):
    for splits in (["train"], ["val", "extra"], list(store.splits)):
        rows = np.isin(NAMES, splits) & VALID
        values = pixels[rows].astype(float)
        found = store.select(split=splits).statistics
        np.testing.assert_array_equal(found["count"], rows.sum() * 120)
        np.testing.assert_allclose(found["mean"], values.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(found["std"], values.std(axis=(0, 2, 3)))
        np.testing.assert_array_equal(found["max"], values.max(axis=(0, 2, 3)))
    assert list(store.statistics) == list(store.splits)
    found = store.select(split="val").statistics
    for measure, values in store.statistics["val"].items():
        np.testing.assert_allclose(found[measure], values)
    # A part of some stores that is whole splits of each.
    np.testing.assert_array_equal(
        store.select(where="store == 2").statistics["count"], VALID[49:].sum() * 120
    )


def test_blocks_are_shards_of_each_store(store):
    starts = store.view.block_starts
    shards = np.concatenate(
        [100 * n + np.arange(rows) // (8 - 3 * n) for n, rows in enumerate(ROWS)]
    )[VALID]
    assert starts.tolist() == [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist()]
    order = block_order(starts, len(store), 10, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(53))


def test_pickled(store, pixels):
    view = store.select(split=["val", "extra"])
    again = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(again.rows, view.rows)
    np.testing.assert_array_equal(
        again.read(range(len(again)))["image"], pixels[np.asarray(view.rows)]
    )
    assert again.column("store").tolist() == view.column("store").tolist()
    assert len(pickle.loads(pickle.dumps(store))) == 53


def test_the_loader_gives_each_once(store, pixels):
    seen = []
    for batch in store.select(split="train").loader(batch_size=8, shuffle=True, seed=1):
        index = batch["index"][batch["valid"]]
        np.testing.assert_array_equal(batch["image"][batch["valid"]], pixels[index])
        seen += index.tolist()
    assert sorted(seen) == np.flatnonzero((NAMES == "train") & VALID).tolist()


def test_without_void_rows_all_is_one_range(new_store):
    stores = [new_store(splits={"train": 4, "val": 2}, rows=6) for _ in range(2)]
    store = open_store([each.path for each in stores])
    assert store.rows == range(12)
    assert store.select(split="train").rows.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert store.select(split=["train", "val"]).rows == range(12)
    assert store.select(where="store == 1").rows == range(6, 12)


def test_one_store_and_one_store_twice(written, pixels):
    one = open_store([written[1].path])
    np.testing.assert_array_equal(one.read(range(12))["image"], pixels[37:49])
    twice = open_store((written[1].path, str(written[1].path)))
    assert len(twice) == 24
    np.testing.assert_array_equal(twice.read([3, 15])["image"], pixels[[40, 40]])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "uint8"}, r"differ in patches of image: uint16 of \(2, 12, 10\) and uint8 of"),
        ({"shape": (2, 12, 11)}, r"and uint16 of \(2, 12, 11\)"),
        ({"channels": ["c1", "c0"]}, r"differ in channels: \['c0', 'c1'\] and \['c1', 'c0'\]"),
        ({"margin_px": 2}, "differ in margin_px: 0 and 2"),
    ],
)
def test_stores_that_differ_are_refused(written, new_store, options, match):
    channels = options.get("channels")
    other = new_store(**{key: value for key, value in options.items() if key != "channels"})
    if channels:
        other.edit(lambda own: own.update(channels=channels, statistics={}))
    with pytest.raises(StoreError, match=match) as caught:
        open_store([written[0].path, other.path])
    assert str(written[0].path) in str(caught.value)
    assert str(other.path) in str(caught.value)


def test_no_store_and_a_store_that_is_none(written, tmp_path):
    with pytest.raises(StoreError, match="no store in the list"):
        open_store([])
    with pytest.raises(StoreError, match="absent is not a folder"):
        open_store([written[0].path, tmp_path / "absent"])


def test_other_groups_and_other_columns_are_errors_only_when_needed(new_store, add_columns):
    one, two = (new_store(recipe={"images": {"group": [name]}}) for name in ("well", "plate"))
    for each, kind in ((one, np.zeros(37)), (two, np.zeros((37, 2)))):
        add_columns(each.path, "index", odd=kind, image=np.zeros(37, np.int32))
    store = open_store([one.path, two.path])
    assert len(store.select(where="x > 3")) == 70
    with pytest.raises(StoreError, match=r"grouped by well and .* by plate; select .* by where="):
        store.select(group="A01")
    with pytest.raises(StoreError, match="'odd' is not the same thing in all stores"):
        store.column("odd")

"""The statistics of any view are those of its pixels, by NumPy, whatever they are made from."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.reader import IncompleteStoreError, StoreError, open_store, some_rows
from patchmill.reader.statistics import MEASURES

IMAGE = np.repeat([0, 1, 2, 3], [9, 16, 2, 10])
#: Patches are 12 × 10; so most images cut some of them short. t, c, z, y, x.
SHAPES = np.array([(1, 2, 1, 40, 33), (1, 2, 1, 30, 36), (1, 2, 1, 12, 10), (1, 2, 1, 25, 99)])
RNG = np.random.default_rng(5)
Y = RNG.integers(0, SHAPES[IMAGE, 3] - 2)
X = RNG.integers(0, SHAPES[IMAGE, 4] - 2)
VOID = np.array([3, 11])
SPLITS = {"train": 21, "val": 6, "test": 10}
CHANNELS = ("c0", "c1")


def held(pixels, row):
    """The pixels that a patch has from its image, as float64 (c, y, x)."""
    height, width = SHAPES[IMAGE[row], 3] - Y[row], SHAPES[IMAGE[row], 4] - X[row]
    return pixels[row, :, :height, :width].astype(np.float64)


def expected(pixels, rows):
    """NumPy's statistics of all pixels of some rows, NaN left out."""
    result = {key: [] for key in ("count", *MEASURES)}
    for channel in range(2):
        parts = [held(pixels, row)[channel].ravel() for row in rows]
        values = np.concatenate([np.zeros(0), *parts])
        values = values[~np.isnan(values)]
        result["count"].append(values.size)
        for name in MEASURES:
            result[name].append(getattr(np, name)(values) if values.size else np.nan)
    return result


def check(found, pixels, rows):
    wanted = expected(pixels, rows)
    assert list(found) == list(wanted)
    np.testing.assert_array_equal(found["count"], wanted["count"])
    assert found["count"].dtype == np.int64
    for name in MEASURES:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)


@pytest.fixture(scope="module")
def measured(new_store, add_columns):
    """Return a function that makes a store with the columns that a run writes."""

    def make(void=(), **options):
        written = new_store(splits=SPLITS, void=list(void), **options)
        pixels = written.pixels.copy()
        valid = np.isin(np.arange(37), void, invert=True)
        columns = {"image": IMAGE.astype(np.int32), "y": Y, "x": X}
        for channel, name in enumerate(CHANNELS):
            of_rows = [expected(pixels, [row]) for row in range(37)]
            for measure in MEASURES:
                values = [found[measure][channel] for found in of_rows]
                columns[f"{measure}_{name}"] = np.where(valid, values, np.nan)
            counts = [found["count"][channel] for found in of_rows]
            columns[f"count_{name}"] = np.where(valid, counts, 0).astype(np.uint32)
        add_columns(written.path, "index", **columns)
        kept = [np.flatnonzero((image == IMAGE) & valid) for image in range(4)]
        of_images = [expected(pixels, rows) for rows in kept]
        merged = {key: np.array([each[key] for each in of_images]) for key in ("count", *MEASURES)}
        add_columns(
            written.path,
            "images",
            shape=SHAPES,
            count=merged["count"],
            mean=merged["mean"],
            deviations=np.nan_to_num(merged["std"]) ** 2 * merged["count"],
            min=np.nan_to_num(merged["min"]).astype(pixels.dtype),
            max=np.nan_to_num(merged["max"]).astype(pixels.dtype),
        )

        def statistics(own):
            start = 0
            for split, size in SPLITS.items():
                rows = [row for row in range(start, start + size) if valid[row]]
                found = expected(pixels, rows)
                own["statistics"][split] = {
                    name: {key: float(values[c]) for key, values in found.items()}
                    for c, name in enumerate(CHANNELS)
                }
                for of in own["statistics"][split].values():
                    of["count"] = int(of["count"])
                start += size

        written.edit(statistics)
        return written, open_store(written.path)

    return make


@pytest.fixture(scope="module")
def both(measured):
    return measured()


@given(st.sets(st.integers(0, 36)))
def test_any_rows(both, chosen):
    written, store = both
    view = store.view
    view.rows = np.array(sorted(chosen), np.int64)
    check(view.statistics, written.pixels, sorted(chosen))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 36), min_size=1), st.integers(1, 40))
def test_in_blocks_of_any_size(both, monkeypatch, chosen, size):
    written, store = both
    monkeypatch.setattr(some_rows, "_ROWS_AT_ONCE", size)
    view = store.view
    view.rows = np.array(sorted(chosen), np.int64)
    check(view.statistics, written.pixels, sorted(chosen))


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"split": "train"},
        {"split": ["train", "test"]},
        {"where": 'split == "val"'},
        {"where": "image in (1, 3)"},
        {"where": "image == 2"},
        {"where": "x > 10"},
        {"split": "train", "where": "image == 1"},
        {"where": "x < 0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("void", [(), (3, 11), tuple(range(9))])
def test_selections(measured, selection, void):
    written, store = measured(void)
    view = store.select(**selection)
    check(view.statistics, written.pixels, list(view.rows))
    assert view.statistics is view.statistics  # computed once


def test_whole_splits_and_images_are_taken_as_they_are_kept(measured, add_columns):
    """What the store keeps of them is exact; nothing is computed again from patches."""
    written, store = measured(VOID)
    add_columns(
        written.path,
        "index",
        **{f"{measure}_{name}": np.full(37, -1.0) for measure in MEASURES for name in CHANNELS},
    )
    store = open_store(written.path)
    valid = [row for row in range(37) if row not in VOID]
    for selection, rows in (
        ({"where": 'split != "val"'}, [*range(21), *range(27, 37)]),
        ({"where": "image != 2"}, [*range(25), *range(27, 37)]),
    ):
        found = store.select(**selection).statistics
        check(found, written.pixels, [row for row in rows if row in valid])
    assert store.select(where="x > 10").statistics["mean"].tolist() == [-1, -1]
    # And of splits, not those of images.
    add_columns(written.path, "images", mean=np.full((4, 2), -1.0))
    store = open_store(written.path)
    check(store.select(split="val").statistics, written.pixels, range(21, 27))
    assert (store.select(where="image != 2").statistics["mean"] < 0).all()


def test_statistics_of_images_load_no_columns_of_patches(both):
    _, store = both
    fresh = open_store(store.path)
    _ = fresh.select(where="x > 10").statistics
    assert "mean_c0" not in fresh.index._read  # read block by block, and not kept


def test_nan_is_no_pixel(measured, add_columns):
    written, store = measured(dtype="float32")
    check(store.select(where="x > 10").statistics, written.pixels, np.flatnonzero(X > 10))
    # A patch of nothing but NaN has a NaN mean and counts for nothing.
    names = [f"{measure}_{channel}" for measure in ("mean", "std") for channel in CHANNELS]
    is_five = np.arange(37) == 5
    nan = {name: np.where(is_five, np.nan, store.index[name]) for name in names}
    none = {
        f"count_{name}": np.where(is_five, 0, store.index[f"count_{name}"]) for name in CHANNELS
    }
    add_columns(written.path, "index", **nan, **none)
    view = open_store(written.path).view
    view.rows = np.array([5, 6, 20])
    check(view.statistics, written.pixels, [6, 20])
    view = open_store(written.path).view
    view.rows = np.array([5])
    assert view.statistics["count"].tolist() == [0, 0]
    assert all(np.isnan(view.statistics[measure]).all() for measure in MEASURES)


def test_a_store_without_the_columns_says_so(plain):
    store = open_store(plain.path)
    assert store.select(where="x > 70", split="test").statistics  # a whole split
    with pytest.raises(StoreError, match=r"has no count_c0, mean_c0, .*select whole splits"):
        _ = store.select(where="x > 3").statistics


def test_an_unfinished_store_has_none(make_store):
    written = make_store()
    written.edit(lambda own: (own.update(complete=False), own.pop("statistics")))
    view = open_store(written.path, allow_incomplete=True).select(where="x > 3")
    with pytest.raises(IncompleteStoreError, match="no statistics of train"):
        _ = view.statistics

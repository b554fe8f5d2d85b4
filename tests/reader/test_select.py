"""Views by split, group and condition, and the columns that they show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader import DamagedStoreError, open_store

WELLS = ["A01", "A01", "B02", "B02", "C03"]
PLATES = ["p1", "p2", "p1", "p2", "p1"]
#: Of each of the 37 rows; images 1 and 3 are in two splits, image 4 has no row.
IMAGE = np.repeat([0, 1, 2, 3], [10, 15, 2, 10])
SPLITS = {"train": 21, "val": 6, "test": 10}


@pytest.fixture(scope="module")
def grouped(new_store, add_columns):
    """Return a function that makes a store of four images with patches, and one without."""

    def make(group=("plate", "well"), **options):
        recipe = {"images": {"group": list(group)}}
        written = new_store(splits=SPLITS, recipe=recipe, **options)
        rows = len(IMAGE)
        scores = np.linspace(-1, 1, rows)
        add_columns(written.path, "index", image=IMAGE.astype(np.int32), score=scores)
        add_columns(
            written.path,
            "images",
            {"status": ["ok", "failed"], "split": list(SPLITS)},
            id=[f"{plate}/{well}" for plate, well in zip(PLATES, WELLS, strict=True)],
            path=[f"{number}.tif" for number in range(5)],
            plate=PLATES,
            well=WELLS,
            x=np.arange(5),
            status=np.array([0, 0, 0, 0, 1], np.uint8),
            split=np.array([0, 255, 1, 2, 255], np.uint8),
            voxel_um=np.arange(15.0).reshape(5, 3),
        )
        return written

    return make


@pytest.fixture(scope="module")
def store(grouped):
    return open_store(grouped().path)


def test_columns_of_index_and_images_are_seen_alike(store):
    train = store.select(split="train")
    np.testing.assert_array_equal(train.column("image"), IMAGE[:21])
    np.testing.assert_array_equal(train.column("x"), np.arange(21) * 3)  # in both: that of index
    assert train.column("well").tolist() == [WELLS[image] for image in IMAGE[:21]]
    assert train.column("status").tolist() == ["ok"] * 21
    np.testing.assert_array_equal(
        train.column("voxel_um"), np.arange(15.0).reshape(5, 3)[IMAGE[:21]]
    )
    apart = store.select(split=["train", "test"])
    assert apart.column("split").tolist() == ["train"] * 21 + ["test"] * 10
    assert apart.column("well").tolist() == [WELLS[n] for n in [*IMAGE[:21], *IMAGE[27:]]]
    with pytest.raises(ValueError, match=r"no column 'y'; there are image, score, split, valid, x"):
        train.column("y")


def test_classes_number_the_different_values(store):
    apart = store.select(split=["val", "test"])
    for name in ("well", "split", "score", "image", "status", "valid"):
        column = apart.column(name).tolist()
        values = sorted(set(column))
        found = apart.classes(name)
        assert found.dtype == np.int64
        numbers = dict(zip(column, found.tolist(), strict=True))
        assert [numbers[value] for value in column] == found.tolist()
        assert sorted(numbers[value] for value in values) == [numbers[value] for value in values]
    with pytest.raises(ValueError, match=r"'voxel_um' has entries of shape \(3,\)"):
        apart.classes("voxel_um")


def test_an_image_that_is_not_there_is_damage(grouped, add_columns):
    written = grouped()
    add_columns(written.path, "index", image=np.where(IMAGE == 3, 5, IMAGE))
    with pytest.raises(DamagedStoreError, match="names image 5, and images/well has 5"):
        open_store(written.path).column("well")


def test_select_by_group(store):
    def rows(**what):
        return list(store.select(**what).rows)

    assert rows(group=("p1", "B02")) == [25, 26]
    assert rows(group=[("p2", "A01"), ("p1", "B02")]) == [*range(10, 27)]
    assert store.select(group=[("p2", "A01"), ("p1", "B02")]).rows == range(10, 27)
    assert rows(group=("p2", "A01"), split="val") == [21, 22, 23, 24]
    assert rows(group=("p1", "A01"), split="val") == []
    assert rows(group=("p2", "A01"), split=["train", "test"]) == [*range(10, 21)]
    view = store.select(group=("p2", "A01"))
    assert view.splits == ("train", "val", "test")
    assert list(view.select(split="train").rows) == [*range(10, 21)]


def test_an_unknown_group_names_those_of_the_view(store):
    match = r"group \('p3', 'A01'\) is not among \('p1', 'A01'\), .* plate, well together"
    with pytest.raises(ValueError, match=match):
        store.select(group=[("p1", "A01"), ("p3", "A01")])
    with pytest.raises(ValueError, match=r"group 'A01' is not among"):
        store.select(group=["A01"])
    with pytest.raises(ValueError, match=r"group \('p1', 'C03'\)"):  # has no patch
        store.select(group=("p1", "C03"))
    with pytest.raises(ValueError, match=r"is not among \('p2', 'A01'\), \('p1', 'B02'\);"):
        store.select(split="val").select(group=("p1", "A01"))
    with pytest.raises(ValueError, match="group none is not among"):
        store.select(group=[])


def test_one_group_column_and_none(grouped):
    store = open_store(grouped(group=["well"]).path)
    assert list(store.select(group="A01").rows) == [*range(25)]
    assert list(store.select(group=("A01", "B02")).rows) == [*range(37)]
    single = open_store(grouped(group=[]).path)
    assert list(single.select(group="p1/A01").rows) == [*range(10)]
    with pytest.raises(ValueError, match="a group here is the value of id"):
        single.select(group="A01")


def test_select_by_condition(store):
    found = store.select(where='well == "A01" and score > -0.5 and x < 60')
    expected = [row for row in range(25) if np.linspace(-1, 1, 37)[row] > -0.5 and row * 3 < 60]
    assert list(found.rows) == expected
    assert found.rows == range(expected[0], expected[-1] + 1)  # neighbours stay a range
    odd = store.select(where="x % 2 == 1")
    assert isinstance(odd.rows, np.ndarray)
    assert odd.rows.tolist() == [*range(1, 37, 2)]
    assert odd.select(split="val", where="score > 0").rows.tolist() == [21, 23, 25]
    assert [sample["index"] for sample in odd.select(split="val")] == [21, 23, 25]


def test_nothing_left_is_an_empty_view(store):
    empty = store.select(where="x < 0")
    assert len(empty) == 0
    assert empty.read([])["image"].shape == (0, 2, 12, 10)
    assert empty.select(split="val", where="x > 0").splits == ("val",)
    assert empty.block_starts.tolist() == []
    assert empty.statistics["count"].tolist() == [0, 0]
    assert np.isnan(empty.statistics["mean"]).all()
    assert store.select(split="val", where="x < 0").select(split="val").column("well").size == 0


def test_select_without_anything_is_the_same_view(store):
    assert store.select().rows == store.rows
    assert store.select().splits == tuple(SPLITS)


def test_void_rows_are_in_no_selection(grouped):
    store = open_store(grouped(void=[0, 5, 30]).path)
    chosen = store.select(where='plate == "p1"', split="train")
    assert chosen.rows.tolist() == [row for row in range(10) if row not in (0, 5)]
    assert chosen.column("x").tolist() == [row * 3 for row in chosen.rows]


selections = st.fixed_dictionaries(
    {},
    optional={
        "split": st.lists(st.sampled_from(list(SPLITS)), min_size=1, max_size=3),
        "group": st.lists(
            st.sampled_from([("p1", "A01"), ("p2", "A01"), ("p1", "B02"), ("p2", "B02")]),
            min_size=1,
        ),
        "where": st.sampled_from(["x % 2 == 0", "x > 30", 'well == "A01"', "score > 0"]),
    },
)


def by_hand(selection, rows):
    names = np.repeat(list(SPLITS), list(SPLITS.values()))
    score = np.linspace(-1, 1, 37)
    conditions = {
        "x % 2 == 0": lambda row: row * 3 % 2 == 0,
        "x > 30": lambda row: row * 3 > 30,
        'well == "A01"': lambda row: WELLS[IMAGE[row]] == "A01",
        "score > 0": lambda row: score[row] > 0,
    }
    return [
        row
        for row in rows
        if ("split" not in selection or names[row] in selection["split"])
        and (
            "group" not in selection
            or (PLATES[IMAGE[row]], WELLS[IMAGE[row]]) in selection["group"]
        )
        and ("where" not in selection or conditions[selection["where"]](row))
    ]


@given(st.lists(selections, max_size=3))
def test_views_of_views(store, steps):
    view, rows = store.view, [*range(37)]
    for step in steps:
        groups = {(PLATES[IMAGE[row]], WELLS[IMAGE[row]]) for row in rows}
        splits = set(view.splits)
        if not set(step.get("group", [])) <= groups or not set(step.get("split", [])) <= splits:
            with pytest.raises(ValueError, match="is not among"):
                view.select(**step)
            return
        view, rows = view.select(**step), by_hand(step, rows)
        assert list(view.rows) == rows
        assert view.column("x").tolist() == [row * 3 for row in rows]
        shards = np.array(rows, int) // 8
        first = [
            place for place in range(len(rows)) if not place or shards[place - 1] < shards[place]
        ]
        assert view.block_starts.tolist() == first
        assert view.block_starts.dtype == np.int64

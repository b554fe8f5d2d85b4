"""Loaders over arrays, memory maps and whatever else has a length: the same promises."""

import pickle

import numpy as np
import pytest

from patchmill.reader import Loader, open_store
from patchmill.reader.sources import as_source


def rows_and(loader, name):
    """Return an epoch's valid rows and one field, in the order of the rows."""
    batches = [{key: array.copy() for key, array in batch.items()} for batch in loader]
    rows = np.concatenate([batch["index"][batch["valid"]] for batch in batches])
    values = np.concatenate([batch[name][batch["valid"]] for batch in batches])
    order = np.argsort(rows)
    return rows[order], values[order]


@pytest.mark.parametrize(("backend", "num_workers"), [("thread", 0), ("thread", 2), ("process", 2)])
def test_arrays_and_maps(tmp_path, nothing_left, backend, num_workers):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 9999, (29, 2, 8, 6), dtype=np.uint16)
    labels = rng.integers(0, 9, 29)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    loader = Loader(
        {"image": mapped, "label": labels},
        4,
        shuffle=True,
        num_workers=num_workers,
        backend=backend,
    )
    rows, got = rows_and(loader, "image")
    assert rows.tolist() == list(range(29))
    np.testing.assert_array_equal(got, images)
    np.testing.assert_array_equal(rows_and(loader, "label")[1], labels)
    del loader


def test_a_map_is_sent_by_its_name_and_a_part_of_one_by_its_pixels(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100_000).reshape(1000, 100))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    whole = pickle.dumps(as_source({"a": mapped}, None))
    part = pickle.dumps(as_source({"a": mapped[10:20]}, None))
    assert len(whole) < 1000
    assert len(part) > 8000
    for pickled, expected in ((whole, mapped), (part, mapped[10:20])):
        out = {"a": np.empty((2, 100), np.int64)}
        pickle.loads(pickled).read_into(np.array([3, 9]), out, None)
        np.testing.assert_array_equal(out["a"], expected[[3, 9]])


def test_one_array_and_fields_of_several():
    data = np.arange(20).reshape(10, 2)
    np.testing.assert_array_equal(rows_and(Loader(data, 3), "data")[1], data)
    loader = Loader({"a": data, "b": data + 1}, 3, fields=["b"])
    assert set(next(iter(loader))) == {"b", "index", "valid"}


def test_crop_takes_the_same_window_of_all_images_and_leaves_labels_alone():
    y, x = np.mgrid[0:9, 0:7]
    image = np.stack([np.stack([y, x])] * 12).astype(np.int16)  # each pixel says where it was
    source = {"image": image, "mask": image[:, 0] * 10 + image[:, 1], "label": np.arange(12)}
    loader = Loader(source, 12, crop=(4, 3), random_crop=True, seed=1)
    corners = set()
    for _ in range(40):
        (batch,) = [{k: v.copy() for k, v in each.items()} for each in loader]
        assert batch["image"].shape == (12, 2, 4, 3)
        np.testing.assert_array_equal(
            batch["mask"], batch["image"][:, 0] * 10 + batch["image"][:, 1]
        )
        np.testing.assert_array_equal(batch["label"], np.arange(12))
        found = batch["image"][:, :, 0, 0]
        window = np.stack(np.mgrid[0:4, 0:3]) + found[:, :, None, None]
        np.testing.assert_array_equal(batch["image"], window)
        corners |= set(map(tuple, found.tolist()))
    assert corners == {(y, x) for y in range(6) for x in range(5)}
    (batch,) = Loader(source, 12, crop=(4, 3))
    assert set(map(tuple, batch["image"][:, :, 0, 0].tolist())) == {(2, 2)}


def test_read_and_items(reader_work):
    _, squares = rows_and(Loader(reader_work.Squares(), 5, shuffle=True), "square")
    np.testing.assert_array_equal(squares, np.arange(23) ** 2)
    words = ["a", "bb", "ccc"]
    with pytest.raises(ValueError, match=r"row 1 is data <U2 \(\) and row 0 is data <U1 \(\)"):
        next(iter(Loader(words, 3)))
    with pytest.raises(TypeError, match="a sample's 'data' is NoneType"):
        next(iter(Loader([None, None], 2)))


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_images_of_unequal_size_with_collate(plain, reader_work, nothing_left, backend):
    options = {"transform": reader_work.ragged, "num_workers": 2, "backend": backend}
    with pytest.raises(ValueError, match=r"row \d+ is image uint16 .* make samples alike, or pass"):
        next(iter(open_store(plain.path).loader(8, **options)))
    loader = open_store(plain.path).loader(8, collate=reader_work.as_list, **options)
    seen = 0
    for batch in loader:
        assert batch["index"].shape == batch["valid"].shape == (8,)
        for row, image in zip(batch["index"], batch["images"], strict=False):
            height = 1 + int(plain.pixels[row, 0, 0, 0]) % 5
            np.testing.assert_array_equal(image, plain.pixels[row][:, :height])
            seen += 1
    assert seen == 37
    del loader, batch, image


def test_wrong_sources():
    with pytest.raises(ValueError, match=r"arrays have lengths \{'a': 2, 'b': 3\}"):
        Loader({"a": np.zeros(2), "b": np.zeros(3)}, 1)
    with pytest.raises(ValueError, match="the source is int; give a view of a store"):
        Loader(3, 1)
    with pytest.raises(ValueError, match=r"fields are \['c'\]"):
        Loader({"a": np.zeros(2)}, 1, fields=["c"])
    with pytest.raises(ValueError, match="crop is for stores and arrays"):
        Loader([1, 2], 1, crop=(1, 1))
    with pytest.raises(ValueError, match="balance needs a view of a store"):
        Loader([1, 2], 1, balance="x")

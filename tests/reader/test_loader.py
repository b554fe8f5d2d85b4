"""Loaders: every sample once per epoch, the same bytes whoever decodes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader import open_store


def epoch_of(loader):
    """Return copies of an epoch's batches."""
    return [{name: array.copy() for name, array in batch.items()} for batch in loader]


@given(
    rows=st.integers(0, 37),
    batch_size=st.integers(1, 45),
    num_workers=st.integers(0, 3),
    prefetch=st.integers(1, 5),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_every_sample_once(plain, rows, batch_size, num_workers, prefetch, shuffle, drop_last):
    view = open_store(plain.path).select(split=["train", "val", "test"])
    view.rows = range(37 - rows, 37)
    loader = view.loader(
        batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        prefetch=prefetch,
        drop_last=drop_last,
    )
    batches = epoch_of(loader)
    assert len(batches) == len(loader)
    assert len(loader) == (rows // batch_size if drop_last else -(-rows // batch_size))
    for batch in batches:
        assert batch["image"].shape == (batch_size, 2, 12, 10)
        assert batch["index"].dtype == np.int64
        valid, index = batch["valid"], batch["index"]
        assert valid.dtype == np.bool_
        np.testing.assert_array_equal(batch["image"][valid], plain.pixels[index[valid]])
        assert not batch["image"][~valid].any()
        np.testing.assert_array_equal(valid, index >= 0)
    assert all(batch["valid"].all() for batch in batches[:-1])
    seen = [row for batch in batches for row in batch["index"][batch["valid"]].tolist()]
    assert len(set(seen)) == len(seen)
    if drop_last:
        assert len(seen) == rows // batch_size * batch_size
    else:
        assert sorted(seen) == list(range(37 - rows, 37))
    if not shuffle:
        assert seen == sorted(seen)


def test_same_bytes_for_any_number_of_workers(plain):
    store = open_store(plain.path)
    reference = epoch_of(store.loader(5, shuffle=True, seed=3, num_workers=0))
    for num_workers in (1, 2, 4):
        for prefetch in (1, 3):
            loader = store.loader(
                5, shuffle=True, seed=3, num_workers=num_workers, prefetch=prefetch
            )
            for batch, expected in zip(loader, reference, strict=True):
                assert list(batch) == list(expected) == ["image", "index", "valid"]
                for name in batch:
                    assert batch[name].tobytes() == expected[name].tobytes()


def test_order_is_fixed_by_seed_and_epoch(plain):
    store = open_store(plain.path)

    def rows(loader):
        return np.concatenate([batch["index"] for batch in loader]).tolist()

    loader = store.loader(37, shuffle=True, seed=1)
    assert loader.epoch == 0
    first, second = rows(loader), rows(loader)
    assert loader.epoch == 2
    assert first != second
    loader.set_epoch(0)
    assert rows(loader) == first
    assert rows(loader) == second  # counts on from there
    assert rows(store.loader(37, shuffle=True, seed=1)) == first
    assert rows(store.loader(37, shuffle=True, seed=2)) != first
    assert rows(store.loader(37)) == list(range(37))


def test_two_iterations_at_once_do_not_mix(plain):
    loader = open_store(plain.path).loader(4, shuffle=True, num_workers=2)
    for one, two in zip(loader, loader, strict=True):
        for batch in (one, two):
            good = batch["valid"]
            np.testing.assert_array_equal(batch["image"][good], plain.pixels[batch["index"][good]])


def test_fields_can_be_chosen(plain):
    store = open_store(plain.path)
    assert set(next(iter(store.loader(4, fields=["image"])))) == {"image", "index", "valid"}
    assert set(next(iter(store.loader(4, fields=[])))) == {"index", "valid"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; give a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 18446744073709551615"),
        ({"seed": None}, "seed is None"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"num_workers": 1.5}, "num_workers is 1.5; give a whole number"),
        ({"backend": "fork"}, "backend is 'fork'; give one of 'thread', 'process'"),
        ({"on_corrupt": "skip"}, "on_corrupt is 'skip'; give one of 'raise', 'substitute'"),
        ({"shuffle": "full"}, "shuffle is 'full'; give True, False or \"block\""),
        ({"shuffle_window": 9}, 'shuffle_window is for shuffle="block"'),
        ({"prefetch_bytes": 0}, "prefetch_bytes is 0"),
        ({"crop": (13, 4)}, r"crop is \(13, 4\), more than the patch, \(12, 10\)"),
        ({"crop": (0, 4)}, "crop is 0"),
        ({"rank": 2, "world_size": 2}, "rank is 2; give a whole number from 0 to 1"),
        ({"world_size": 0}, "world_size is 0"),
        ({"samples_per_epoch": 9}, "samples_per_epoch is for weights or balance"),
        ({"weights": [1], "balance": "x"}, "weights and balance are both given"),
        ({"prefetch": 0}, "prefetch is 0; give a whole number of at least 1"),
        ({"fields": ["mask"]}, r"fields are \['mask'\]; give a list out of \['image'\]"),
        ({"fields": "image"}, "fields are 'image'; give a list"),
    ],
)
def test_wrong_arguments(plain, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_store(plain.path).loader(**{"batch_size": 4} | arguments)


def test_wrong_epoch(plain):
    with pytest.raises(ValueError, match="epoch is -1"):
        open_store(plain.path).loader(4).set_epoch(-1)

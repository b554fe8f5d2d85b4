"""Loaders that draw, balance, cap and shuffle in blocks."""

import numpy as np
import pytest

from patchmill.reader import Loader, open_store


def rows(loader):
    """Return the rows of each batch of an epoch."""
    return [batch["index"][batch["valid"]].tolist() for batch in loader]


def joined(batches):
    return [row for batch in batches for row in batch]


@pytest.fixture
def store(make_store, add_columns):
    written = make_store(rows=40, splits={"train": 30, "val": 10})
    add_columns(
        written.path,
        "index",
        {"stage": ["mitosis", "interphase"]},
        image=np.arange(40) // 4,
        stage=(np.arange(40) % 10 > 0).astype(np.uint8),
    )
    return open_store(written.path)


def test_weights_draw_with_replacement(store):
    weights = np.zeros(30)
    weights[[3, 4]] = [1, 3]
    loader = store.select(split="train").loader(8, weights=weights, samples_per_epoch=4000)
    drawn = np.concatenate([batch["index"].copy() for batch in loader])
    assert set(drawn.tolist()) == {3, 4}
    assert 900 < (drawn == 3).sum() < 1100  # 1000 expected, standard deviation 27
    stats = loader.stats()
    assert (stats.samples, stats.distinct, stats.repeats) == (4000, 2, 3998)
    default = store.select(split="train").loader(8, weights=weights)
    assert sum(map(len, rows(default))) == 30


def test_a_balanced_column_has_equal_shares(store):
    loader = store.loader(50, balance="stage", samples_per_epoch=4000)
    drawn = np.concatenate([batch["index"].copy() for batch in loader])
    assert 1850 < (drawn % 10 == 0).sum() < 2150


def test_one_draw_is_shared_by_all_ranks(store):
    options = {"balance": "stage", "samples_per_epoch": 36, "seed": 4}
    one = rows(store.loader(12, **options))
    ranks = [rows(store.loader(4, rank=rank, world_size=3, **options)) for rank in range(3)]
    assert [joined(parts) for parts in zip(*ranks, strict=True)] == one


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_repeated_sample_is_transformed_anew_each_time(store, reader_work, backend):
    weights = np.zeros(40)
    weights[7] = 1
    loader = store.loader(
        5,
        weights=weights,
        samples_per_epoch=10,
        transform=reader_work.as_float,
        num_workers=2,
        backend=backend,
    )
    draws = np.concatenate([batch["draw"].copy() for batch in loader])
    assert len(np.unique(draws[:, 0])) == 10
    again = store.loader(2, weights=weights, samples_per_epoch=10, transform=reader_work.as_float)
    np.testing.assert_array_equal(np.concatenate([b["draw"].copy() for b in again]), draws)


def test_a_batch_has_at_most_so_many_of_an_image(store):
    loader = store.loader(10, shuffle=True, most_per_image=1)
    for _ in range(5):
        batches = rows(loader)
        assert sorted(joined(batches)) == list(range(40))
        for batch in batches:
            assert len({row // 4 for row in batch}) == len(batch) == 10
    with pytest.raises(ValueError, match="image"):
        iter(store.loader(11, most_per_image=1))


def test_blocks_are_whole_shards_within_a_window(store):
    loader = store.loader(8, shuffle="block", shuffle_window=16, seed=1)
    orders = []
    for _ in range(3):
        order = joined(rows(loader))
        assert sorted(order) == list(range(40))
        shards = [{row // 8 for row in order[start : start + 16]} for start in (0, 16, 32)]
        assert [len(each) for each in shards] == [2, 2, 1]
        orders.append(tuple(order))
    assert len(set(orders)) == 3
    assert store.loader(8, shuffle="block", shuffle_window=8).shuffle_quality() < 0.5
    assert store.loader(8, shuffle=True).shuffle_quality() > 0.7
    assert store.loader(8).shuffle_quality() < 0.1


def test_the_default_window_is_sixteen_shards(store):
    full = joined(rows(store.loader(8, shuffle="block")))
    assert sorted(full) == list(range(40))
    assert full[:8] != sorted(full[:8])


@pytest.mark.parametrize(("backend", "num_workers"), [("thread", 0), ("thread", 2), ("process", 2)])
def test_damaged_samples_are_substituted_and_named(make_store, nothing_left, backend, num_workers):
    written = make_store()
    data = bytearray(written.shard(1).read_bytes())
    data[40] ^= 1  # in the first chunk of the shard: row 8
    written.shard(1).write_bytes(bytes(data))
    options = {"shuffle": True, "seed": 2, "num_workers": num_workers, "backend": backend}
    with pytest.raises(OSError, match="patch 8: its checksum is wrong"):
        for _ in open_store(written.path).loader(5, **options):
            pass
    loader = open_store(written.path).loader(5, on_corrupt="substitute", **options)
    seen = []

    def train(loader):
        for batch in loader:
            good = batch["valid"]
            index = batch["index"][good]
            np.testing.assert_array_equal(batch["image"][good], written.pixels[index])
            seen.extend(index.tolist())

    with pytest.warns(RuntimeWarning, match="takes the place of row 8") as warned:
        train(loader)
    assert len(warned) == 1
    (substitute,) = loader.substitutes
    assert substitute.row == 8
    assert sorted(seen) == sorted([*range(8), substitute.by, *range(9, 37)])
    assert loader.stats().substitutes == 1
    del loader


def test_where_all_is_damaged_nothing_is_substituted(make_store):
    written = make_store()
    for number in range(5):
        written.shard(number).unlink()
    with pytest.raises(OSError, match="the file is missing"):
        next(iter(open_store(written.path).loader(5, on_corrupt="substitute")))


def test_bytes_ahead_are_bounded():
    class Counting:
        begun = 0

        def __len__(self):
            return 40

        def __getitem__(self, position):
            self.begun += 1
            return np.zeros(1000, np.uint8)

    source = Counting()
    loader = Loader(source, 1, prefetch=20, prefetch_bytes=3100, num_workers=1)
    for number, _ in enumerate(loader, 1):
        assert source.begun <= number + 3


def test_stats_say_what_it_cost(store, reader_work):
    loader = store.loader(4, transform=reader_work.busy, num_workers=1)
    for _ in loader:
        pass
    stats = loader.stats()
    assert (stats.batches, stats.samples, stats.distinct, stats.repeats) == (10, 40, 40, 0)
    assert stats.transform_s > 40 * 0.002
    assert stats.wait_s > 0
    assert stats.decode_s > 0
    assert stats.io_s >= 0

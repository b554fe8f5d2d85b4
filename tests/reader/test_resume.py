"""Ranks and resume: every sample once, whoever reads it and wherever one goes on."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader import Loader, open_store
from patchmill.reader.schedule import Schedule

SOURCE = np.arange(53)


def batches_of(loader, most=None):
    """Return copies of an epoch's batches, or of its first ones."""
    found = []
    for batch in loader:
        found.append({name: array.copy() for name, array in batch.items()})
        if len(found) == most:
            break
    return found


def rows_of(batches):
    return [row for batch in batches for row in batch["index"][batch["valid"]].tolist()]


@given(
    length=st.integers(0, 200),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 5),
    consumed=st.integers(0, 220),
    drop_last=st.booleans(),
)
def test_spans_cover_the_rest_of_the_epoch_once(
    length, batch_size, world_size, consumed, drop_last
):
    ranks = [
        Schedule(length, batch_size, rank, world_size, drop_last) for rank in range(world_size)
    ]
    numbers = {rank.batches(consumed) for rank in ranks}
    assert len(numbers) == 1
    (number,) = numbers
    spans = [rank.span(each, consumed) for each in range(number) for rank in ranks]
    seen = [position for start, stop in spans for position in range(start, stop)]
    rest = list(range(min(consumed, length), length))
    step = batch_size * world_size
    assert seen == (rest[: len(rest) // step * step] if drop_last else rest)
    sizes = [stop - start for start, stop in spans]
    assert sizes == sorted(sizes, reverse=True)  # not full but at the very end


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_global_batches_are_the_same_for_any_number_of_ranks(world_size, drop_last):
    one = batches_of(Loader(SOURCE, 8, shuffle=True, seed=2, drop_last=drop_last))
    ranks = [
        batches_of(
            Loader(
                SOURCE,
                8 // world_size,
                shuffle=True,
                seed=2,
                drop_last=drop_last,
                rank=rank,
                world_size=world_size,
            )
        )
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {len(one)}
    for number, batch in enumerate(one):
        for name in batch:
            parts = [rank[number][name] for rank in ranks]
            np.testing.assert_array_equal(np.concatenate(parts), batch[name])


def test_a_rank_without_samples_has_a_batch_of_none(plain, reader_work):
    """With a transform its shapes are known from no sample of its own."""
    loaders = [
        open_store(plain.path).loader(4, rank=r, world_size=8, transform=reader_work.as_float)
        for r in range(8)
    ]
    *_, last = batches_of(loaders[7])
    assert last["image"].shape == (4, 2, 12, 10)
    assert last["image"].dtype == np.float32
    assert not last["image"].any()
    assert not last["valid"].any()
    assert (last["index"] == -1).all()


@settings(max_examples=30)
@given(
    stop=st.integers(0, 14),
    before=st.tuples(st.integers(1, 8), st.integers(1, 3)),
    after=st.tuples(st.integers(1, 8), st.integers(1, 3)),
    workers=st.integers(0, 2),
)
def test_going_on_elsewhere_gives_the_rest_of_the_epoch(stop, before, after, workers):
    def ranks(size, **options):
        batch_size, world_size = size
        return [
            Loader(
                SOURCE, batch_size, shuffle=True, seed=5, rank=r, world_size=world_size, **options
            )
            for r in range(world_size)
        ]

    whole = [rows_of(batches_of(loader)) for loader in [Loader(SOURCE, 53, shuffle=True, seed=5)]]
    second = rows_of(batches_of(Loader(SOURCE, 53, shuffle=True, seed=5), None))
    assert sorted(second) == list(range(53))
    first = ranks(before, num_workers=workers, prefetch=3)
    stop = min(stop, len(first[0]) - 1)
    parts = [batches_of(loader, stop or None) if stop else [] for loader in first]
    (state,) = {json.dumps(loader.state_dict()) for loader in first}
    resumed = ranks(after, num_workers=1)
    for loader in resumed:
        loader.load_state_dict(json.loads(state))
        assert loader.epoch == 0
    rest = [batches_of(loader) for loader in resumed]
    seen = [row for number in range(stop) for part in parts for row in rows_of([part[number]])]
    steps = max(map(len, rest))
    seen += [row for number in range(steps) for part in rest for row in rows_of([part[number]])]
    assert seen == whole[0]
    assert {loader.epoch for loader in resumed} == {1}


@pytest.mark.parametrize("backend", ["thread", "process"])
@pytest.mark.parametrize("stop", [1, 3, 7])
def test_the_bytes_after_a_resume_are_those_without_one(plain, reader_work, backend, stop):
    def loader():
        return open_store(plain.path).loader(
            5,
            shuffle=True,
            seed=9,
            num_workers=2,
            backend=backend,
            transform=reader_work.noisy,
            batch_transform=reader_work.in_place,
        )

    straight = loader()
    expected = batches_of(straight) + batches_of(straight)
    interrupted = loader()
    batches_of(interrupted, stop)
    resumed = loader()
    resumed.load_state_dict(interrupted.state_dict())
    for batch, other in zip(
        batches_of(resumed) + batches_of(resumed), expected[stop:], strict=True
    ):
        assert {n: a.tobytes() for n, a in batch.items()} == {
            n: a.tobytes() for n, a in other.items()
        }


def test_the_state_counts_what_was_received_not_what_was_made_ahead():
    loader = Loader(SOURCE, 4, num_workers=2, prefetch=8, shuffle=True, seed=3)
    assert loader.state_dict()["samples"] == 0
    for number, _ in enumerate(loader, 1):
        if number < 14:
            assert (loader.state_dict()["epoch"], loader.state_dict()["samples"]) == (0, 4 * number)
    assert loader.state_dict() == {
        "seed": 3,
        "epoch": 1,
        "samples": 0,
        "length": 53,
        "global_batch": 4,
    }
    loader.set_epoch(7)
    assert (loader.state_dict()["epoch"], loader.epoch) == (7, 7)


def test_a_state_of_another_order_is_refused():
    state = Loader(SOURCE, 4, seed=3).state_dict()
    with pytest.raises(ValueError, match="whose seed is 3, and this one's is 0"):
        Loader(SOURCE, 4).load_state_dict(state)
    with pytest.raises(ValueError, match="whose length is 53, and this one's is 50"):
        Loader(SOURCE[:50], 4, seed=3).load_state_dict(state)
    with pytest.raises(ValueError, match=r"a state has .* and this has"):
        Loader(SOURCE, 4).load_state_dict({"epoch": 3})
    with pytest.raises(ValueError, match="samples is -1"):
        Loader(SOURCE, 4, seed=3).load_state_dict(state | {"samples": -1})


def test_a_capped_order_needs_the_same_global_batch(make_store, add_columns):
    written = make_store()
    add_columns(written.path, "index", image=np.zeros(37, np.int32))
    store = open_store(written.path)
    state = store.loader(4, most_per_image=4).state_dict()
    store.loader(2, most_per_image=2, world_size=2).load_state_dict(state)
    with pytest.raises(ValueError, match="whose global_batch is 4, and this one's is 5"):
        store.loader(5, most_per_image=5).load_state_dict(state)


@pytest.mark.parametrize(
    "names",
    [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("PMI_RANK", "PMI_SIZE")],
)
def test_the_rank_from_the_environment(names):
    code = (
        "from patchmill.reader import Loader\n"
        "loader = Loader(range(10), 2, rank='auto')\n"
        "print(loader.rank, loader.world_size, len(loader))\n"
    )
    environment = {name: value for name, value in os.environ.items() if "RANK" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | dict(zip(names, ("1", "3"), strict=True)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 3 2\n"


def test_no_rank_to_be_found(monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r'rank="auto" found no initialised torch\.distributed'):
        Loader(SOURCE, 2, rank="auto")
    monkeypatch.setenv("RANK", "one")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="are no numbers"):
        Loader(SOURCE, 2, rank="auto")
    with pytest.raises(ValueError, match="finds world_size too"):
        Loader(SOURCE, 2, rank="auto", world_size=2)

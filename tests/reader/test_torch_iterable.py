"""Loaders through DataLoader: every sample once, the loader's own batches, epochs that advance."""

import itertools
import traceback

import numpy as np
import pytest

from patchmill.reader import open_store

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'patchmill[torch]'"
)

from torch.utils.data import DataLoader  # noqa: E402

from patchmill.reader.torch import PatchIterable  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:batches go into fresh memory:RuntimeWarning"),
]
#: num_workers, start method, persistent_workers
WAYS = [
    (0, None, False),
    (1, "fork", False),
    (2, "fork", False),
    (2, "fork", True),
    (3, "fork", True),
    (2, "spawn", True),
    (2, "spawn", False),
]


def through(dataset, num_workers, method="fork", persistent=False, **options):
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context=method if num_workers else None,
        persistent_workers=persistent,
        **options,
    )


def rows(batches):
    return [batch["index"].tolist() for batch in batches]


def epoch(loader, number):
    """Return the rows of a loader's batches in an epoch."""
    loader.set_epoch(number)
    return rows(loader)


@pytest.fixture
def make_loader(plain):
    store = open_store(plain.path)
    store.read(range(37))  # with shards open
    return lambda batch_size=5, **options: store.loader(
        batch_size, **{"shuffle": True, "seed": 3, "num_workers": 0} | options
    )


@pytest.mark.parametrize(("num_workers", "method", "persistent"), WAYS)
def test_the_batches_of_the_loader(plain, make_loader, num_workers, method, persistent):
    dataset = PatchIterable(make_loader())
    loader = through(dataset, num_workers, method, persistent)
    assert len(loader) == len(dataset) == 8
    reference = make_loader()
    for number in range(3):
        assert dataset.epoch == number
        batches = list(loader)
        for batch, expected in zip(batches, reference, strict=True):
            assert list(batch) == ["image", "index", "valid"]
            assert batch["image"].dtype == torch.uint16
            for name, tensor in batch.items():
                np.testing.assert_array_equal(tensor.numpy(), expected[name])
        seen = [row for batch in batches for row in batch["index"][batch["valid"]].tolist()]
        assert sorted(seen) == list(range(37))
    dataset.set_epoch(1)  # reaches workers that live on, too
    assert rows(loader) == epoch(reference, 1)
    assert rows(loader) == epoch(reference, 2)


def test_threads_of_the_loader_in_workers(make_loader):
    loader = through(PatchIterable(make_loader(num_workers=2)), 2)
    for number in range(2):
        assert rows(loader) == epoch(make_loader(), number)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_ranks(make_loader, num_workers):
    ranks = [
        through(PatchIterable(make_loader(3, rank=rank, world_size=2)), num_workers)
        for rank in range(2)
    ]
    whole = epoch(make_loader(6), 0)
    batches = [rows(loader) for loader in ranks]
    assert [one + two for one, two in zip(*batches, strict=True)] == whole


@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_left_early_is_over(make_loader, persistent):
    loader = through(PatchIterable(make_loader()), 2, persistent=persistent)
    for number in range(3):
        expected = epoch(make_loader(), number)
        assert rows(itertools.islice(loader, number)) == expected[:number]
    assert rows(loader) == epoch(make_loader(), 3)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_random_generator_that_is_seeded_again(make_loader, persistent):
    """The number that tells iterations apart is then the same again."""
    loader = through(PatchIterable(make_loader()), 2, persistent=persistent)
    for number in range(3):
        torch.manual_seed(0)
        assert rows(loader) == epoch(make_loader(), number)


def test_set_epoch_leaves_an_iteration_that_has_begun(make_loader):
    dataset = PatchIterable(make_loader())
    loader = through(dataset, 2, persistent=True)
    batches = iter(loader)
    first = next(batches)
    dataset.set_epoch(5)
    assert rows([first, *batches]) == epoch(make_loader(), 0)
    assert rows(loader) == epoch(make_loader(), 5)
    assert dataset.epoch == 6


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_iterations_at_once_do_not_mix(make_loader, num_workers):
    loader = through(PatchIterable(make_loader()), num_workers)
    pairs = list(zip(loader, loader, strict=True))
    wholes = [rows(batches) for batches in zip(*pairs, strict=True)]
    assert sorted(wholes) == sorted(epoch(make_loader(), number) for number in range(2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_going_on_within_an_epoch(make_loader, num_workers):
    before = make_loader()
    first = rows(itertools.islice(before, 3))
    after = make_loader()
    after.load_state_dict(before.state_dict())
    loader = through(PatchIterable(after), num_workers)
    assert first + rows(loader) == epoch(make_loader(), 0)
    assert rows(loader) == epoch(make_loader(), 1)


def test_an_error_in_a_worker_reaches_the_loop(make_store):
    written = make_store()
    loader = through(PatchIterable(open_store(written.path).loader(4, num_workers=0)), 2)
    written.shard(2).unlink()
    with pytest.raises(OSError, match=r"c\.2\.0\.0\.0.* the file is missing") as info:
        list(loader)
    # The frames hold torch's iterator, which waits 5 s for each worker where it is garbage.
    traceback.clear_frames(info.tb)

"""The map style dataset under DataLoader: fork and spawn, whole batches, no copies."""

import os
import pickle
import threading

import numpy as np
import pytest

from patchmill.reader import open_store

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'patchmill[torch]'"
)

from torch.utils.data import (  # noqa: E402
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    default_collate,
    random_split,
)

from patchmill.reader.torch import PatchDataset, SampleBlock, collate  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
WAYS = [(0, None), (2, "fork"), (2, "spawn")]


def same(image, expected):
    assert image.dtype == torch.uint16
    np.testing.assert_array_equal(image.numpy(), expected)


def test_samples(plain):
    dataset = PatchDataset(open_store(plain.path).select(split=["train", "test"]))
    rows = [*range(21), *range(27, 37)]
    assert len(dataset) == 31
    for position in (0, 20, 21, -1, np.int64(30)):
        sample = dataset[position]
        assert list(sample) == ["image", "index"]
        assert sample["index"] == rows[position]
        same(sample["image"], plain.pixels[rows[position]])
    for position in (31, -32):
        with pytest.raises(IndexError, match=f"patch {position} is not in this view, .* has 31"):
            dataset[position]
    assert [int(sample["index"]) for sample in dataset] == rows


def test_a_store_is_all_its_valid_rows(make_store):
    written = make_store(void=[3, 30], splits={"train": 20, "val": 17})
    dataset = PatchDataset(open_store(written.path))
    rows = [row for row in range(37) if row not in (3, 30)]
    assert len(dataset) == 35
    for number, sample in enumerate(dataset):
        same(sample["image"], written.pixels[rows[number]])


def test_several_at_once_are_one_batch(plain):
    block = PatchDataset(open_store(plain.path)).__getitems__([5, 3, 3, -1])
    assert isinstance(block, SampleBlock)
    batch = collate(block)
    same(batch["image"], plain.pixels[[5, 3, 3, 36]])
    assert batch["index"].tolist() == [5, 3, 3, 36]
    # Not copied, and the samples lie in it.
    assert batch is block.batch
    assert block[1]["image"].data_ptr() == batch["image"][1].data_ptr()
    assert [len(block), len(block[1:3]), len(list(block))] == [4, 2, 4]
    with pytest.raises(IndexError):
        block[4]


def test_other_collations_see_samples(plain):
    block = PatchDataset(open_store(plain.path)).__getitems__([5, 3])
    for collated in (default_collate(block), collate(list(block)), collate([block[0], block[1]])):
        assert list(collated) == ["image", "index"]
        same(collated["image"], plain.pixels[[5, 3]])
        assert collated["index"].tolist() == [5, 3]


@pytest.mark.parametrize(("num_workers", "method"), WAYS)
def test_every_sample_once_after_the_parent_has_read(plain, num_workers, method):
    view = open_store(plain.path).select(split=["train", "val", "test"])
    view.read(range(37))  # with shards open
    loader = DataLoader(
        PatchDataset(view),
        batch_size=5,
        shuffle=True,
        num_workers=num_workers,
        multiprocessing_context=method,
        collate_fn=collate,
    )
    for _ in range(2 if method != "spawn" else 1):
        batches = list(loader)
        assert [len(batch["index"]) for batch in batches] == [5] * 7 + [2]
        assert sorted(row for batch in batches for row in batch["index"].tolist()) == [*range(37)]
        for batch in batches:
            same(batch["image"], plain.pixels[batch["index"].numpy()])
    np.testing.assert_array_equal(view.read([7])["image"], plain.pixels[[7]])


def test_fork_while_another_thread_reads(plain):
    """Whatever that thread holds at the moment of the fork, it does not hold in the child."""
    view = open_store(plain.path).select(split="train")
    done = threading.Event()

    def read():
        while not done.is_set():
            view.read(range(21))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        loader = DataLoader(
            PatchDataset(view), 4, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        for _ in range(5):
            seen = [row for batch in loader for row in batch["index"].tolist()]
            assert seen == list(range(21))
    finally:
        done.set()
        for thread in threads:
            thread.join()


def is_shared(block):
    return block.batch["image"].is_shared()


@pytest.mark.parametrize(("num_workers", "shared"), [(0, False), (2, True)])
def test_workers_decode_into_shared_memory(plain, num_workers, shared):
    method = "fork" if num_workers else None
    dataset = PatchDataset(open_store(plain.path))
    loader = DataLoader(
        dataset, 8, num_workers=num_workers, multiprocessing_context=method, collate_fn=is_shared
    )
    assert list(loader) == [shared] * 5


def test_nothing_travels_but_the_view(plain):
    dataset = PatchDataset(open_store(plain.path))
    assert dataset[3]["index"] == 3
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    data = pickle.dumps(dataset)
    again = pickle.loads(data)
    assert len(data) < 2000
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    same(again[3]["image"], plain.pixels[3])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_in_torchs_own_wrappers(plain, num_workers):
    method = "fork" if num_workers else None
    dataset = PatchDataset(open_store(plain.path))
    parts = random_split(dataset, [0.5, 0.5], generator=torch.Generator().manual_seed(0))
    wrapped = [Subset(dataset, [4, 9, 30, 2]), ConcatDataset(parts)]
    for inner, rows in zip(wrapped, ([4, 9, 30, 2], range(37)), strict=True):
        loader = DataLoader(
            inner, 3, num_workers=num_workers, multiprocessing_context=method, collate_fn=collate
        )
        batches = list(loader)
        assert sorted(r for batch in batches for r in batch["index"].tolist()) == sorted(rows)
        for batch in batches:
            same(batch["image"], plain.pixels[batch["index"].numpy()])


def test_a_transform_gets_each_sample(plain):
    def transform(sample):
        return {"x": sample["image"].float().flip(-1), "row": sample["index"]}

    dataset = PatchDataset(open_store(plain.path), transform=transform)
    assert dataset[2]["x"].dtype == torch.float32
    for batch in DataLoader(dataset, 10, collate_fn=collate):
        np.testing.assert_array_equal(batch["x"], plain.pixels[batch["row"]][..., ::-1])


def test_fields_can_be_chosen(plain):
    store = open_store(plain.path)
    assert list(PatchDataset(store, fields=["image"])[0]) == ["image", "index"]
    batches = list(DataLoader(PatchDataset(store, fields=[]), 20, collate_fn=collate))
    assert [list(batch) for batch in batches] == [["index"]] * 2
    with pytest.raises(ValueError, match=r"fields are \['mask'\]; give a list out of \['image'\]"):
        PatchDataset(store, fields=["mask"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_dtypes_stay(make_store, dtype):
    written = make_store(dtype=dtype)
    block = PatchDataset(open_store(written.path)).__getitems__([1, 2])
    image = collate(block)["image"]
    assert image.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(image.numpy(), written.pixels[[1, 2]])


def test_batches_drawn_by_a_sampler(plain):
    """Each batch is an item: DataLoader then neither collects nor collates."""
    dataset = PatchDataset(open_store(plain.path))
    sampler = BatchSampler(RandomSampler(dataset), 10, drop_last=False)
    with pytest.raises(TypeError):
        next(iter(DataLoader(dataset, sampler=sampler, batch_size=None)))
    rows = [r for b in DataLoader(dataset, batch_sampler=sampler) for r in b["index"].tolist()]
    assert sorted(rows) == list(range(37))

"""Tensors on a loader's own memory, and batches that reach a device as they were.

No device is needed: a lane that copies as late as a device may stands in for one. The copies of
CUDA itself are tested where there is a GPU, and skipped elsewhere.
"""

import itertools
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

from patchmill.reader import DamagedStoreError, open_store

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'patchmill[torch]'"
)

from patchmill.reader.torch_staging import SLOTS, Staging, sent_ahead  # noqa: E402
from patchmill.reader.torch_tensors import as_tensors  # noqa: E402

HOLDS_MUCH = pytest.mark.filterwarnings("ignore:batches go into fresh memory:RuntimeWarning")


def check(batch, pixels):
    valid = batch["valid"].cpu().numpy()
    index = batch["index"].cpu().numpy()
    assert batch["image"].dtype == torch.uint16
    np.testing.assert_array_equal(batch["image"].cpu().numpy()[valid], pixels[index[valid]])
    assert (index[~valid] == -1).all()


# As tensors


def test_tensors_share_the_memory_of_their_arrays():
    batch = {"image": np.arange(24, dtype=np.uint16).reshape(2, 3, 4), "valid": np.ones(2, bool)}
    tensors = as_tensors(batch)
    assert tensors["image"].dtype == torch.uint16
    assert tensors["valid"].dtype == torch.bool
    for name, tensor in tensors.items():
        assert tensor.data_ptr() == batch[name].ctypes.data
        np.testing.assert_array_equal(tensor.numpy(), batch[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[..., ::-1],
        lambda array: array.transpose(2, 0, 1),
        lambda array: array[:, 1:2],
        lambda array: np.broadcast_to(array, (5, *array.shape)),
        lambda array: array.astype(array.dtype.newbyteorder()),
        lambda array: array[:0],
        lambda array: array[0, 0, 0, ...],
    ],
)
def test_arrays_of_any_kind(change):
    array = change(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    tensor = as_tensors({"image": array})["image"]
    assert tensor.dtype == torch.uint16
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_what_is_no_array_of_numbers_stays():
    batch = {"paths": ["a", "b"], "names": np.array(["a"]), "objects": np.array([None])}
    assert as_tensors(batch) == batch


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_batches_of_the_loader(plain, num_workers):
    store = open_store(plain.path)
    tensors = store.loader(5, shuffle=True, seed=1, num_workers=num_workers).torch()
    loader = store.loader(5, shuffle=True, seed=1)
    assert len(tensors) == len(loader) == 8
    for number in range(2):
        assert tensors.epoch == number
        for batch, expected in zip(tensors, loader, strict=True):
            assert list(batch) == ["image", "index", "valid"]
            for name in batch:
                np.testing.assert_array_equal(batch[name].numpy(), expected[name])
    tensors.set_epoch(0)
    loader.set_epoch(0)
    assert next(iter(tensors))["index"].tolist() == next(iter(loader))["index"].tolist()
    assert tensors.stats().batches == 17
    tensors.close()


@HOLDS_MUCH
@pytest.mark.parametrize("hold", [lambda t: t, lambda t: t[1:, 0], lambda t: t.permute(3, 0, 1, 2)])
def test_what_is_held_is_never_overwritten(plain, hold):
    loader = open_store(plain.path).loader(2, shuffle=True, prefetch=2).torch()
    kept = [hold(batch["image"]) for batch in loader]
    loader.set_epoch(0)
    for tensor, batch in zip(kept, loader, strict=True):
        assert torch.equal(tensor.int(), hold(batch["image"]).int())
    assert len({tensor.untyped_storage().data_ptr() for tensor in kept}) == len(kept)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_memory_is_used_again(plain, num_workers):
    loader = open_store(plain.path).loader(2, num_workers=num_workers, prefetch=2).torch()
    places = {batch["image"].data_ptr() for _ in range(3) for batch in loader}
    assert len(places) <= 4


def test_leaving_early_leaves_no_thread(plain, reader_threads):
    for _ in open_store(plain.path).loader(2, num_workers=2).torch():
        assert reader_threads()
        break
    assert reader_threads() == []


@pytest.mark.parametrize("num_batches", [0, 1, 3, 8])
def test_state(plain, num_batches):
    store = open_store(plain.path)

    def loader():
        return store.loader(5, shuffle=True, seed=2).torch()

    def rows(batches):
        return [batch["index"].tolist() for batch in batches]

    before = loader()
    begun = rows(itertools.islice(before, num_batches))
    after = loader()
    after.load_state_dict(before.state_dict())
    rest = rows(after) if num_batches < 8 else []
    assert begun + rest == rows(loader())
    assert after.epoch == 1


# What this machine does not have


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "device is 'cuda:99', and torch .* sees .* CUDA devices here"),
        ({"device": "mps"}, "device is 'mps'; give cpu or cuda"),
        ({"device": "meta"}, "device is 'meta'; give cpu or cuda"),
    ],
)
def test_other_devices(plain, options, message):
    with pytest.raises(ValueError, match=message):
        open_store(plain.path).loader(4).torch(**options)


def test_without_a_gpu(plain):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    loader = open_store(plain.path).loader(4)
    with pytest.raises(ValueError, match=r"device is 'cuda', and torch .* sees 0 CUDA devices"):
        loader.torch(device="cuda")
    with pytest.raises(ValueError, match=r"pin_memory is True, and torch .* sees no GPU here"):
        loader.torch(pin_memory=True)
    assert loader.torch(device="cpu").device == torch.device("cpu")


# On the way to a device


class LateLane:
    """A device that copies only when somebody waits for it, or when it gets to it.

    Whatever is written into pinned memory before that, it copies instead.
    """

    def __init__(self):
        self.pending = []
        self.pins = 0
        self.done = 0
        self.copies = weakref.WeakSet()

    def pinned(self, like):
        self.pins += 1
        return torch.empty_like(like)

    def send(self, staged):
        tensors = {name: torch.zeros_like(source) for name, source in staged.items()}
        self.pending.append([(tensors[name], source) for name, source in staged.items()])
        self.copies.update(tensors.values())
        return LateCopies(self, tensors, LateEvent(self, self.done + len(self.pending)))

    def advance(self, number):
        """Run the copies that were sent, in their order, up to one."""
        while self.done < number:
            for target, source in self.pending.pop(0):
                target.copy_(source)
            self.done += 1


@dataclass
class LateEvent:
    lane: LateLane
    number: int

    def synchronize(self):
        self.lane.advance(self.number)


@dataclass
class LateCopies:
    lane: LateLane
    tensors: dict
    event: LateEvent

    def deliver(self):
        return self.tensors  # the consumer's stream waits, not the consumer


def numbered(count):
    """Yield batches of one piece of memory that is used again and again."""
    memory = torch.zeros(3, dtype=torch.int32)
    for number in range(count):
        memory[:] = number
        yield {"x": memory, "number": number}, f"mark {number}"


@pytest.mark.parametrize("lag", range(5))
def test_no_batch_in_flight_is_overwritten(lag):
    lane = LateLane()
    delivered = []
    for batch, mark in sent_ahead(numbered(20), Staging(lane)):
        delivered.append(batch)
        assert mark == f"mark {batch['number']}"
        lane.advance(len(delivered) - lag)  # how far the device has come
    lane.advance(20)
    assert [batch["number"] for batch in delivered] == list(range(20))
    assert [batch["x"].tolist() for batch in delivered] == [[n] * 3 for n in range(20)]
    assert lane.pins == SLOTS


def test_one_batch_is_sent_ahead():
    lane = LateLane()
    for number, _ in enumerate(sent_ahead(numbered(6), Staging(lane))):
        assert lane.done + len(lane.pending) == min(number + 2, 6)


def test_batches_of_changing_shape():
    lane = LateLane()
    shapes = [(2, 3), (2, 3), (1, 3), (2, 3)]
    batches = [({"x": torch.full(shape, n)}, n) for n, shape in enumerate(shapes)]
    delivered = [batch["x"] for batch, _ in sent_ahead(iter(batches), Staging(lane))]
    lane.advance(4)
    assert [tuple(x.shape) for x in delivered] == shapes
    assert [int(x.float().mean()) for x in delivered] == [0, 1, 2, 3]


def test_an_error_comes_behind_the_batches_before_it():
    def batches():
        yield from itertools.islice(numbered(5), 3)
        raise ZeroDivisionError

    sent = sent_ahead(batches(), Staging(LateLane()))
    assert [next(sent)[0]["number"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(sent)


def test_device_memory_is_the_consumers_alone():
    """Of what it has dropped, nothing stays; of what is ahead, one batch."""
    lane = LateLane()
    batches = sent_ahead(numbered(6), Staging(lane))
    for _ in range(4):
        batch, _ = next(batches)
        lane.advance(lane.done + len(lane.pending))
        assert len(lane.copies) == 2
        del batch
        assert len(lane.copies) == 1


def test_a_loader_through_a_lane(plain):
    store = open_store(plain.path)
    lane = LateLane()
    loader = store.loader(5, shuffle=True, num_workers=1, prefetch=1).torch()
    for epoch in range(2):
        batches = list(loader._through(lane))
        lane.advance(lane.done + len(lane.pending))
        for batch in batches:
            check(batch, plain.pixels)
        rows = [batch["index"].tolist() for batch in batches]
        assert rows == [b["index"].tolist() for b in epoch_of(store, epoch)]


def epoch_of(store, number):
    loader = store.loader(5, shuffle=True, num_workers=0)
    loader.set_epoch(number)
    return loader


@pytest.mark.parametrize("num_batches", [0, 1, 5, 7, 8])
def test_the_state_is_the_consumers_not_that_of_what_is_ahead(plain, num_batches):
    store = open_store(plain.path)
    before = store.loader(5, shuffle=True).torch()
    batches = before._through(LateLane())
    for _ in range(num_batches):
        next(batches)
    plainly = store.loader(5, shuffle=True)
    for _ in itertools.islice(plainly, num_batches):
        pass
    assert before.state_dict() == plainly.state_dict()
    batches.close()
    assert before.state_dict() == plainly.state_dict()
    before.load_state_dict(before.state_dict())
    lane = LateLane()
    rest = list(before._through(lane))
    assert len(rest) == (8 - num_batches or 8)


def test_damage_comes_in_its_turn(make_store):
    written = make_store()
    loader = open_store(written.path).loader(4, num_workers=0).torch()
    written.shard(2).unlink()
    batches = loader._through(LateLane())
    for _ in range(4):
        next(batches)
    with pytest.raises(DamagedStoreError, match=r"c\.2\.0\.0\.0"):
        next(batches)


# On a GPU


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return torch.device("cuda")


@HOLDS_MUCH
def test_batches_on_a_gpu(plain, gpu):
    loader = open_store(plain.path).loader(5, shuffle=True).torch(device=gpu)
    for _ in range(3):
        busy = torch.zeros(4096, 4096, device=gpu)
        kept = []
        for batch in loader:
            busy @= busy  # the device lags behind
            kept.append(batch)
        for batch in kept:
            assert all(tensor.is_cuda for tensor in batch.values())
            check(batch, plain.pixels)


def test_memory_of_a_gpu_is_used_again_only_after_the_step(plain, gpu):
    loader = open_store(plain.path).loader(5).torch(device=gpu)
    sums = []
    busy = torch.zeros(4096, 4096, device=gpu)
    for batch in loader:
        for _ in range(10):
            busy @= busy
        sums.append(batch["image"].to(torch.float64).sum())
        del batch
    expected = [plain.pixels[n : n + 5].sum() for n in range(0, 37, 5)]
    assert [int(value) for value in sums] == expected


def test_pinned_batches(plain, gpu):
    for batch in open_store(plain.path).loader(5).torch(pin_memory=True):
        assert batch["image"].is_pinned()
        check({name: t.to(gpu, non_blocking=True) for name, t in batch.items()}, plain.pixels)

"""The examples of the guides to frameworks and augmentation run, and do what the guides say."""

import functools
import importlib
import itertools
import re
import socket
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from patchmill.reader import Loader, open_store

BORDER, SIZE = 54, 256  # what the guide says to store, around patches of that size
STORED = SIZE + 2 * BORDER
CELLS = "labels/cells"
EXTRAS = {"warps": "cv2", "augment": "cv2", "albums": "albumentations"}


def blocks(guide, section=""):
    """Return the Python examples of a guide, or of one of its sections."""
    file = Path(str(files("patchmill.reader"))) / guide
    if not file.exists():
        pytest.skip("an installed package has no guides")
    text = file.read_text()
    if section:
        (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def modules():
    """Return those examples of the guide to augmentation that are files, by name."""
    named = [re.match(r"# (\w+)\.py\n", block) for block in blocks("AUGMENTATION.md")]
    return {match[1]: match.string for match in named if match}


def epoch_of(loader):
    """Return copies of an epoch's batches."""
    return [{name: array.copy() for name, array in batch.items()} for batch in loader]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that imports a file of the guide, as worker processes can too."""
    for name, code in modules().items():
        assert importlib.util.find_spec(name) is None, f"{name} is the name of something else too"
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # or it looks for a newer version of itself

    def imported(name):
        if name in EXTRAS:
            pytest.importorskip(EXTRAS[name], reason=f"{name}.py needs {EXTRAS[name]}")
        return importlib.import_module(name)

    yield imported
    for name in modules():
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def field_of_view():
    """A sample of a few cells: bright spots of an image, and a disk of a label map around each."""
    y, x = np.indices((STORED, STORED))
    image = np.full((2, STORED, STORED), 100.0)
    cells = np.zeros((1, STORED, STORED), np.int32)
    places = itertools.product((100, 180, 270), (90, 190, 260))
    for number, (top, left) in enumerate(places):
        away = (y - top) ** 2 + (x - left) ** 2
        image[number % 2] += 20_000 * np.exp(-away / 18)
        cells[0, away < 150] = 70_001 + number  # more than 16 bits hold
    return {"image": image.astype(np.uint16), CELLS: cells}


def fresh(sample):
    return {name: array.copy() for name, array in sample.items()}


def farthest(sample):
    """Return how far a spot lies from the middle of its disk at most, and how many there are."""
    light = (sample["image"].astype(np.float64) - 100).sum(0)
    y, x = np.indices(light.shape)
    cells = sample[CELLS][0]
    distances = []
    for number in np.unique(cells[cells > 0]):
        inside = cells == number
        if any((y[inside] == edge).any() or (x[inside] == edge).any() for edge in (0, len(y) - 1)):
            continue
        weight = light[inside] / light[inside].sum()
        dy = (y[inside] * weight).sum() - y[inside].mean()
        dx = (x[inside] * weight).sum() - x[inside].mean()
        distances.append(np.hypot(dy, dx))
    return max(distances), len(distances)


def check_alike(before, after, tolerance):
    """Check that image and label map moved alike, and that nothing was made up."""
    for name in before:
        assert after[name].dtype == before[name].dtype
        assert after[name].ndim == 3
    assert np.isin(after[CELLS], before[CELLS]).all()
    distance, count = farthest(after)
    assert count >= 5
    assert distance < tolerance


def test_right_angles_and_flips_are_exact(load):
    moves = load("moves")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (2, 6, 6)).astype(np.uint16)
    sample = {"image": image, CELLS: image[:1].astype(np.int64), "masks/all": image > 9}
    for move, outcomes in ((moves.flips, 4), (moves.right_angles, 4)):
        seen = Counter()
        for _ in range(200):
            moved = move(sample, rng)
            np.testing.assert_array_equal(moved["image"][:1], moved[CELLS])
            np.testing.assert_array_equal(moved["image"] > 9, moved["masks/all"])
            assert {name: part.dtype for name, part in moved.items()} == {
                name: part.dtype for name, part in sample.items()
            }
            seen[moved["image"].tobytes()] += 1
        assert len(seen) == outcomes
        assert min(seen.values()) > 25


def test_warps_move_labels_with_the_image(load, field_of_view):
    warps = load("warps")
    moved = [
        warps.warp(fresh(field_of_view), np.random.default_rng(number)) for number in range(12)
    ]
    assert len({sample["image"].tobytes() for sample in moved}) == 12
    for sample in moved:
        assert sample["image"].shape == (2, SIZE, SIZE)
        check_alike(field_of_view, sample, 0.5)


def test_a_warp_that_does_nothing_is_the_middle_crop(load, field_of_view):
    warps = load("warps")
    for height, width in ((SIZE, SIZE), (STORED, STORED), (255, 17)):
        y, x = warps.sources((STORED, STORED), (height, width), np.eye(2), np.zeros(2))
        (expected,) = Loader(
            {name: part[None] for name, part in field_of_view.items()}, 1, crop=(height, width)
        )
        for name, part in field_of_view.items():
            moved = warps.moved(part, y, x, smooth=name == "image")
            np.testing.assert_array_equal(moved, expected[name][0])


class Extreme:
    """Draws the ends of intervals: the least or the most, as told."""

    def __init__(self, ends):
        self._ends = iter(ends)

    def uniform(self, low, high, size=None):
        drawn = [(low, high)[next(self._ends)] for _ in range(size or 1)]
        return np.array(drawn) if size else drawn[0]


def test_the_border_is_enough(load, field_of_view, monkeypatch):
    warps = load("warps")
    seen = []
    monkeypatch.setattr(warps, "moved", lambda array, y, x, smooth: seen.extend((y, x)))
    for ends in itertools.product((0, 1), repeat=5):
        warps.warp(field_of_view, Extreme(ends))
    assert len(seen) == 2 * 2 * 32
    least, most = min(each.min() for each in seen), max(each.max() for each in seen)
    assert 0 < least < 8, "too narrow, or wider than it has to be"
    assert STORED - 9 < most < STORED - 1


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint32", "int64", "uint64", "bool"])
def test_label_maps_of_any_dtype(load, dtype):
    warps = load("warps")
    most = 1 if dtype == "bool" else np.iinfo(dtype).max
    labels = np.zeros((1, 40, 40), dtype)
    labels[0, np.eye(40) > 0] = most
    matrix = np.array([[1.0, 0.1], [-0.1, 1.0]])
    y, x = warps.sources((40, 40), (40, 40), matrix, np.full(2, 0.3))
    moved = warps.moved(labels, y, x, smooth=False)
    assert moved.dtype == labels.dtype
    assert set(np.unique(moved).tolist()) == {0, int(most)}
    stack = warps.moved(labels[0], y, x, smooth=False)  # a label map without c
    np.testing.assert_array_equal(stack, moved[0])


def test_blur(load, field_of_view):
    blurred = load("warps").blur(fresh(field_of_view), np.random.default_rng(0))
    check_alike(field_of_view, blurred, 0.1)
    before, after = field_of_view["image"].astype(float), blurred["image"].astype(float)
    assert (after.max((1, 2)) < before.max((1, 2))).all()
    np.testing.assert_allclose(after.mean(), before.mean(), rtol=0.01)


def test_counts_never_wrap(load):
    counts = load("counts")
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 200, (3, 20, 20))
    bright = rng.integers(64_000, 65_536, (3, 20, 20))
    image = np.concatenate([dark, bright], 1).astype(np.uint16)
    cells = np.ones((1, 40, 20), np.int32)
    full = 0
    for change in (counts.intensity, counts.noise):
        for _ in range(50):
            changed = change({"image": image.copy(), CELLS: cells}, rng)
            assert changed[CELLS] is cells
            x = changed["image"]
            assert x.dtype == np.uint16
            assert x[:, :20].max() < x[:, 20:].min()
            assert x[:, 20:].min() > 40_000
            full += (x == 65_535).sum()
    assert full > 0, "nothing was clipped, so nothing was tested"
    values = np.array([-1e9, -0.6, 0.4, 1.5, 65535.4, 65536, 1e9], np.float32)
    assert counts.as_counts(values, np.uint16).tolist() == [0, 0, 0, 2, 65535, 65535, 65535]
    assert counts.as_counts(values, np.uint8).tolist() == [0, 0, 0, 2, 255, 255, 255]
    every = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(counts.as_counts(every.astype(np.float32), np.uint16), every)


def test_intensity_is_drawn_for_each_channel(load):
    counts = load("counts")
    ramp = np.linspace(100, 3000, 400).astype(np.uint16).reshape(20, 20)
    changed = counts.intensity({"image": np.stack([ramp] * 3)}, np.random.default_rng(1))["image"]
    assert len({channel.tobytes() for channel in changed}) == 3
    for channel in changed:  # gain, gamma and offset keep the order of counts
        assert (np.diff(channel.ravel().astype(int)) >= 0).all()


def test_noise_is_that_of_a_camera(load):
    counts = load("counts")
    for light, photons_per_count, read_noise in ((0, 0.5, 3.0), (400, 0.5, 3.0), (400, 4.0, 8.0)):
        image = np.full((1, 300, 300), counts.BLACK + light, np.uint16)
        noisy = counts.noise(
            {"image": image}, np.random.default_rng(2), photons_per_count, read_noise
        )["image"].astype(float)
        variance = light / photons_per_count + read_noise**2 + 1 / 12  # rounding adds the last
        assert abs(noisy.mean() - counts.BLACK - light) < 5 * np.sqrt(variance / noisy.size)
        assert abs(noisy.var() / variance - 1) < 0.03


@pytest.fixture
def arrays(tmp_path):
    """Images and label maps in files, with a border, as memory maps."""
    rng = np.random.default_rng(3)
    images = rng.poisson(300, (12, 2, STORED, STORED)).astype(np.uint16)
    cells = rng.integers(0, 90_000, (12, 1, STORED, STORED), dtype=np.int32)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "cells.npy", cells)
    return {
        "image": np.load(tmp_path / "images.npy", mmap_mode="r"),
        CELLS: np.load(tmp_path / "cells.npy", mmap_mode="r"),
    }


@pytest.mark.parametrize("way", ["augment", "mixup", "cutmix", "albums"])
def test_the_same_bytes_for_any_workers_and_after_a_resume(load, arrays, way):
    options = {
        "augment": lambda: {"transform": load("augment").augment},
        "mixup": lambda: {"crop": (32, 32), "batch_transform": load("mixes").mixup},
        "cutmix": lambda: {"crop": (32, 32), "batch_transform": load("mixes").cutmix},
        "albums": lambda: {"crop": (64, 64), "transform": load("albums").album},
    }[way]()
    make = functools.partial(Loader, arrays, 4, shuffle=True, seed=5, **options)
    expected = epoch_of(make(num_workers=0))
    assert len(expected) == 3
    plain = make(num_workers=0, transform=None, batch_transform=None)
    assert epoch_of(plain)[0]["image"].tobytes() != expected[0]["image"].tobytes()
    for num_workers, backend in ((2, "thread"), (2, "process")):
        with make(num_workers=num_workers, backend=backend) as loader:
            batches = iter(loader)
            same(expected[0], next(batches))
            batches.close()
            resumed = make(num_workers=num_workers, backend=backend)
            resumed.load_state_dict(loader.state_dict())
        with resumed:
            for one, other in zip(expected[1:], resumed, strict=True):
                same(one, other)


def same(one, other):
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        np.testing.assert_array_equal(array, other[name])


def test_mixup(load):
    """Sample i is i everywhere; the last batch has two rows that are not valid."""
    values = np.arange(1, 15, dtype=np.uint16)
    images = np.broadcast_to(values[:, None, None, None], (14, 2, 8, 6)).copy()
    source = {"image": images}
    pairs = 0
    for batch in Loader(source, 8, shuffle=True, batch_transform=load("mixes").mixup):
        own = np.where(batch["valid"], batch["index"] + 1, 0).astype(float)
        share, partner = batch["share"], batch["partner"]
        expected = share * own + (1 - share) * own[partner]
        assert batch["image"].dtype == np.float32
        np.testing.assert_allclose(
            batch["image"], expected[:, None, None, None] + 0 * batch["image"], rtol=1e-5
        )
        assert sorted(partner) == list(range(8))
        assert (partner[~batch["valid"]] == np.flatnonzero(~batch["valid"])).all()
        assert ((share >= 0) & (share <= 1)).all()
        pairs += (partner != np.arange(8)).sum()
    assert pairs > 8


def test_cutmix(load):
    """Sample i is i everywhere, in the image and in the label map."""
    values = np.arange(1, 15)[:, None, None, None]
    source = {
        "image": np.broadcast_to(values, (14, 2, 40, 30)).astype(np.uint16),
        CELLS: np.broadcast_to(values, (14, 1, 40, 30)).astype(np.int32),
    }
    pasted = 0
    for batch in Loader(source, 8, shuffle=True, batch_transform=load("mixes").cutmix):
        assert (batch["image"].dtype, batch[CELLS].dtype) == (np.uint16, np.int32)
        assert (batch["image"] == batch[CELLS]).all()
        own = np.where(batch["valid"], batch["index"] + 1, 0)
        for row, other in enumerate(batch["partner"]):
            cells = batch[CELLS][row]
            assert np.isin(cells, [own[row], own[other]]).all()
            if other != row:
                np.testing.assert_allclose(
                    (cells == own[row]).mean(), batch["share"][row], atol=1e-6
                )
                pasted += (cells == own[other]).any()
    assert pasted > 5


def test_albumentations(load, field_of_view):
    album = load("albums").album
    flips = Counter()
    for number in range(60):
        moved = album(fresh(field_of_view), np.random.default_rng(number))
        check_alike(field_of_view, moved, 1.0)
        y, x = np.argwhere(moved[CELLS][0] == 70_001).mean(0) < STORED / 2
        flips[bool(y), bool(x)] += 1
    assert len(flips) == 4, "mirrored in y and x always together"


def test_the_guide_to_augmentation(load, arrays, new_store, monkeypatch):
    load("augment")
    written = new_store(
        rows=20, shape=(2, STORED, STORED), splits={"train": 14, "val": 6}, rows_per_shard=4
    )
    folder = Path(arrays["image"].filename).parent
    (folder / "train.zarr").symlink_to(written.path)
    monkeypatch.chdir(folder)
    scripts = [block for block in blocks("AUGMENTATION.md") if not block.startswith("# ")]
    names = {"__name__": "__main__"}
    seen = []
    for script in scripts:
        exec(script, names)
        seen.append(names["batch"])
    names["loader"].close()
    trained, evaluated, labelled, mixed = seen
    assert (trained["image"].shape, trained["image"].dtype) == ((8, 2, SIZE, SIZE), np.uint16)
    rows = evaluated["index"]
    assert rows.tolist() == [14, 15, 16, 17, 18, 19, -1, -1]
    window = slice(BORDER, BORDER + SIZE)
    np.testing.assert_array_equal(
        evaluated["image"][:6], written.pixels[rows[:6], :, window, window]
    )
    assert (labelled[CELLS].shape, labelled[CELLS].dtype) == ((8, 1, SIZE, SIZE), np.int32)
    assert (mixed["image"].shape, mixed["image"].dtype) == ((8, 2, SIZE, SIZE), np.float32)
    assert sorted(names["partners"]) == sorted(names["own"])


@pytest.fixture
def prepared(new_store, tmp_path, monkeypatch):
    """A store in the working folder, and one rank of one for torch.distributed."""
    written = new_store(rows=150, splits={"train": 130, "val": 20})
    (tmp_path / "train.zarr").symlink_to(written.path)
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }.items():
        monkeypatch.setenv(name, value)
    return written


def run(section):
    """Run the examples of a section of the guide to frameworks, in order."""
    names = {"__name__": "__main__"}
    for example in blocks("FRAMEWORKS.md", section):
        exec(example, names)
    return names


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_pytorch(prepared):
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: pip install 'patchmill[torch]'"
    )
    names = run("PyTorch")
    assert [len(rows) for rows in names["rest"]] == [64, 2]
    assert names["batch"]["image"].dtype == torch.uint16
    assert names["x"].shape == (64, 2, 12, 10)
    assert np.isfinite(names["loss"].item())


def test_jax(prepared):
    jax = pytest.importorskip("jax", reason="jax is not installed: it is in no extra of ours")
    names = run("JAX")
    assert names["loader"].epoch == 2
    image, valid = names["image"], names["batch"]["valid"]
    assert image.dtype == jax.numpy.uint16
    rows = names["batch"]["index"][valid]
    np.testing.assert_array_equal(np.asarray(image)[valid], prepared.pixels[rows])
    assert valid.sum() == 2
    assert np.isfinite(float(names["value"]))


@pytest.mark.filterwarnings("ignore:batches go into fresh memory:RuntimeWarning")
@pytest.mark.parametrize("way", ["from_dlpack", "asarray", "device_put", "step"])
def test_jax_arrays_are_never_overwritten(prepared, way):
    jax = pytest.importorskip("jax", reason="jax is not installed: it is in no extra of ours")
    take = {
        "from_dlpack": jax.dlpack.from_dlpack,
        "asarray": jax.numpy.asarray,
        "device_put": jax.device_put,
        "step": jax.jit(lambda image: image + 1),  # returns before it is done
    }[way]
    store = open_store("train.zarr")
    loader = store.loader(8, shuffle=True, num_workers=2)
    kept = []
    for batch in loader:
        kept.append((batch["index"], batch["valid"], take(batch["image"])))
        del batch
    for index, valid, array in kept:
        expected = prepared.pixels[index[valid]] + (way == "step")
        np.testing.assert_array_equal(np.asarray(array)[valid], expected)


def test_tensorflow(prepared):
    tf = pytest.importorskip(
        "tensorflow", reason="TensorFlow is not installed: it is in no extra of ours"
    )
    names = run("TensorFlow")
    assert names["loader"].epoch == 2
    assert len(names["dataset"]) == 3
    batch = {name: tensor.numpy() for name, tensor in names["batch"].items()}
    rows = batch["index"][batch["valid"]]
    assert names["batch"]["image"].dtype == tf.uint16
    np.testing.assert_array_equal(batch["image"][batch["valid"]], prepared.pixels[rows])
    assert len(rows) == 2
    assert np.isfinite(names["value"].numpy())

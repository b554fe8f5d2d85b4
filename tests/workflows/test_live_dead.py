"""The demo to its end: masks made of the stains are true, and a network learns from them alone.

It sees nothing but the bright field, in which no brightness tells the living from the dead.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import zarr

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.reader.loader import Loader
from patchmill.workflows.demo import run_demo
from patchmill.workflows.plate import CLASSES
from patchmill.workflows.plate_truth import agreement

LIVE, DEAD = 1, 2
EPOCHS, BATCH = 12, 16


@pytest.fixture(scope="module")
def demo(tmp_path_factory, survey_cache):
    """The demo's folder, with images a third as large as the demo's own."""
    folder = tmp_path_factory.mktemp("live-dead") / "demo"
    run_demo(folder, workers=2, say=lambda line: None, shape=(512, 512))
    return folder


@pytest.fixture(scope="module")
def masks_and_truth(demo):
    """All masks of the store, the truth under the same windows, and each patch's well."""
    store = open_store(demo / "demo.zarr")
    size = store.fields["image"].shape[-1]
    truth = []
    for row in range(len(store)):
        image, y, x = (int(store.index[name][row]) for name in ("image", "y", "x"))
        truth.append(truth_of(demo, store, image)[y : y + size, x : x + size])
    wells = store.images["well"][store.index["image"][:]]
    return store.read(range(len(store)))["masks/cells"], np.stack(truth), wells


def truth_of(demo, store, image):
    """Return the classes of a whole image, as its maker knows them."""
    name = f"{store.images['well'][image]}_s{store.images['site'][image]}_classes.png"
    return cv2.imread(str(demo / "plate" / "truth" / name), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("number", [LIVE, DEAD])
def test_masks_agree_with_the_truth(demo, masks_and_truth, number):
    masks, truth, wells = masks_and_truth
    assert masks.shape == truth.shape
    assert len(set(wells)) == 12
    found, true = masks == number, truth == number
    overall = np.sum(found & true) / np.sum(found | true)
    assert overall > 0.88
    said = agreement(open_store(demo / "demo.zarr"), demo / "plate")
    assert said[CLASSES[number]] == overall
    # ... and in each well where there are some, so that no part of the light is left.
    for well in set(wells):
        here = wells == well
        if true[here].mean() > 0.01:
            assert np.sum((found & true)[here]) / np.sum((found | true)[here]) > 0.8


def test_a_plate_without_its_truth_is_an_error(demo, tmp_path):
    with pytest.raises(PatchmillError, match=r"_classes\.png: the truth is gone"):
        agreement(open_store(demo / "demo.zarr"), tmp_path)


def test_patches_without_cells_are_left_out_and_no_others(demo):
    store = open_store(demo / "demo.zarr")
    columns = zarr.open_group(demo / "demo.zarr", mode="r")["candidates"]
    image, y, x, kept, reason = (columns[name][:] for name in ("image", "y", "x", "kept", "reason"))
    of_pixels = columns["reason"].attrs["names"].index("foreground")
    assert np.count_nonzero(kept) == len(store)
    assert 10 < np.count_nonzero(reason == of_pixels) < 0.3 * len(store)
    size = store.fields["image"].shape[-1]
    for n in np.flatnonzero(kept | (reason == of_pixels)):
        share = np.mean(truth_of(demo, store, image[n])[y[n] : y[n] + size, x[n] : x[n] + size] > 0)
        assert share > 0.015 if kept[n] else share < 0.035


@pytest.fixture(scope="module")
def scores(demo):
    """What networks reach on wells that they never saw: macro F1 of all pixels, and in cells."""
    torch = pytest.importorskip("torch")
    store = open_store(demo / "demo.zarr")
    train, test = (store.select(split=split) for split in ("train", "test"))
    assert not set(train.column("well")) & set(test.column("well"))
    assert store.channels[0] == "brightfield"  # which is all that `bright_field` gives
    true = test.read(range(len(test)))["masks/cells"]
    guesses = {
        "all background": np.zeros_like(true),
        "all live": np.full_like(true, LIVE),
        "all dead": np.full_like(true, DEAD),
    }
    everything = train.read(range(len(train)))
    order = np.random.default_rng(0).permutation(len(train))
    shuffled = {
        "image": everything["image"],
        "masks/cells": everything["masks/cells"][order],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums on any machine, and no waiting for a busy core
    try:
        for name, source in (("masks", train), ("shuffled masks", shuffled)):
            guesses[name] = predicted(torch, trained(torch, source), test)
    finally:
        torch.set_num_threads(threads)
    in_cells = true > 0
    return {
        name: (macro_f1(guess, true), macro_f1(guess[in_cells], true[in_cells]))
        for name, guess in guesses.items()
    }


def test_a_network_learns_what_neither_chance_nor_brightness_gives(scores):
    for n in range(2):  # of all pixels, and of those in cells
        learnt = scores["masks"][n]
        # A network that knows nothing may say the most frequent class of pixels, background, or of
        # cells; or what it has learnt from masks that are not those of its images.
        for name in ("all background", "all live", "all dead", "shuffled masks"):
            assert learnt > scores[name][n] + (0.4, 0.35)[n], scores
        assert learnt > (0.75, 0.8)[n], scores


def trained(torch, source):
    """Return a small network, trained from the bright field and the masks of a source."""
    torch.manual_seed(0)
    network = small_network(torch)
    loader = Loader(
        source, BATCH, shuffle=True, seed=0, crop=(128, 128), random_crop=True, drop_last=True
    )
    optimizer = torch.optim.Adam(network.parameters())
    steps = EPOCHS * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    loss = torch.nn.CrossEntropyLoss(torch.tensor([0.4, 1.0, 1.5]), ignore_index=255)
    for _ in range(EPOCHS):
        for batch in loader:
            wanted = torch.from_numpy(batch["masks/cells"].astype(np.int64))
            optimizer.zero_grad()
            loss(network(bright_field(torch, batch)), wanted).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def predicted(torch, network, view):
    """Return classes, in the order of the view."""
    guesses = []
    with torch.no_grad():
        for batch in view.loader(batch_size=8):
            guess = network(bright_field(torch, batch)).argmax(1)
            guesses.append(guess.numpy()[batch["valid"]])
    return np.concatenate(guesses)


def bright_field(torch, batch):
    """Return the only channel that networks see, shape (n, 1, y, x), about -1 to 1."""
    return torch.from_numpy(batch["image"][:, :1].astype(np.float32)) / 32768 - 1


def small_network(torch):
    """Return a network of five convolutions at half and a quarter of the resolution."""

    def convolution(inputs, outputs, *, stride=1, dilation=1):
        return (
            torch.nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            torch.nn.BatchNorm2d(outputs),
            torch.nn.ReLU(),
        )

    return torch.nn.Sequential(
        torch.nn.PixelUnshuffle(2),
        *convolution(4, 16),
        *convolution(16, 32, stride=2),
        *convolution(32, 32, dilation=2),
        *convolution(32, 32, dilation=4),
        *convolution(32, 32),
        torch.nn.Conv2d(32, 3 * 16, 1),
        torch.nn.PixelShuffle(4),
    )


def macro_f1(found, true):
    """Return the mean of the F1 of living and dead pixels."""
    scores = []
    for number in (LIVE, DEAD):
        both = np.sum((found == number) & (true == number))
        scores.append(2 * both / (np.sum(found == number) + np.sum(true == number)))
    return float(np.mean(scores))

"""The synthetic plate looks like one: names, dose series, camera, light."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import tifffile

from patchmill.reader.errors import PatchmillError
from patchmill.workflows.plate import (
    CHANNELS,
    CLASSES,
    MICRONS_PER_PIXEL,
    PATTERN,
    dead_shares,
    make_plate,
)
from patchmill.workflows.plate_cells import draw_cell
from patchmill.workflows.plate_light import OFFSET_COUNTS, OPTICS, expose, illumination, refract
from patchmill.workflows.plate_scene import grow

SHAPE = (300, 420)
ENDS = (slice(None, 40), slice(-40, None))


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Two wells, the first mostly alive, the second mostly dead; images by (well, channel)."""
    folder = tmp_path_factory.mktemp("demo") / "plate"
    paths = make_plate(folder, wells=("A01", "H12"), sites=2, shape=SHAPE, seed=3)
    return folder, paths


def read(plate, well, channel, site=1):
    return tifffile.imread(plate[0] / f"{well}_s{site}_w{channel}.tif")


@pytest.fixture(scope="module")
def scene():
    """A field with as many dead cells as living ones."""
    rng = np.random.default_rng(1)
    living, dead = ([draw_cell(rng, alive) for _ in range(48)] for alive in (True, False))
    return grow((1000, 1000), living, dead, 0.5, rng)


def test_one_file_per_well_site_and_channel(plate):
    folder, paths = plate
    assert [path.name for path in paths] == [
        f"{well}_s{site}_w{channel}.tif"
        for well in ("A01", "H12")
        for site in (1, 2)
        for channel in (1, 2, 3)
    ]
    assert sorted(folder.glob("*.tif")) == paths
    for path in paths:
        found = re.search(PATTERN, path.name)
        assert found is not None
        assert found["channel"] in CHANNELS


def test_files_are_single_16_bit_planes_in_strips(plate):
    for path in plate[1]:
        with tifffile.TiffFile(path) as tiff:
            (page,) = tiff.pages
            assert (page.shape, page.dtype) == (SHAPE, np.uint16)
            assert not page.is_tiled
            x_resolution = page.tags["XResolution"].value
            assert 1e4 * x_resolution[1] / x_resolution[0] == pytest.approx(MICRONS_PER_PIXEL)


def test_the_drug_kills_along_the_series(plate):
    shares = dead_shares(6)
    assert np.all(np.diff(shares) > 0)
    assert shares[0] < 0.1
    assert shares[-1] > 0.8
    assert dead_shares(1) == pytest.approx(0.475)

    def area(well, channel, threshold):
        return np.mean([(read(plate, well, channel, site) > threshold).mean() for site in (1, 2)])

    assert area("A01", 1, 1200) > 3 * area("H12", 1, 1200)
    assert area("H12", 2, 1200) > 3 * area("A01", 2, 1200)


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_light_falls_off_towards_the_corners(plate, channel):
    # The ground between the cells: the median for fluorescence and bright field alike.
    image = read(plate, "A01", channel).astype(float) - OFFSET_COUNTS
    y, x = SHAPE[0] // 3, SHAPE[1] // 3
    middle = np.percentile(image[y:-y, x:-x], 30)
    corner = min(np.percentile(image[v, h], 30) for v in ENDS for h in ENDS)
    assert corner < 0.95 * middle


def test_the_camera_has_an_offset_and_shot_noise():
    rng = np.random.default_rng(0)
    dark = expose(np.zeros((200, 200), np.float32), rng)
    assert dark.mean() == pytest.approx(OFFSET_COUNTS, abs=0.1)
    assert 1 < dark.std() < 4
    # Shot noise grows with the root of the light.
    deviations = [expose(np.full((200, 200), v, np.float32), rng).std() for v in (2500, 10000)]
    assert deviations[1] / deviations[0] == pytest.approx(2, rel=0.03)
    assert expose(np.full((2, 2), 1e6, np.float32), rng).min() == 65535


def test_the_truth_lies_beside_the_images(plate):
    folder, _ = plate
    for well, site in [("A01", 1), ("A01", 2), ("H12", 1), ("H12", 2)]:
        truth = folder / "truth" / f"{well}_s{site}"
        classes, cells = (
            cv2.imread(f"{truth}_{kind}.png", cv2.IMREAD_UNCHANGED) for kind in ("classes", "cells")
        )
        assert (classes.shape, classes.dtype) == (SHAPE, np.uint8)
        assert (cells.shape, cells.dtype) == (SHAPE, np.uint16)
        assert set(np.unique(classes)) <= set(CLASSES)
        assert np.array_equal(classes == 0, cells == 0)
        for number in np.unique(cells)[1:]:  # a cell is of one class
            assert len(np.unique(classes[cells == number])) == 1
    assert len(list((folder / "truth").iterdir())) == 8


@pytest.mark.parametrize(("channel", "number"), [(1, 1), (2, 2)])
def test_a_stain_shines_where_its_cells_are(plate, channel, number):
    # By a threshold on light that only this test can know; the store's masks are held elsewhere.
    optics = OPTICS[channel - 1]
    both = either = 0
    for well in ("A01", "H12"):
        image = read(plate, well, channel) - OFFSET_COUNTS
        shines = image / illumination(SHAPE, optics) > optics.background + 0.17 * optics.signal
        path = str(plate[0] / "truth" / f"{well}_s1_classes.png")
        truth = cv2.imread(path, cv2.IMREAD_UNCHANGED) == number
        if number == 1:  # dead cells lie on the living
            shines &= cv2.imread(path, cv2.IMREAD_UNCHANGED) != 2
        both += np.sum(shines & truth)
        either += np.sum(shines | truth)
    assert both / either > 0.88


def test_living_and_dead_are_as_bright_as_each_other(scene):
    light = refract(scene.height)
    live, dead = light[scene.classes == 1], light[scene.classes == 2]
    spread = np.sqrt((live.var() + dead.var()) / 2)
    assert abs(live.mean() - dead.mean()) < 0.1 * spread
    assert abs(live.mean() - 1) < 0.7 * spread  # ... and the ground is 1
    assert 0.8 < live.std() / dead.std() < 1.25
    # No threshold tells them apart: the chance that a dead pixel is brighter than a living one.
    rng = np.random.default_rng(0)
    chance = np.mean(rng.choice(dead, 100_000) > rng.choice(live, 100_000))
    assert chance == pytest.approx(0.5, abs=0.05)


def test_living_and_dead_differ_in_texture_and_outline(scene):
    light = refract(scene.height)
    smooth = cv2.GaussianBlur(light, (0, 0), 3)
    grain = cv2.GaussianBlur(light, (0, 0), 1) - smooth
    # Of the same variance, more is coarse in living cells and fine in dead ones.
    fineness = [grain[scene.classes == k].std() / smooth[scene.classes == k].std() for k in (1, 2)]
    assert fineness[1] > 1.4 * fineness[0]

    def elongation(alive):
        rng = np.random.default_rng(2)
        axes = []
        for _ in range(30):
            y, x = np.nonzero(draw_cell(rng, alive).inside)
            axes.append(np.sqrt(np.linalg.eigvalsh(np.cov(y, x))))
        return np.median([long / short for short, long in axes])

    assert elongation(alive=True) > 1.6
    assert elongation(alive=False) < 1.3


def test_the_seed_decides_and_the_site_matters(plate, tmp_path):
    again = make_plate(tmp_path / "same", wells=("A01", "H12"), sites=2, shape=SHAPE, seed=3)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in plate[1]]
    for path in (plate[0] / "truth").iterdir():
        assert (tmp_path / "same" / "truth" / path.name).read_bytes() == path.read_bytes()
    (other, *_) = make_plate(tmp_path / "other", wells=("A01",), sites=1, shape=SHAPE, seed=4)
    assert other.read_bytes() != plate[1][0].read_bytes()
    assert np.any(read(plate, "A01", 1, site=1) != read(plate, "A01", 1, site=2))


def test_nothing_is_overwritten(plate, tmp_path):
    there = tmp_path / "A01_s1_w2.tif"
    there.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"A01_s1_w2\.tif exists") as caught:
        make_plate(tmp_path, wells=("A01",), shape=SHAPE)
    assert isinstance(caught.value, PatchmillError)
    assert list(tmp_path.iterdir()) == [there]
    assert there.read_bytes() == b"mine"


@pytest.mark.parametrize("shape", [(20, 700), (64, 64)])
def test_small_images_work_too(tmp_path, shape):
    paths = make_plate(tmp_path, wells=("A01",), sites=1, shape=shape)
    assert [tifffile.imread(path).shape for path in paths] == [shape] * 3


@pytest.mark.parametrize("alive", [True, False])
def test_cells_end_before_their_picture_does(alive):
    # Otherwise the stamp's border would show as a straight edge.
    rng = np.random.default_rng(0)
    for _ in range(40):
        cell = draw_cell(rng, alive)
        for plane in cell:
            border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
            assert border.max() < 0.01
            assert plane.min() >= 0
        assert cell.inside.sum() > 150
        assert (cell.iodide.max() > 0.5) == (not alive)
        assert (cell.calcein.max() > 0.3) == alive

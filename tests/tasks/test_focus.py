"""The sharpness of planes: the sharp one wins, not the noisy one; the same by any bands."""

import math

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.focus import FocusScore, sharpness


def in_bands(plane, cuts):
    score = FocusScore()
    for band in np.split(plane, sorted(cuts)):
        score.add(band)
    return score.value


@given(
    shape=st.tuples(st.integers(0, 40), st.integers(0, 20)),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    dtype=st.sampled_from(["uint8", ">u2", "int32", "float32", "float64"]),
    seed=st.integers(0, 100),
)
def test_bands_do_not_matter(shape, cuts, dtype, seed):
    plane = np.random.default_rng(seed).normal(100, 20, shape).astype(dtype)
    assert in_bands(plane, [cut for cut in cuts if cut < shape[0]]) == sharpness(plane)


@pytest.mark.parametrize("shape", [(700, 333), (3, 50_000), (50_000, 3)])
def test_bands_of_large_planes_do_not_matter(shape):
    plane = np.random.default_rng(0).normal(1000, 200, shape).astype(np.float32)
    assert in_bands(plane, range(1, shape[0], 97)) == sharpness(plane)
    assert sharpness(np.asfortranarray(plane)) == sharpness(plane)


def test_it_is_vollaths_autocorrelation():
    """As he writes it, but for the borders, which a dark frame makes the same."""
    plane = np.zeros((60, 50), np.int64)
    plane[3:-3, 3:-3] = np.random.default_rng(1).integers(0, 65536, (54, 44))

    def f4(rows):
        sums = (rows[:, :-2] * rows[:, 1:-1]).sum() - (rows[:, :-2] * rows[:, 2:]).sum()
        return sums / (rows.shape[0] * (rows.shape[1] - 2))

    expected = (f4(plane) + f4(plane.T)) / 2
    assert sharpness(plane.astype(np.uint16)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float32])
def test_planes_without_anything_in_them(dtype):
    assert sharpness(np.full((30, 20), 77, dtype)) == 0
    for shape in [(0, 0), (0, 5), (5, 0), (1, 1), (2, 2)]:
        assert sharpness(np.ones(shape, dtype)) == 0
    ramp = np.arange(6, dtype=dtype) ** 2
    assert sharpness(ramp[None]) == sharpness(ramp[:, None]) > 0


def test_an_offset_makes_no_difference():
    plane = np.random.default_rng(2).integers(0, 5000, (64, 64))
    assert sharpness(plane) == sharpness(plane + 50_000) == sharpness(plane[::-1, ::-1])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_chosen(wrong):
    plane = np.random.default_rng(3).normal(0, 1, (64, 64))
    plane[40, 5] = wrong
    assert sharpness(plane) == -math.inf
    assert sharpness(np.full((8, 8), 1e300)) == 0
    assert sharpness(np.eye(64) * 1e300) == -math.inf


def test_what_is_no_plane():
    with pytest.raises(ValueError, match=r"shape \(3, 4, 4\); give rows of one plane"):
        sharpness(np.zeros((3, 4, 4)))
    score = FocusScore()
    score.add(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"shape \(3, 5\)"):
        score.add(np.zeros((3, 5)))


def stack(kind, light, seed):
    """Return a stack whose plane 6 is sharp: blurred by its distance, then shot and read noise."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((256, 256))
    for y, x, r in zip(*rng.integers(10, 246, (2, 60)), rng.integers(2, 9, 60), strict=True):
        cv2.circle(scene, (int(x), int(y)), int(r), float(rng.uniform(0.3, 1)), -1)
    if kind == "bright field":
        scene = 1 - 0.4 * scene
    planes = []
    for z in range(13):
        blurred = cv2.GaussianBlur(scene, (0, 0), 0.8 + 0.7 * abs(z - 6))
        # Light is lost with depth, so that the sharp plane is not the brightest.
        seen = rng.poisson(light * blurred * 0.95**z) + rng.normal(100, 2, scene.shape)
        planes.append(seen.round().clip(0, 65535).astype(np.uint16))
    return planes


@pytest.mark.parametrize(
    ("kind", "light"),
    [
        *(("fluorescence", electrons) for electrons in (20, 200, 5000)),
        *(("bright field", electrons) for electrons in (1000, 10_000)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_sharp_plane_of_a_stack(kind, light, seed):
    scores = [sharpness(plane) for plane in stack(kind, light, seed)]
    assert np.argmax(scores) == 6
    assert (np.diff(scores[3:7]) > 0).all()
    assert (np.diff(scores[6:10]) < 0).all()


def test_noise_does_not_win():
    """Where the variance of the Laplacian, as many do it, takes the noisy plane."""
    rng = np.random.default_rng(4)
    sharp = stack("fluorescence", 200, 0)[6]
    noisy = rng.normal(100, 60, sharp.shape).clip(0).round().astype(np.uint16)
    laplacians = [cv2.Laplacian(plane.astype(float), -1).var() for plane in (sharp, noisy)]
    assert laplacians[0] < laplacians[1]
    assert sharpness(sharp) > 4 * abs(sharpness(noisy))
    hot = np.full(sharp.shape, 100, np.uint16)
    hot[rng.integers(0, 256, 30), rng.integers(0, 256, 30)] = 60_000
    assert sharpness(sharp) > sharpness(hot)


@pytest.mark.parametrize("site", ["s1", "s2"])
@pytest.mark.parametrize("channel", ["w1", "w2"])
def test_a_plate_of_imagexpress(data_folder, site, channel):
    """Dots that are small in ZStep_3, and blurred ever more in 2 and 1."""
    scores = []
    for step in (1, 2, 3):
        folders = (data_folder / "fields/faim_imagexpress").rglob(f"ZStep_{step}")
        (file,) = [
            path
            for folder in folders
            for path in folder.glob(f"*_{site}_{channel}*.tif")
            if "thumb" not in path.name
        ]
        scores.append(sharpness(tifffile.imread(file)))
    assert 4 * scores[0] < 2 * scores[1] < scores[2]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("xyz_calibrated_16bit__golgi_bfa.tif", 16, 20),  # where both cells are in focus
        ("xyz_8bit__chromosomes.tif", 15, 21),  # the nucleus's widest, in much noise
        ("xyz_8bit__mitotic_plate_calibrated.tif", 1, 2),
    ],
)
def test_real_stacks(data_folder, name, first, last):
    planes = tifffile.imread(data_folder / "stacks/neubias_stacks" / name)
    assert first <= np.argmax([sharpness(plane) for plane in planes]) <= last

"""Patches of every kind against NumPy on the whole image: stacks, projections, resolutions."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.tasks.patches import cut_patches
from patchmill.tasks.resolution import Resolution, as_level, rescaled

T, C, Z, Y, X = 2, 3, 5, 41, 57
some = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 60_000, (T, C, Z, Y, X)).astype("uint16")


@pytest.fixture
def stack(tmp_path, described, pixels) -> Callable[..., object]:
    np.save(tmp_path / "a.npy", pixels)
    return partial(described, tmp_path / "a.npy", "TCZYX")


def cut(file, corners, spec):
    return cut_patches(file.source, file.options, np.array(corners, np.int64), spec)


def padded(pixels, before, after, pad):
    """Pad the last three axes; a mirror image of one pixel is that pixel."""
    for axis in (-3, -2, -1):
        width = [(0, 0)] * pixels.ndim
        width[axis] = (before[axis], after[axis])
        reflected = {"mode": "reflect" if pixels.shape[axis] > 1 else "edge"}
        pixels = np.pad(
            pixels, width, **(reflected if pad == "reflect" else {"constant_values": pad})
        )
    return pixels


@some
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 50), st.integers(1, 70)),
    corner=st.tuples(
        st.integers(0, T - 1), st.integers(0, Z - 1), st.integers(0, Y - 1), st.integers(0, X - 1)
    ),
    margin=st.integers(0, 20),
    pad=st.sampled_from(["reflect", 0, 7]),
)
def test_a_stack_is_a_box_of_the_padded_image(stack, pixels, patch_spec, size, corner, margin, pad):
    spec = patch_spec(channels=C, size=size, is_3d=True, margin_px=margin, pad=pad)
    got = cut(stack(), [corner, (0, 0, 0, 0), corner], spec)
    around = (0, margin, margin), tuple(n + margin for n in size)
    source = padded(pixels, *around, pad)
    t, z, y, x = corner
    depth, height, width = spec.stored_size
    expected = source[t, :, z : z + depth, y : y + height, x : x + width]
    assert got.shape == (3, *spec.shape) == (3, C, depth, height, width)
    np.testing.assert_array_equal(got[0], expected)
    np.testing.assert_array_equal(got[1], source[0, :, :depth, :height, :width])
    np.testing.assert_array_equal(got[2], expected)


def mean_of(values: list[int]) -> int:
    """Round the exact mean, half to even."""
    return round(Fraction(sum(values), len(values)))


@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize("over", ["z", "t", "both"])
@pytest.mark.parametrize("how", ["max", "mean"])
def test_projections(stack, pixels, patch_spec, how, over, margin):
    projects = {
        "z": {"project_z": how},
        "t": {"project_t": how},
        "both": {"project_z": how, "project_t": how},
    }[over]
    axes = {"z": (2,), "t": (0,), "both": (0, 2)}[over]
    spec = patch_spec(channels=C, size=(1, 16, 20), margin_px=margin, **projects)
    t, z = (0 if over != "z" else 1), (0 if over != "t" else 3)
    corners = [(t, z, 3, 5), (t, z, 30, 50)]
    got = cut(stack(), corners, spec)
    whole = np.moveaxis(pixels, axes, range(len(axes))).reshape(-1, *np.delete(pixels.shape, axes))
    if how == "max":
        projected = whole.max(axis=0)
    else:
        flat = whole.reshape(len(whole), -1).astype(int).T.tolist()
        projected = np.array([mean_of(v) for v in flat], "uint16").reshape(whole.shape[1:])
    plane = {"z": lambda: projected[t], "t": lambda: projected[:, z], "both": lambda: projected}
    source = padded(plane[over]()[:, None], (0, margin, margin), (0, 40, 40), "reflect")[:, 0]
    for patch, (_, _, y, x) in zip(got, corners, strict=True):
        expected = source[:, y : y + 16 + 2 * margin, x : x + 20 + 2 * margin]
        np.testing.assert_array_equal(patch, expected)


def test_a_mean_of_ties_goes_to_even(tmp_path, described, patch_spec):
    np.save(tmp_path / "a.npy", np.array([[[0, 1, 2]], [[1, 2, 3]]], "uint8"))
    spec = patch_spec("uint8", size=(1, 1, 3), project_z="mean")
    got = cut(described(tmp_path / "a.npy", "ZYX"), [(0, 0, 0, 0)], spec)
    assert got.tolist() == [[[[0, 2, 2]]]]


@pytest.mark.parametrize("zoom", [2.0, 3.0])
@pytest.mark.parametrize("pad", ["reflect", 9])
def test_whole_ratios_are_block_means(stack, pixels, patch_spec, zoom, pad):
    """Wherever a patch lies, it is the window of the whole image made smaller."""
    n = int(zoom)
    resolution = Resolution(0, (Z, Y, X), (1.0, zoom, zoom), (1.0, zoom, zoom))
    spec = patch_spec(channels=C, size=(1, 8, 9), pad=pad, margin_px=2)
    corners = [(0, 2, 0, 0), (1, 4, 3 * n, 2 * n), (1, 0, 9 * n, 14 * n)]
    got = cut(stack(resolution=lambda _: resolution), corners, spec)
    source = padded(pixels, (0, 2 * n, 2 * n), (0, 60, 60), pad)
    for patch, (t, z, y, x) in zip(got, corners, strict=True):
        window = source[t, :, z, y : y + 12 * n, x : x + 13 * n].astype(int)
        blocks = window.reshape(C, 12, n, 13, n).transpose(0, 1, 3, 2, 4).reshape(C, 12, 13, -1)
        exact = np.array([[[mean_of(v.tolist()) for v in r] for r in c] for c in blocks])
        np.testing.assert_array_equal(patch, exact)


@some
@given(
    zoom=st.tuples(st.floats(1, 3), st.floats(1.01, 4), st.floats(1.01, 4)),
    corner=st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 30)),
    how=st.sampled_from(["", "max", "mean"]),
)
def test_any_ratio_weighs_by_area(tmp_path, described, patch_spec, zoom, corner, how):
    """Against an integral of the image, pixel by pixel of the patch."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(100, 30, (1, Z, Y, X)).astype("float32")
    np.save(tmp_path / "b.npy", pixels)
    zoom = (1.0 if how else zoom[0], *zoom[1:])
    resolution = Resolution(0, (Z, Y, X), zoom, zoom)
    depth = 1 if how else 2
    spec = patch_spec("float32", size=(depth, 3, 4), is_3d=not how, project_z=how)
    corner = (0 if how else corner[0], *corner[1:])
    file = described(tmp_path / "b.npy", "CZYX", resolution=lambda _: resolution)
    got = cut(file, [(0, *corner)], spec)[0].reshape(1, depth, 3, 4)
    if how == "max":
        pixels = pixels.max(axis=1, keepdims=True)
    elif how == "mean":
        pixels = pixels.mean(axis=1, keepdims=True, dtype=float)
    pixels = padded(pixels, (0, 0, 0), (12, 12, 16), "reflect")
    weights = []
    for axis, size in enumerate((depth, 3, 4)):
        edges = corner[axis] + zoom[axis] * np.arange(size + 1)
        at = np.arange(pixels.shape[1 + axis])
        own = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
        weights.append(np.clip(own, 0, None) / zoom[axis])
    if how:
        weights[0] = np.ones((1, pixels.shape[1])) * (np.arange(pixels.shape[1]) == 0)
    expected = np.einsum("czyx,az,by,dx->cabd", pixels, *weights)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_level_is_taken_as_it_is(tmp_path, described, patch_spec):
    """Its pixels, at the corners that are whole pixels of level 0."""
    import zarr

    rng = np.random.default_rng(2)
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    levels = [rng.integers(0, 999, (n, m)).astype("uint16") for n, m in ((101, 60), (51, 30))]
    for number, level in enumerate(levels):
        group.create_array(str(number), data=level, chunks=(16, 16))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    datasets = [
        {
            "path": str(n),
            "coordinateTransformations": [{"type": "scale", "scale": [2.0**n, 2.0**n]}],
        }
        for n in range(2)
    ]
    multiscales = [{"axes": axes, "datasets": datasets}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    file = described(tmp_path / "a.zarr", resolution=lambda shapes: as_level(shapes, 1))
    assert file.source.kind.resolution.scale == (1.0, 2.0, 2.0)
    spec = patch_spec(size=(1, 8, 8))
    positions = [(0, 0), (43, 22), (7, 11)]
    got = cut(file, [(0, 0, 2 * y, 2 * x) for y, x in positions], spec)
    for patch, (y, x) in zip(got, positions, strict=True):
        np.testing.assert_array_equal(patch[0], levels[1][y : y + 8, x : x + 8])


def test_rescaling_begins_at_the_next_finer_level():
    shapes = [(1, 1000, 1000), (1, 500, 500), (1, 250, 250)]
    chosen = rescaled(shapes, (1.0, 3.0, 3.0))
    assert (chosen.level, chosen.zoom, chosen.scale) == (1, (1, 1.5, 1.5), (1, 3, 3))
    assert chosen.size == (1, 333, 333)
    assert rescaled(shapes, (1.0, 4.02, 4.02)).zoom == (1.0, 1.0, 1.0)
    assert rescaled(shapes, (1.0, 0.5, 0.5)) is None


@given(
    full=st.integers(2, 100_000),
    length=st.integers(1, 100_000),
    position=st.integers(0, 100_000),
)
def test_positions_are_found_again_from_corners(full, length, position):
    if length > full:
        full, length = length, full
    resolution = as_level([(1, full, full), (1, length, length)], 1)
    positions = np.array([min(position, length - 1), 0, length - 1])
    corners = resolution.corners(1, positions)
    assert corners.dtype == np.int64
    assert (corners < full).all()
    np.testing.assert_array_equal(resolution.positions(1, corners), positions)


@given(zoom=st.floats(1.011, 50), position=st.integers(0, 100_000))
def test_positions_of_other_resolutions_too(zoom, position):
    resolution = Resolution(0, (1, 10**7, 10**7), (1.0, zoom, zoom), (1.0, zoom, zoom))
    positions = np.array([position])
    np.testing.assert_array_equal(
        resolution.positions(1, resolution.corners(1, positions)), positions
    )

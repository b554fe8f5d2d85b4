"""What a store says of its pixels, against NumPy on the patches that are read back from it."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.workflows import Recipe, prepare, verify
from patchmill.workflows.cli import cli

SIZE, MARGIN = 16, 3
PERCENTS = [0, 0.1, 1, 17.3, 50, 98, 99.9, 100]
FRACTIONS = {"train": 0.5, "val": 0.25, "test": 0.25}
#: Images of other sizes, none a multiple of the patches'.
SHAPES = {"a": (41, 52), "b": (33, 60), "c": (40, 40), "d": (29, 47), "e": (64, 33), "f": (50, 50)}
DAMAGED = "c.tif"
STEPS = [{"name": "gaussian", "sigma_px": 0.7}, {"name": "gamma", "gamma": 0.9, "range": [0, 999]}]
STACK = {"z": "stack", "size": [3, SIZE, SIZE], "stride": [2, SIZE, SIZE], "edge": "pad"}


def smooth(shape, dtype, seed):
    """Pixels of which every split has other ones, and many the same."""
    rng = np.random.default_rng(seed)
    values = rng.normal(300 + 20 * seed, 90, shape)
    if np.dtype(dtype).kind == "f":
        values -= 300
    elif np.dtype(dtype).itemsize == 1:
        values /= 5
    elif dtype == "int16":
        values -= 400
    elif dtype == "uint32":
        values *= 5e6
    if np.dtype(dtype).kind == "u":
        values = values.clip(0, np.iinfo(dtype).max)
    return values.astype(dtype)


def write_images(folder, dtype="uint16", depth=1, shapes=SHAPES):
    for number, (name, shape) in enumerate(shapes.items()):
        pixels = smooth((2, depth, *shape), dtype, number)
        if dtype == "float32":
            pixels[0, 0, 3, 5:9] = np.nan  # no pixels
        tifffile.imwrite(
            folder / f"{name}.tif",
            pixels,
            compression="zlib",
            rowsperstrip=8,
            photometric="minisblack",
        )


def damage(path):
    """Spoil the last strip, which only cutting finds out."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[-1]
        offset, count = page.dataoffsets[-1], page.databytecounts[-1]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


def recipe_of(shard_bytes="9 kB", steps=(), store=(), **patches):
    return {
        "images": {"paths": "*.tif", "axes": "CZYX", "on_error": "skip", "voxel_um": [1, 0.5, 0.5]},
        "patches": {"size": SIZE, "edge": "pad", "margin_px": MARGIN} | patches,
        "split": {"fractions": FRACTIONS},
        "store": {"shard_bytes": shard_bytes} | dict(store),
        "steps": list(steps),
    }


def own_pixels(store):
    """Return each valid row with the pixels of it that are its image's, shape (c, z, y, x)."""
    rows = store.read(range(len(store)))
    margin = store.attributes.get("margin_px", 0)
    found = []
    for row, patch in zip(rows["index"].tolist(), rows["image"], strict=True):
        image = int(store.index["image"][row])
        shape, scale = store.images["cut_shape"][image], store.images["cut_scale"][image]
        volume = patch.reshape(patch.shape[0], -1, *patch.shape[-2:])
        if margin:
            volume = volume[:, :, margin:-margin, margin:-margin]
        for axis, name in ((1, "z"), (2, "y"), (3, "x")):
            if axis == 1 and patch.ndim == 3:
                continue
            corner, length = int(store.index[name][row]), int(shape[axis - 1])
            # The patch's pixels that begin at or behind the corner, counted in pixels of the patch.
            first = -int(-corner // scale[axis - 1])
            there = np.arange(volume.shape[axis]) + first
            volume = np.compress((there >= 0) & (there < length), volume, axis=axis)
        found.append((row, volume))
    return found


def pixels_of(own, rows, channel):
    """Return one channel's pixels of some rows, without those that are no number."""
    values = np.concatenate([pixels[channel].ravel() for row, pixels in own if row in rows])
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def check_numbers(said, values):
    """Compare count, mean, std, min and max with NumPy's."""
    assert said["count"] == values.size
    assert said["min"] == values.min()
    assert said["max"] == values.max()
    if values.dtype.kind in "ui":
        total = sum(map(int, values.tolist()))
        if values.dtype.itemsize <= 2:
            assert said["mean"] == float(Fraction(total, values.size))
        np.testing.assert_allclose(said["mean"], total / values.size, rtol=1e-9)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(said["mean"], wide.mean(), rtol=1e-9)
    np.testing.assert_allclose(said["std"], wide.std(ddof=0), rtol=1e-9)


def check_histogram(values, counts, percentiles, pixels):
    """Compare a channel's histogram and percentiles with NumPy's."""
    counted, there = counts[counts > 0], values[counts > 0]
    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        expected, often = np.unique(pixels, return_counts=True)
        np.testing.assert_array_equal(there, expected)
        np.testing.assert_array_equal(counted, often)
        np.testing.assert_array_equal(percentiles, np.percentile(pixels, PERCENTS))
        return
    assert counted.sum() == pixels.size
    wide = np.sort(pixels.astype(np.float64))
    lowest = np.repeat(there, counted)
    assert (lowest <= wide * (1 + np.sign(wide) * 1e-7)).all()
    np.testing.assert_allclose(lowest, wide, rtol=2**-11)
    np.testing.assert_allclose(percentiles, np.percentile(wide, PERCENTS), rtol=2**-11, atol=1e-9)


def check_statistics(path):
    """Compare all that a store says of its pixels with what is in it."""
    store = open_store(path)
    own = own_pixels(store)
    assert {row for row, _ in own} == set(np.flatnonzero(store.index["valid"]).tolist())
    assert any(pixels[0].size < np.prod(store.fields["image"].shape[1:]) for _, pixels in own)
    every = set(range(store.fields["image"].rows))
    splits = {name: set(range(*rows)) for name, rows in store.splits.items()}
    for channel, label in enumerate(store.channels):
        for split, rows in splits.items():
            said = store.attributes["statistics"][split][label]
            pixels = pixels_of(own, rows, channel)
            check_numbers(said, pixels)
            ours = {key: value[channel] for key, value in store.statistics[split].items()}
            assert ours == {key: said[key] for key in ours}
            values, counts = store.histogram(split)
            found = store.percentiles(PERCENTS, split)[:, channel]
            check_histogram(values, counts[channel], found, pixels)
            written = said["percentiles"]
            percents = [float(percent) for percent in written]
            assert percents == sorted(percents)
            assert store.percentiles(percents, split)[:, channel].tolist() == [*written.values()]
        values, counts = store.histogram()
        found = store.percentiles(PERCENTS)[:, channel]
        check_histogram(values, counts[channel], found, pixels_of(own, every, channel))
        check_rows(store, own, channel, label)
        check_images(store, own, channel)
    # What a view says is merged from images and rows.
    for view in (store.select(split="train"), store.select(where="image == 0"), store.view):
        rows = set(np.asarray(view.rows).tolist())
        for channel in range(len(store.channels)):
            ours = {key: value[channel] for key, value in view.statistics.items()}
            pixels = pixels_of(own, rows, channel)
            assert (ours["count"], ours["min"]) == (pixels.size, pixels.min())
            np.testing.assert_allclose(ours["std"], pixels.astype(np.float64).std(), rtol=1e-9)
    assert verify(path).damage == ()
    return store


def check_rows(store, own, channel, label):
    for row, pixels in own:
        values = pixels_of(own=[(row, pixels)], rows={row}, channel=channel)
        if values.size:
            names = ("count", "mean", "std", "min", "max")
            check_numbers({name: store.index[f"{name}_{label}"][row] for name in names}, values)


def check_images(store, own, channel):
    for image, status in enumerate(store.images["status"].tolist()):
        rows = {row for row, _ in own if store.index["image"][row] == image}
        said = {
            name: store.images[name][image, channel]
            for name in ("count", "mean", "deviations", "min", "max")
        }
        if not rows:
            assert status == 1
            assert said["count"] == 0
            continue
        said["std"] = np.sqrt(said["deviations"] / said["count"])
        check_numbers(said, pixels_of(own, rows, channel))


@pytest.mark.parametrize(
    ("dtype", "patches", "options"),
    [
        ("uint16", {}, {}),
        ("uint8", {"edge": "drop", "stride": [11, 13]}, {}),
        ("int16", {"margin_px": 0}, {}),
        ("uint32", {}, {}),
        ("float32", {"stride": [11, 16]}, {}),
        ("float64", {"edge": "shift", "pad": 7}, {}),
        ("uint16", {"at": "random", "count": 9}, {}),
        ("uint16", {"mpp": 0.85}, {}),
        ("uint16", {"mpp": 1.0, "margin_px": 0, "stride": 7}, {"steps": STEPS}),
        ("uint16", {}, {"steps": STEPS}),
        ("uint16", {"pad": 5}, {"steps": STEPS, "store": {"dtype": "float32"}}),
        ("uint8", STACK, {}),
        ("uint16", STACK | {"voxel_um": [1, 0.8, 0.8]}, {"steps": STEPS[:1]}),
    ],
    ids=str,
)
def test_they_are_numpys(tmp_path, cut, dtype, patches, options):
    write_images(tmp_path, dtype, depth=5 if "z" in patches else 1)
    outcome = cut(recipe_of(**options, **patches), store="before.zarr")
    assert outcome.failed == ()
    check_statistics(outcome.store)
    damage(tmp_path / DAMAGED)
    outcome = cut(recipe_of(**options, **patches))
    assert [name for name, _ in outcome.failed] == [DAMAGED]
    store = check_statistics(outcome.store)
    assert 0 < store.attributes["void"] < store.fields["image"].rows


def test_a_split_without_a_pixel_has_none(tmp_path, cut):
    write_images(tmp_path, shapes={name: SHAPES[name] for name in "acd"})
    recipe = recipe_of() | {"split": {"from": "splits.csv"}}
    (tmp_path / "splits.csv").write_text("image,split\na.tif,train\nc.tif,val\nd.tif,train\n")
    assert cut(recipe, store="before.zarr").failed == ()
    damage(tmp_path / DAMAGED)
    outcome = cut(recipe)
    store = open_store(outcome.store)
    said = store.attributes["statistics"]["val"]["c0"]
    none = {"count": 0, "mean": None, "std": None, "min": None, "max": None, "clipped": [0, 0]}
    assert said == none
    assert np.isnan(store.percentiles([1, 50], "val")).all()
    assert store.histogram("val")[1].sum() == 0
    assert verify(outcome.store).damage == ()
    done = CliRunner().invoke(cli, ["info", str(outcome.store)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_shards_and_workers_do_not_matter(tmp_path, cut, same_files, dtype):
    write_images(tmp_path, dtype)

    def said(path):
        root = json.loads((path / "zarr.json").read_text())["attributes"]["patchmill"]
        return root["statistics"]

    first = cut(recipe_of(steps=STEPS), store="first.zarr").store
    for number, shard_bytes in enumerate(("2 kB", "30 kB", "1 MB")):
        other = tmp_path / f"{number}.zarr"
        recipe = Recipe.from_dict(recipe_of(shard_bytes, STEPS), tmp_path)
        with local_cluster(
            1 + 2 * (number % 2), 1 + number // 2, dashboard="127.0.0.1:0"
        ) as other_client:
            prepare(recipe, other, client=other_client)
        same_files(first / "statistics", other / "statistics")
        same_files(first / "images", other / "images")
        same_files(first / "index", other / "index")
        assert said(other) == said(first)


def clipping(tmp_path):
    """Write images of which a store of 8 bit cannot hold all; return their pixels and a recipe."""
    write_images(tmp_path)
    steps = [{"name": "background", "method": "constant", "value": 250, "pedestal": 0}]
    wholes = {f"{name}.tif": tifffile.imread(tmp_path / f"{name}.tif") for name in SHAPES}
    return wholes, recipe_of(steps=steps, store={"dtype": "uint8"}, stride=[11, 16])


def test_what_is_clipped_is_counted(tmp_path, cut):
    wholes, recipe = clipping(tmp_path)
    damage(tmp_path / DAMAGED)
    store = open_store(cut(recipe).store)
    names = store.images["id"].tolist()
    by_image = np.zeros((len(names), 2, 2), np.int64)
    by_split = np.zeros((3, 2, 2), np.int64)
    for row, pixels in own_pixels(store):
        image, split = (int(store.index[name][row]) for name in ("image", "split"))
        y, x = (int(store.index[name][row]) for name in "yx")
        raw = wholes[names[image]].reshape(2, *wholes[names[image]].shape[-2:])
        raw = raw[:, y : y + SIZE, x : x + SIZE].astype(int) - 250
        np.testing.assert_array_equal(pixels[:, 0], raw.clip(0, 255))
        outside = np.stack([(raw < 0).sum(axis=(1, 2)), (raw > 255).sum(axis=(1, 2))], axis=1)
        by_image[image] += outside
        by_split[split] += outside
    assert (by_split > 0).all()
    np.testing.assert_array_equal(store.images["clipped_low"], by_image[:, :, 0])
    np.testing.assert_array_equal(store.images["clipped_high"], by_image[:, :, 1])
    said = store.attributes["statistics"]
    for split, counts in zip(store.splits, by_split.tolist(), strict=True):
        assert [said[split][channel]["clipped"] for channel in store.channels] == counts


def test_info_says_them(tmp_path, cut):
    _, recipe = clipping(tmp_path)
    store = open_store(cut(recipe).store)
    done = CliRunner().invoke(cli, ["info", str(store.path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["statistics"] == store.attributes["statistics"]
    done = CliRunner().invoke(cli, ["info", str(store.path)])
    assert done.exit_code == 0, done.output
    own = own_pixels(store)
    for split, rows in store.splits.items():
        for channel, label in enumerate(store.channels):
            values = pixels_of(own, set(range(*rows)), channel)
            low, high = store.attributes["statistics"][split][label]["clipped"]
            one, ninety_nine = np.percentile(values, [1, 99])
            line = (
                f"{label}: mean {values.mean():.6g}, std {values.std():.6g}, {values.min():g} to "
                f"{values.max():g}; 1 % {one:.6g}, 99 % {ninety_nine:.6g}; clipped "
                f"{low / values.size:.2%} below, {high / values.size:.2%} above"
            )
            assert line in done.output, done.output


def test_the_histograms_open_with_zarr(tmp_path, cut):
    write_images(tmp_path)
    store = open_store(cut(recipe_of()).store)
    group = zarr.open_group(store.path, mode="r")["statistics"]
    values, counts = group["value"], group["count"]
    assert values.metadata.dimension_names == ("bin",)
    assert counts.metadata.dimension_names == ("split", "channel", "bin")
    assert counts.attrs["splits"] == list(store.splits)
    assert counts.attrs["channels"] == list(store.channels)
    np.testing.assert_array_equal(counts[:].sum(axis=0), store.histogram()[1])

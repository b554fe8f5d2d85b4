"""The whole job against a plain loop: pixels, candidates, columns, statistics."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, prepare


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_file_per_channel(tmp_path, cut, noise, plate_tables, check_store, dtype, codec):
    images = {}
    for number, well in enumerate("AB"):
        pixels = noise(1, 3, 1, 50, 70, seed=number, dtype=dtype)
        for channel in range(3):
            tifffile.imwrite(tmp_path / f"{well}01_w{channel + 1}.tif", pixels[0, channel, 0])
        images[f"well={well}01"] = pixels
    # In another order than that of the files, and with names.
    tables = plate_tables(store={"codec": codec})
    tables["images"]["channels"] = {"3": "GFP", "1": "DAPI"}
    outcome = cut(tables)
    assert outcome.cut == outcome.plan.n_shards > 2
    assert (outcome.kept, outcome.failed) == (0, ())
    chosen = {name: pixels[:, [2, 0]] for name, pixels in images.items()}
    store = check_store(tmp_path / "s.zarr", chosen)
    assert store.channels == ("GFP", "DAPI")
    assert store.fields["image"].codec.startswith(codec)
    assert store.fields["image"].dtype == dtype


@pytest.mark.parametrize(
    ("edge", "pad"), [("drop", None), ("pad", "reflect"), ("pad", 7), ("shift", None)]
)
@pytest.mark.parametrize("stride", [(16, 24), (10, 17)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_edges_and_strides(tmp_path, cut, noise, check_store, edge, pad, stride, compression):
    images = {}
    for number, shape in enumerate([(40, 50), (16, 24), (9, 60), (33, 10)]):
        pixels = noise(1, 1, 1, *shape, seed=number)
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, pixels[0, 0, 0], compression=compression, tile=(16, 16))
        images[path.name] = pixels
    patches = {"size": [16, 24], "stride": stride, "edge": edge}
    if pad is not None:
        patches["pad"] = pad
    cut({"images": {"paths": "*.tif"}, "patches": patches, "store": {"shard_bytes": 7000}})
    check_store(tmp_path / "s.zarr", images, (16, 24), stride, edge, pad)


def test_files_with_many_channels(tmp_path, cut, noise, check_store):
    pixels = noise(1, 3, 1, 40, 48)
    options = {"planar": {"planarconfig": "separate"}, "pages": {"metadata": {"axes": "CYX"}}}
    images = {}
    for name, option in options.items():
        tifffile.imwrite(
            tmp_path / f"{name}.tif", pixels[0, :, 0], photometric="minisblack", **option
        )
        images[f"{name}.tif"] = pixels
    interleaved = np.moveaxis(pixels[0, :, 0], 0, -1)
    tifffile.imwrite(
        tmp_path / "inter.tif", interleaved, photometric="minisblack", planarconfig="contig"
    )
    images["inter.tif"] = pixels
    cut({"images": {"paths": "*.tif"}, "patches": {"size": 16}})
    assert check_store(tmp_path / "s.zarr", images).channels == ("c0", "c1", "c2")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "deflate", "packbits"])
def test_ome_stacks(tmp_path, cut, noise, check_store, compression):
    pixels = noise(3, 2, 4, 40, 48)
    metadata = {"axes": "TCZYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0}
    for name, factor in (("a", 1), ("b", 3)):
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif",
            pixels * factor,
            metadata=metadata,
            compression=compression,
        )
    cut({"images": {"paths": "*.tif"}, "patches": {"size": 16}, "store": {"shard_bytes": "9 kB"}})
    images = {"a.ome.tif": pixels, "b.ome.tif": pixels * 3}
    store = check_store(tmp_path / "s.zarr", images)
    assert store.channels == ("DAPI", "GFP")
    assert store.attributes["voxel_um"] == {"nominal": None, "real": [2.0, 0.25, 0.5]}
    assert store.images["voxel_um"].tolist() == [[2.0, 0.25, 0.5]] * 2
    assert store.images["shape"].tolist() == [[3, 2, 4, 40, 48]] * 2


def test_a_pixel_size_without_a_depth_is_known_for_many_images(tmp_path, cut, noise):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", noise(32, 32), metadata=metadata)
    outcome = cut({"images": {"paths": "*.tif"}, "patches": {"size": 16}})
    real = open_store(outcome.store).attributes["voxel_um"]["real"]
    assert real == [None, 0.65, 0.65]


def test_stacks_by_pattern(tmp_path, cut, noise, check_store):
    images = {}
    for number, well in enumerate("AB"):
        pixels = noise(2, 2, 11, 20, 24, seed=number)
        for t, c, z in np.ndindex(2, 2, 11):
            # z10 must come after z9.
            path = tmp_path / f"time{t}" / f"{well}_c{c}_z{z}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, pixels[t, c, z])
        images[f"well={well}"] = pixels
    pattern = r"time(?P<t>\d)/(?P<well>.)_c(?P<channel>\d)_z(?P<z>\d+)"
    tables = {"images": {"paths": "time*/*.tif", "pattern": pattern}, "patches": {"size": 8}}
    cut(tables | {"store": {"shard_bytes": "20 kB"}})
    check_store(tmp_path / "s.zarr", images, (8, 8))


def test_store_dtype_widens_a_mixture(tmp_path, cut, noise, check_store):
    images = {}
    for name, dtype in (("a.tif", "uint8"), ("b.tif", "uint16")):
        images[name] = noise(1, 1, 1, 40, 40, dtype=dtype)
        tifffile.imwrite(tmp_path / name, images[name][0, 0, 0])
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16, "edge": "pad", "pad": -1.5}}
    cut(tables | {"store": {"dtype": "float32"}})
    wide = {name: pixels.astype(np.float32) for name, pixels in images.items()}
    store = check_store(tmp_path / "s.zarr", wide, edge="pad", pad=-1.5)
    assert store.fields["image"].dtype == np.float32


def test_big_endian_pixels(tmp_path, cut, noise, check_store):
    pixels = noise(1, 1, 1, 40, 40)
    tifffile.imwrite(tmp_path / "a.tif", pixels[0, 0, 0], byteorder=">", compression="zlib")
    tifffile.imwrite(tmp_path / "b.tif", pixels[0, 0, 0], byteorder=">")
    cut({"images": {"paths": "*.tif"}, "patches": {"size": 16}})
    check_store(tmp_path / "s.zarr", {"a.tif": pixels, "b.tif": pixels})


def test_constant_images_have_every_chunk_and_no_spread(tmp_path, cut, check_store):
    images = {}
    for name, value in (("zero.tif", 0), ("full.tif", 65535)):
        images[name] = np.full((1, 1, 1, 64, 64), value, np.uint16)
        tifffile.imwrite(tmp_path / name, images[name][0, 0, 0])
    outcome = cut({"images": {"paths": "*.tif"}, "patches": {"size": 32}})
    store = check_store(tmp_path / "s.zarr", images, (32, 32))
    assert store.index["std_c0"].tolist() == [0.0] * 8
    assert (outcome.store / "index/level/c/0").is_file()  # all fill value, and written all the same


def test_not_a_number_counts_as_no_pixel(tmp_path, cut):
    pixels = np.arange(64, dtype=np.float32).reshape(8, 8)
    pixels[0, :4] = np.nan
    empty = np.full((8, 8), np.nan, np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    tifffile.imwrite(tmp_path / "b.tif", empty)
    outcome = cut({"images": {"paths": "*.tif"}, "patches": {"size": 8}})
    store = open_store(outcome.store)
    statistics = store.attributes["statistics"]["train"]["c0"]
    assert statistics.pop("percentiles")["50"] == pytest.approx(np.nanmedian(pixels), rel=2**-12)
    assert statistics == {
        "clipped": [0, 0],
        "count": 60,
        "mean": pytest.approx(np.nanmean(pixels.astype(float)), rel=1e-12),
        "std": pytest.approx(np.nanstd(pixels.astype(float)), rel=1e-12),
        "min": 4.0,
        "max": 63.0,
    }
    assert np.isnan(store.index["mean_c0"]).tolist() == [False, True]
    np.testing.assert_array_equal(store.read([0, 1])["image"][:, 0], [pixels, empty])


def test_splits_are_row_ranges_in_order(tmp_path, cut, plate, plate_tables, check_store):
    images = plate("ABCDEFGHIJ")
    fractions = {"test": 0.2, "train": 0.6, "val": 0.2}
    outcome = cut(plate_tables(split={"fractions": fractions}))
    store = check_store(outcome.store, images)
    assert list(store.splits) == ["test", "train", "val"]
    assert sum(stop - start for start, stop in store.splits.values()) == len(store)
    assert store.index.meanings("split") == ("test", "train", "val")
    for number, (start, stop) in enumerate(store.splits.values()):
        assert set(store.index["split"][start:stop].tolist()) == {number}
        own = np.unique(store.index["image"][start:stop])
        assert set(store.images["split"][own].tolist()) == {number}
    assert (
        np.diff(store.index["image"].astype(int))[np.diff(store.index["split"]) == 0] >= 0
    ).all()


def test_images_columns(tmp_path, cut, plate, plate_tables):
    images = plate("AB")
    outcome = cut(plate_tables(images={"identity": "content"}))
    columns = open_store(outcome.store).images
    assert columns["id"].tolist() == list(images)
    assert columns["well"].tolist() == ["A01", "B01"]
    assert columns["path"].tolist() == ["A01_w1.tif", "B01_w1.tif"]
    assert columns["files"].tolist() == [
        '["A01_w1.tif", "A01_w2.tif"]',
        '["B01_w1.tif", "B01_w2.tif"]',
    ]
    assert columns.meanings("status") == ("ok", "failed")
    assert columns["status"].tolist() == [0, 0]
    assert columns["reason"].tolist() == ["", ""]
    for number, pixels in enumerate(images.values()):
        inside = pixels[0, :, 0, :64, :80].astype(np.float64).reshape(2, -1)
        assert columns["count"][number].tolist() == [inside.shape[1]] * 2
        np.testing.assert_allclose(columns["mean"][number], inside.mean(1), rtol=1e-12)
        deviations = inside.var(1) * inside.shape[1]
        np.testing.assert_allclose(columns["deviations"][number], deviations, rtol=1e-12)
        assert columns["min"][number].tolist() == inside.min(1).tolist()
        assert columns["max"][number].tolist() == inside.max(1).tolist()


def test_images_of_a_folder_each(tmp_path, cut, plate, plate_tables, check_store):
    images = {}
    for number in (1, 2):
        for name, pixels in plate("AB", folder=tmp_path / f"plate{number}", seed=number).items():
            images[f"plate{number}/{name}"] = pixels
    check_store(cut(plate_tables(images={"paths": "plate*/*.tif"})).store, images)


@pytest.mark.parametrize("name", ["id", "path", "shape", "mean", "status"])
def test_a_group_named_like_a_column_is_refused_before_anything_is_cut(tmp_path, cut, noise, name):
    tifffile.imwrite(tmp_path / "train_a.tif", noise(32, 32))
    images = {"paths": "*.tif", "pattern": f"(?P<{name}>[a-z]+)_"}
    with pytest.raises(PatchmillError, match=f"images.pattern: the group .{name}"):
        cut({"images": images, "patches": {"size": 16}})
    assert not (tmp_path / "s.zarr").exists()


def test_a_group_named_split(tmp_path, cut, noise):
    for value in ("val", "train"):
        tifffile.imwrite(tmp_path / f"{value}_a.tif", noise(32, 32))
    images = {"paths": "*.tif", "pattern": "(?P<split>[a-z]+)_"}
    store = open_store(
        cut({"images": images, "patches": {"size": 16}, "split": {"from": "split"}}).store
    )
    assert store.splits == {"train": (0, 4), "val": (4, 8)}
    ids = store.images["id"].tolist()
    names = [store.images.meanings("split")[n] for n in store.images["split"]]
    assert [f"split={name}" for name in names] == ids


def test_file_names_that_are_not_utf8(tmp_path, cut, noise):
    tifffile.imwrite(tmp_path / "x.tif", noise(32, 32))
    (tmp_path / "x.tif").rename(tmp_path / os.fsdecode(b"caf\xe9.tif"))
    outcome = cut({"images": {"paths": "*.tif"}, "patches": {"size": 16}})
    (name,) = open_store(outcome.store).images["path"].tolist()
    assert name.startswith("caf")


def test_the_recipe_may_be_a_path(tmp_path, client, plate, plate_tables, write_toml, check_store):
    images = plate("AB")
    outcome = prepare(
        write_toml(tmp_path / "r.toml", plate_tables()), tmp_path / "s.zarr", client=client
    )
    assert outcome.plan.recipe == Recipe.load(tmp_path / "r.toml")
    check_store(outcome.store, images)


def test_the_names_of_the_package_are_functions():
    code = (
        "from patchmill.workflows import Recipe, plan, prepare, verify\n"
        "assert callable(plan) and callable(prepare) and callable(verify)\n"
        "from patchmill.workflows import plan, prepare\n"
        "assert callable(plan) and callable(prepare)\n"
    )
    for first in ("", "import patchmill.workflows.cli\n", "import patchmill.workflows.planning\n"):
        command = [sys.executable, "-c", first + code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

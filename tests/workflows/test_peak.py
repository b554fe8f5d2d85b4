"""The memory that a plan foresees, against what a task takes: averages, projections, large patches.

Of noise, which no codec makes smaller; of plain windows of TIFFs see `test_cost.py`.
"""

import threading
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.tasks.cut import ShardSpec, cut_shard
from patchmill.tasks.shard import ShardFile
from patchmill.workflows import Recipe, plan
from patchmill.workflows.peak import peak_bytes

UM = 0.25


def write_tiff(path, pixels, **options):
    tifffile.imwrite(path, pixels, photometric="minisblack", compression="zlib", **options)


def write_pyramid(path, pixels):
    tiles = {"tile": (256, 256), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=1, **tiles)
        tif.write(pixels[::2, ::2], subfiletype=1, **tiles)


def write_zarr(path, pixels, chunk):
    names = "czyx"[-pixels.ndim :]
    zarr.create_array(path, data=pixels, chunks=chunk, dimension_names=list(names))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("peak")
    plane, stack = noise(2048, 2048), noise(20, 512, 512)
    write_pyramid(folder / "pyramid.tif", plane)
    write_tiff(folder / "tiles.tif", plane, tile=(256, 256))
    write_tiff(folder / "strips.tif", plane, rowsperstrip=16)
    write_tiff(folder / "strip.tif", plane, rowsperstrip=2048)
    write_zarr(folder / "plane.zarr", plane, (256, 256))
    write_zarr(folder / "chunk.zarr", plane, (2048, 2048))
    write_zarr(folder / "colours.zarr", noise(4, 1024, 1024), (1, 256, 256))
    write_zarr(folder / "stack.zarr", stack, (1, 256, 256))
    write_zarr(folder / "deep.zarr", stack, (10, 256, 256))
    np.save(folder / "stack.npy", stack)
    return folder


def first_shard(found):
    """Return the corners (t, z, y, x) of a plan's first shard, which is as big as any."""
    rows = found.shard_rows(0)
    columns = {name: values[rows] for name, values in found.rows.columns.items()}
    return np.stack([columns[axis].astype(np.int64) for axis in "tzyx"], axis=1)


STACK = {"z": "stack", "size": [8, 128, 128], "stride": [4, 64, 64]}


@pytest.mark.parametrize(
    ("file", "patches"),
    [
        ("pyramid.tif", {"level": 1, "stride": 64}),
        ("pyramid.tif", {"mpp": 0.6, "stride": 64}),
        ("tiles.tif", {"mpp": 0.6, "stride": 64}),
        ("strips.tif", {"mpp": 0.6, "stride": 64}),
        ("strip.tif", {"mpp": 0.6, "stride": 64}),
        ("plane.zarr", {"mpp": 0.6, "stride": 64}),
        ("plane.zarr", {"mpp": 2.0, "size": 64, "stride": 8}),
        ("plane.zarr", {"mpp": 0.3, "size": 1300}),
        ("plane.zarr", {"mpp": 0.3, "size": 1300, "edge": "pad", "pad": 3}),
        ("chunk.zarr", {"stride": 128}),
        ("chunk.zarr", {"mpp": 0.6, "stride": 128}),
        ("colours.zarr", {"mpp": 0.6, "size": 128, "stride": 64, "margin_px": 20}),
        ("plane.zarr", {"size": 2000}),
        ("stack.zarr", {"z": "max", "size": 128, "stride": 24}),
        ("stack.zarr", {"z": "mean", "size": 128, "stride": 64}),
        ("deep.zarr", {"z": "mean", "size": 128, "stride": 64}),
        ("stack.npy", {"z": "max", "mpp": 0.6, "size": 128, "stride": 16}),
        ("stack.zarr", {"z": "max", "mpp": 1.5, "size": 32, "stride": 4}),
        ("stack.zarr", {"z": "mean", "mpp": 0.6, "size": 128, "stride": 8}),
        ("stack.zarr", STACK),
        ("deep.zarr", {**STACK, "margin_px": 16, "edge": "pad"}),
        ("stack.zarr", {**STACK, "size": [20, 500, 500], "stride": [20, 500, 500]}),
        ("stack.npy", {**STACK, "voxel_um": [2.0, 0.6, 0.6], "stride": [2, 16, 16]}),
        ("deep.zarr", {"z": "stack", "voxel_um": [2.0, 0.3, 0.3], "size": [8, 400, 400]}),
    ],
    ids=str,
)
def test_it_is_foreseen_and_not_exaggerated(folder, tmp_path, client, file, patches):
    tables = {
        "images": {"paths": file, "voxel_um": [1.0, UM, UM]},
        "patches": {"size": 256, **patches},
    }
    if file.endswith(".npy"):
        tables["images"]["axes"] = "ZYX"
    found = plan(Recipe.from_dict(tables, folder), lambda: nullcontext(client))
    corners = first_shard(found)
    shard = ShardSpec(
        shard=0,
        target=ShardFile(str(tmp_path / "c.0"), str(tmp_path)),
        patch=found.patch,
        options=found.recipe.images.options,
        images=(0,),
        sources=(found.images[0].source,),
        source=np.zeros(len(corners), np.int32),
        corners=corners,
    )
    peaks = []

    def measure():
        # A thread of its own, which has no buffers from other tests.
        tracemalloc.start()
        cut_shard(shard)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert peaks[0] <= found.cost.peak_bytes <= 2 * peaks[0]


def test_files_on_servers_keep_blocks(folder, client):
    recipe = Recipe.from_dict({"images": {"paths": "tiles.tif"}, "patches": {"size": 256}}, folder)
    found = plan(recipe, lambda: nullcontext(client))
    (image,) = found.images
    here = peak_bytes([image.source], found.rows, found.patch)
    assert here == found.cost.peak_bytes
    away = [
        replace(image.source, paths=tuple(f"s3://bucket/{n}-{of}.tif" for of in range(2)))
        for n in range(100)
    ]
    segment = 256 * 256 * 2
    for images, files in ((1, 2), (100, 32)):
        peak = peak_bytes(away[:images], found.rows, found.patch)
        assert peak - here == files * (2 << 20) + segment

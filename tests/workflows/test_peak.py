"""The memory that a plan foresees, against what a task takes: averages, projections, steps, masks.

Of noise, which no codec makes smaller; of plain windows of TIFFs see `test_cost.py`.
"""

import json
import threading
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.tasks.cut import cut_shard
from patchmill.workflows import Recipe, plan
from patchmill.workflows.bound_steps import bind_steps
from patchmill.workflows.create import create_store
from patchmill.workflows.cut import shard_spec
from patchmill.workflows.peak import peak_bytes
from patchmill.workflows.run_folder import run_folder_of

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
    write_tiff(folder / "floats.tif", noise(2048, 2048, dtype="float32"), tile=(256, 256))
    write_tiff(folder / "flat.tif", 100 + plane % 1000 + 1)
    write_tiff(folder / "mask.tif", (plane % 2).astype(np.uint8), tile=(256, 256))
    write_tiff(folder / "labels.tif", plane.astype(np.float64), rowsperstrip=64)
    (folder / "cells.geojson").write_text(json.dumps(polygons(3000)))
    return folder


def polygons(count):
    """Return so many squares as QuPath exports them."""
    rng = np.random.default_rng(0)
    features = []
    for y, x in rng.integers(0, 2000, (count, 2)).tolist():
        ring = [[x, y], [x + 40, y], [x + 40, y + 40], [x, y + 40], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        properties = {"classification": {"name": "cell"}}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def peaks_of(tables, folder, tmp_path, client):
    """Return what is foreseen for a task, and what it takes of a plan's first shard."""
    connect = lambda: nullcontext(client)  # noqa: E731
    found = plan(Recipe.from_dict(tables, folder), connect)
    bound = bind_steps(found, connect)
    run = run_folder_of(tmp_path / "s.zarr")
    run.clear_tmp()
    create_store(bound, run)
    shard = shard_spec(bound, run, 0, frozenset())
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
    return found.cost.peak_bytes, peaks[0]


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
    foreseen, taken = peaks_of(tables, folder, tmp_path, client)
    assert taken <= foreseen <= 2 * taken


GAUSSIAN = {"name": "gaussian", "sigma_px": 2}
OPENING = {"name": "background", "method": "opening", "radius_px": 50}
LIGHT = {"name": "illumination", "flat": "flat.tif", "dark": 100}
RANGE = {"name": "percentile", "scope": "all", "from": "all", "to": [0, 1]}
HOT, GEOMETRY = {"name": "hot_pixels"}, {"name": "geometry"}
CROP = {"name": "crop_to_content", "size": [64, 64], "threshold": 100, "empty": "whole"}
FLOATS = {"dtype": "float32"}
CLASSES = {0: "background", 1: "cell"}
TILED = {"masks": {"cells": {"path": "mask.tif", "classes": CLASSES}}}
NUCLEI = {"labels": {"nuclei": {"path": "labels.tif"}}}
RULES = [{"class": "cell", "channel": "c0", "above": 40_000}]
MADE = {"from": "thresholds", "classes": CLASSES, "rules": RULES}
OBJECTS = {"from": "thresholds", "rules": RULES}
PAINTED = {"from": "geojson", "path": "cells.geojson", "classes": {1: "cell"}}


@pytest.mark.parametrize(
    ("file", "patches", "more"),
    [
        ("tiles.tif", {"stride": 128}, {"steps": [GAUSSIAN]}),
        ("tiles.tif", {}, {"steps": [OPENING]}),
        ("tiles.tif", {"margin_px": 30}, {"steps": [OPENING, GAUSSIAN]}),
        ("tiles.tif", {"size": 1024}, {"steps": [OPENING]}),
        ("strips.tif", {}, {"steps": [LIGHT, RANGE], "store": FLOATS}),
        ("tiles.tif", {"size": 128, "stride": 40}, {"steps": [RANGE], "store": FLOATS}),
        ("floats.tif", {}, {}),
        ("floats.tif", {"mpp": 0.6, "stride": 64}, {"steps": [GAUSSIAN]}),
        ("stack.zarr", {"z": "max", "size": 128, "stride": 64}, {"steps": [HOT, GEOMETRY, CROP]}),
        ("deep.zarr", {"z": "mean", "size": 128, "stride": 64}, {"steps": [HOT, OPENING]}),
        ("stack.zarr", {"z": "max", "size": 400, "stride": 37}, {"steps": [HOT]}),
        ("tiles.tif", {"mpp": 0.6, "stride": 64}, {"steps": [HOT, GAUSSIAN]}),
        ("pyramid.tif", {"mpp": 0.6, "stride": 64}, {"steps": [OPENING]}),
        ("stack.zarr", STACK, {"steps": [GAUSSIAN]}),
        ("tiles.tif", {"stride": 128}, TILED),
        ("tiles.tif", {"mpp": 0.6, "stride": 64}, TILED),
        ("tiles.tif", {"stride": 128}, NUCLEI),
        ("tiles.tif", {"stride": 128}, TILED | NUCLEI | {"steps": [GAUSSIAN]}),
        ("tiles.tif", {}, {"masks": {"cells": MADE | {"min_area_px": 9}}}),
        ("tiles.tif", {}, {"labels": {"cells": OBJECTS}}),
        ("tiles.tif", {"stride": 128}, {"labels": {"cells": OBJECTS | {"scope": "image"}}}),
        (
            "tiles.tif",
            {"mpp": 0.5, "stride": 64},
            {"masks": {"cells": MADE | {"scope": "image", "fill_holes": True}}},
        ),
        ("tiles.tif", {"stride": 128}, {"masks": {"cells": PAINTED}}),
    ],
    ids=str,
)
def test_of_steps_and_masks_too(folder, tmp_path, client, file, patches, more):
    tables = {
        "images": {"paths": file, "voxel_um": [1.0, UM, UM]},
        "patches": {"size": 256, **patches},
        **more,
    }
    foreseen, taken = peaks_of(tables, folder, tmp_path, client)
    assert taken <= foreseen <= 2 * taken


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

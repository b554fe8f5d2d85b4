"""Images on a server: the stores made of them are those of the same files on a disk."""

from __future__ import annotations

import numpy as np
import obstore
import pytest
import tifffile
import zarr
from obstore.store import S3Store

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, plan, prepare, verify

PATCHES = {"size": [32, 32]}


@pytest.fixture
def images(tmp_path, noise):
    """A tiled pyramid, a file in strips and an OME-Zarr; their pixels at level 0."""
    pixels = {name: noise(2, 96, 128, seed=n) for n, name in enumerate(("a", "b", "c"))}
    folder = tmp_path / "plate"
    folder.mkdir()
    with tifffile.TiffWriter(folder / "a.ome.tif") as tif:
        options = {"tile": (32, 32), "compression": "zlib", "photometric": "minisblack"}
        tif.write(pixels["a"], subifds=1, metadata={"axes": "CYX"}, **options)
        tif.write(pixels["a"][:, ::2, ::2], subfiletype=1, **options)
    tifffile.imwrite(
        folder / "b.ome.tif", pixels["b"], metadata={"axes": "CYX"}, photometric="minisblack"
    )
    group = zarr.create_group(folder / "c.zarr", zarr_format=3)
    group.create_array("0", data=pixels["c"], chunks=(1, 32, 32))
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    multiscales = [{"axes": axes, "datasets": datasets}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    return pixels


def check(store, pixels):
    opened = open_store(store)
    names = [name.rsplit("/")[-1][0] for name in opened.images["id"].tolist()]
    assert sorted(names) == sorted(pixels)
    assert len(opened) == len(pixels) * 3 * 4
    patches = opened.read(range(len(opened)))["image"]
    places = zip(*(opened.index[name].tolist() for name in ("image", "y", "x")), strict=True)
    for patch, (image, y, x) in zip(patches, places, strict=True):
        expected = pixels[names[image]][:, y : y + 32, x : x + 32]
        np.testing.assert_array_equal(patch, expected)
    assert not verify(store).damage


def test_a_plate_on_an_object_store(images, tmp_path, client, s3):
    bucket = S3Store("bucket", **s3, client_options={"allow_http": True})
    for path in sorted((tmp_path / "plate").rglob("*")):
        if path.is_file():
            obstore.put(bucket, path.relative_to(tmp_path).as_posix(), path.read_bytes())
    tables = {
        "images": {"paths": "s3://bucket/plate/*", "storage": s3},
        "patches": PATCHES,
        "store": {"shard_bytes": "20 kB"},
    }
    recipe = Recipe.from_dict(tables, tmp_path)
    prepare(recipe, tmp_path / "s.zarr", client=client)
    check(tmp_path / "s.zarr", images)
    # A file that is another one by now is noticed, and named.
    obstore.put(bucket, "plate/b.ome.tif", (tmp_path / "plate" / "a.ome.tif").read_bytes())
    with pytest.raises(PatchmillError, match=r"plate/b\.ome\.tif: has changed"):
        prepare(recipe, tmp_path / "s.zarr", client=client)


def test_files_on_a_web_server(images, tmp_path, client, server):
    urls = [f"{server.url}/plate/{name}" for name in ("a.ome.tif", "b.ome.tif", "c.zarr")]
    tables = {"images": {"paths": urls}, "patches": PATCHES, "store": {"shard_bytes": "20 kB"}}
    prepare(Recipe.from_dict(tables, tmp_path), tmp_path / "s.zarr", client=client)
    check(tmp_path / "s.zarr", images)


def test_only_the_tiles_under_patches_are_fetched(tmp_path, client, server, noise):
    """One patch of a file of 8 MB, by byte ranges."""
    tifffile.imwrite(tmp_path / "a.tif", noise(2048, 2048), tile=(256, 256))
    tables = {
        "images": {"paths": f"{server.url}/a.tif"},
        "patches": {"size": 256, "stride": 2048, "allow_gaps": True},
    }
    prepare(Recipe.from_dict(tables, tmp_path), tmp_path / "s.zarr", client=client)
    ranges = (asked.removeprefix("bytes=").split("-") for asked in server.asked("a.tif"))
    fetched = sum(int(stop) - int(start) + 1 for start, stop in ranges)
    # Blocks of a quarter of a megabyte, for what a file begins with, its directory and the tile;
    # asked for at the survey and again by the task.
    assert fetched < 4_000_000


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("s3://bucket/nothing/*.tif", "s3://bucket/nothing/*.tif"),
        ("s3://no-such-bucket/a.tif", "no-such-bucket"),
    ],
)
def test_what_is_not_there(tmp_path, s3, path, text):
    tables = {"images": {"paths": path, "storage": s3}, "patches": PATCHES}
    with pytest.raises(PatchmillError) as error:
        plan(Recipe.from_dict(tables, tmp_path))
    assert text in str(error.value)
    assert "testing" not in str(error.value)

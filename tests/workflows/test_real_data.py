"""Real images of the test data folder: every patch is the window that tifffile reads."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, plan
from patchmill.workflows.errors import RecipeError


@pytest.fixture
def fields(data_folder):
    return data_folder / "fields"


def test_cellprofiler_human_joined_by_channel(tmp_path, cut, fields, check_store):
    folder = fields / "cellprofiler_human/images"
    images = {
        "paths": "*.tif",
        "pattern": r"AS_(?P<plate>\d+)_\d+_(?P<well>[A-P]\d\d)f(?P<field>\d\d)d(?P<channel>\d)",
        # In another order than that of the files.
        "channels": {"2": "actin", "0": "DNA", "1": "PH3"},
    }
    tables = {"images": images, "patches": {"size": 100, "stride": [100, 90], "edge": "shift"}}
    outcome = cut(tables | {"store": {"shard_bytes": "200 kB"}}, folder=folder)
    (name,) = (image.id for image in outcome.plan.images)
    planes = [tifffile.imread(next(folder.glob(f"*d{channel}.tif"))) for channel in (2, 0, 1)]
    assert not np.array_equal(planes[0], planes[1])
    expected = {name: np.stack(planes)[None, :, None]}
    store = check_store(outcome.store, expected, (100, 100), (100, 90), "shift")
    assert store.channels == ("actin", "DNA", "PH3")
    assert store.fields["image"].dtype == np.uint8
    assert outcome.plan.n_shards > 3


PROJECTIONS = r"_(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"


def test_faim_projections_joined_by_site(tmp_path, cut, fields, check_store):
    folder = fields / "faim_imagexpress/Projection-Mix/2023-02-21/1334"
    images = {"paths": "*.tif", "pattern": PROJECTIONS, "exclude": "*_thumb*", "group": "well"}
    tables = {"images": images, "patches": {"size": [96, 128]}, "store": {"codec": "zstd"}}
    outcome = cut(tables | {"patches": {"size": [96, 128], "edge": "pad"}}, folder=folder)
    expected = {}
    for site in ("1", "2"):
        # With 36 characters behind the channel; thumbnails have more.
        paths = [next(folder.glob(f"*_E07_s{site}_w{w}{'?' * 36}.tif")) for w in (1, 2, 3)]
        planes = np.stack([tifffile.imread(path) for path in paths])
        expected[f"well=E07,site={site}"] = planes[None, :, None]
    store = check_store(outcome.store, expected, (96, 128), edge="pad")
    assert store.channels == ("1", "2", "3")
    assert store.fields["image"].dtype == np.uint16
    assert len(store.images["id"]) == 2


def test_faim_planes_are_never_mixed_with_projections(tmp_path, cut, fields, client):
    """The same glob with the folders of planes, and no z in the pattern."""
    from contextlib import nullcontext

    folder = fields / "faim_imagexpress/Projection-Mix/2023-02-21/1334"
    images = {"paths": "**/*.tif", "pattern": PROJECTIONS, "exclude": "*_thumb*"}
    recipe = Recipe.from_dict({"images": images, "patches": {"size": 64}}, folder)
    with pytest.raises(PatchmillError, match="do not have every channel") as caught:
        plan(recipe, lambda: nullcontext(client))
    assert "ZStep_1" in str(caught.value)
    # With the channels that all have, each folder's images are images of their own.
    images["channels"] = {"1": "DAPI", "2": "FITC"}
    found = plan(
        Recipe.from_dict({"images": images, "patches": {"size": 64}}, folder),
        lambda: nullcontext(client),
    )
    for image in found.images:
        assert len({file.relative.rpartition("/")[0] for file in image.files.files}) == 1
    assert len(found.images) == 2 * 4
    # Where the pattern takes the folder's name as anything but z, or leaves it out, two files are
    # one plane, or images are of one folder each; with a z they are one stack.
    images["pattern"] = r"ZStep_(?P<z>\d+)/.*" + PROJECTIONS
    images["paths"] = "ZStep_*/*.tif"
    found = plan(
        Recipe.from_dict({"images": images, "patches": {"size": 64}}, folder),
        lambda: nullcontext(client),
    )
    assert [image.shape[:3] for image in found.images] == [(1, 2, 3)] * 2


def test_faim_stacks_by_folder(tmp_path, cut, fields, check_store):
    folder = fields / "faim_imagexpress/Projection-Mix/2023-02-21/1334"
    images = {
        "paths": "ZStep_*/*.tif",
        "pattern": r"ZStep_(?P<z>\d+)/.*" + PROJECTIONS,
        "exclude": "*_thumb*",
        "channels": {"1": "DAPI", "2": "FITC"},
    }
    outcome = cut({"images": images, "patches": {"size": 128}}, folder=folder)
    expected = {}
    for site in ("1", "2"):
        stack = [
            [
                tifffile.imread(next((folder / f"ZStep_{z}").glob(f"*_s{site}_w{w}{'?' * 36}.tif")))
                for z in (1, 2, 3)
            ]
            for w in (1, 2)
        ]
        expected[f"well=E07,site={site}"] = np.array(stack)[None]
    check_store(outcome.store, expected, (128, 128))


def test_stardist(tmp_path, cut, fields, check_store):
    folder = fields / "stardist/stardist/data/images"
    expected = {}
    for name in ("img2d.tif", "mask2d.tif", "img3d.tif", "mask3d.tif"):
        pixels = tifffile.imread(folder / name)
        with tifffile.TiffFile(folder / name) as tif:
            axes = tif.series[0].axes
        store = f"{name}.zarr"
        images = {"paths": name}
        if pixels.ndim == 3 and "Z" not in axes:
            images["axes"] = "ZYX"
        tables = {
            "images": images,
            "patches": {"size": [30, 33], "stride": [30, 20], "edge": "pad"},
        }
        outcome = cut(tables, store, folder=folder)
        stack = pixels if pixels.ndim == 3 else pixels[None]
        expected = {name: stack[None, None]}
        opened = check_store(outcome.store, expected, (30, 33), (30, 20), "pad")
        assert opened.fields["image"].dtype == pixels.dtype


def test_cellprofiler_illum_series(tmp_path, cut, fields, check_store):
    folder = fields / "cellprofiler_illum/images"
    images = {
        "paths": "AS_09047_*.TIF",
        "pattern": r"(?P<well>[A-P]\d\d)f(?P<field>\d\d)d(?P<channel>\d)\.TIF",
        "group": "well",
    }
    split = {"fractions": {"train": 0.6, "val": 0.4}}
    outcome = cut({"images": images, "patches": {"size": 128}, "split": split}, folder=folder)
    expected = {}
    for path in folder.glob("AS_09047_*.TIF"):
        well, field = path.stem[-8:-5], path.stem[-4:-2]
        expected[f"well={well},field={field}"] = tifffile.imread(path)[None, None, None]
    assert len(expected) == 9
    check_store(outcome.store, expected, (128, 128))


def test_cellprofiler_illum_whole_is_a_mixture(fields, client):
    from contextlib import nullcontext

    folder = fields / "cellprofiler_illum/images"
    images = {"paths": ["*.tif", "*.TIF"]}
    recipe = Recipe.from_dict({"images": images, "patches": {"size": 64}}, folder)
    with pytest.raises(RecipeError, match="the images are of several kinds") as caught:
        plan(recipe, lambda: nullcontext(client))
    text = str(caught.value)
    kinds: dict[tuple[str, int], int] = {}
    for path in [*folder.glob("*.tif"), *folder.glob("*.TIF")]:
        pixels = tifffile.imread(path)
        key = (str(pixels.dtype), pixels.shape[2] if pixels.ndim == 3 else 1)
        kinds[key] = kinds.get(key, 0) + 1
    assert len(kinds) > 1
    for (dtype, _), count in kinds.items():
        assert f"{count} of {dtype} with channels" in text

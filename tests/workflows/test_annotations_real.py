"""Real pairs of images and label maps: label values are kept, and pairs lie on each other."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchmill.tasks.patches import cut_patches
from patchmill.workflows import Recipe
from patchmill.workflows.annotations import bind_annotations
from patchmill.workflows.files import find_images
from patchmill.workflows.patch_spec import patch_spec
from patchmill.workflows.survey import survey


@pytest.fixture
def cut_whole(client):
    """Return what yields each image, (c, y, x), with its labels, (z, y, x), in one patch each."""

    def run(folder, images, labels, size=None, **patches):
        tables = {
            "images": images,
            "patches": {"size": size or 8, "edge": "pad"} | patches,
            "labels": {"nuclei": labels},
        }
        recipe = Recipe.from_dict(tables, folder)
        found = find_images(recipe)

        def connect():
            return nullcontext(client)

        surveyed, (field,) = bind_annotations(recipe, survey(recipe, found, connect), connect)
        assert not surveyed.failed
        assert surveyed.images
        for image in surveyed.images:
            whole = list(image.source.kind.resolution.size)
            whole = whole if patches.get("z") == "stack" else whole[1:]
            own = Recipe.from_dict(tables | {"patches": {"size": whole} | patches}, folder)
            patch = patch_spec(own, [image], 1)
            corner = np.zeros((1, 4), np.int64)
            pixels = cut_patches(image.source, recipe.images.options, corner, patch)[0].copy()
            (made,) = image.source.annotations
            (cut,) = made.cut(image.source, own.images.options, corner, patch, field, pixels)
            yield image.id, pixels, cut, field.dtype

    return run


def contrast(pixels, labels):
    """Return by how much objects differ from what is around them, in standard deviations."""
    inside = labels > 0
    return abs(pixels[inside].mean() - pixels[~inside].mean()) / pixels.std()


def test_dsb2018(data_folder, cut_whole):
    folder = data_folder / "fields/dsb2018"
    images = {"paths": "*/images/*.png"}
    labels = {"path": "{folder}/../labels_merged.derived.tif"}
    found = list(cut_whole(folder, images, labels))
    assert len({pixels.shape for _, pixels, _, _ in found}) > 1  # ragged
    for name, pixels, cut, dtype in found:
        expected = tifffile.imread(folder / name.split("/")[0] / "labels_merged.derived.tif")
        np.testing.assert_array_equal(cut[0], expected)
        np.testing.assert_array_equal(
            pixels, np.moveaxis(np.array(Image.open(folder / name)), -1, 0)
        )
        assert dtype == np.uint16
        # Not so of another image, or of one that is turned.
        assert contrast(pixels[0], cut[0]) > 0.8
        assert contrast(pixels[0], cut[0]) > contrast(pixels[0], cut[0, ::-1, ::-1]) + 0.3


def test_stardist(data_folder, cut_whole):
    folder = data_folder / "fields/stardist/stardist/data/images"
    images = {"paths": "img2d.tif"}
    ((_, pixels, cut, dtype),) = cut_whole(folder, images, {"path": "mask2d.tif"})
    np.testing.assert_array_equal(cut[0], tifffile.imread(folder / "mask2d.tif"))
    assert contrast(pixels[0], cut[0]) > 1
    assert dtype == np.uint16


def test_stardist_in_3d(data_folder, cut_whole):
    folder = data_folder / "fields/stardist/stardist/data/images"
    images, labels = {"paths": "img3d.tif", "axes": "ZYX"}, {"path": "mask3d.tif", "axes": "ZYX"}
    found = cut_whole(folder, images, labels, size=[8, 8, 8], z="stack")
    ((_, pixels, cut, _),) = found
    np.testing.assert_array_equal(cut, tifffile.imread(folder / "mask3d.tif"))
    assert contrast(pixels[0], cut) > 0.5


def test_labels_of_floats(data_folder, cut_whole):
    folder = data_folder / "fields/bionotebooks_2d/BBBC007"
    images, labels = {"paths": "images/*.tif"}, {"path": "{folder}/../masks/{name}"}
    found = list(cut_whole(folder, images, labels))
    assert len(found) == 4
    for name, pixels, cut, dtype in found:
        expected = tifffile.imread(folder / name.replace("images", "masks"))
        assert expected.dtype == np.float64
        assert dtype == np.uint32
        np.testing.assert_array_equal(cut[0], expected)
        assert set(np.unique(cut).tolist()) == {0, 1, 2}
        np.testing.assert_array_equal(pixels[0], tifffile.imread(folder / name))


def test_labels_of_an_ome_zarr(data_folder, cut_whole):
    import zarr

    folder = data_folder / "omezarr/fractal_v04_levels1to3"
    images = {"paths": "cardio_B03_mip.zarr"}
    found = cut_whole(folder, images, {"path": "{path}/labels/nuclei"}, z=0)
    ((_, _, cut, dtype),) = found
    expected = zarr.open_group(folder / "cardio_B03_mip.zarr/labels/nuclei", mode="r")["1"][:]
    np.testing.assert_array_equal(cut, expected)
    assert dtype == expected.dtype == np.uint32

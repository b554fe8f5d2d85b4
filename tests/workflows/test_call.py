"""A user's own step in a whole run: tried before it starts, and told from its later self."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, prepare
from patchmill.workflows.errors import RecipeError

SOURCE = '''
"""Steps of a laboratory's own."""

import cv2
import numpy as np


def box(pixels, radius, weight=1.0):
    """Return `weight` times the sum of a square."""
    kernel = np.ones((2 * radius + 1,) * 2, np.float32)
    planes = [cv2.filter2D(plane, -1, kernel) for plane in pixels.reshape(-1, *pixels.shape[2:])]
    return weight * np.stack(planes).reshape(pixels.shape)


def binned(pixels, factor):
    c, z, y, x = pixels.shape
    return pixels.reshape(c, z, y // factor, factor, x // factor, factor).mean(axis=(3, 5))


def ranks(pixels):
    """Return the rank of each pixel in its window."""
    flat = pixels.reshape(len(pixels), -1)
    return flat.argsort(kind="stable").argsort(kind="stable").reshape(pixels.shape)


def bits(pixels):
    return pixels & 0x0F


def swapped(pixels):
    return pixels[::-1]


def dice(pixels):
    return pixels + np.random.default_rng().normal(size=pixels.shape)


def blocks(pixels):
    """Return what a grid of blocks makes that begins at the window's corner."""
    made = pixels.copy()
    made[:, :, ::8] = 0
    return made


def too_bright(pixels):
    if pixels.max() > 60000:
        raise ValueError("too bright")
    return pixels
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory, survey_cache) -> Iterator[Any]:
    """A cluster whose workers can import `lab_steps`, as they do what is installed."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab_steps.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        with local_cluster(workers=2, dashboard="127.0.0.1:0") as client:
            yield client


@pytest.fixture
def run(own, tmp_path):
    """Return `prepare` of steps on the image "a.tif" in this test's folder."""

    def prepared(steps: Any, name: str = "s.zarr", **tables: Any) -> Any:
        recipe: dict[str, Any] = {
            "images": {"paths": "*.tif", "axes": "CYX"},
            "patches": {"size": 24},
            "steps": steps,
            "store": {"shard_bytes": "5 kB"},
        }
        for key, more in tables.items():
            recipe[key] = {**recipe[key], **more}
        return prepare(Recipe.from_dict(recipe, tmp_path), tmp_path / name, client=own)

    return prepared


@pytest.fixture
def image(tmp_path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 2000, (2, 75, 90)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "CYX"}, rowsperstrip=10)
    return pixels


def patches_of(path: Path | str) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield y, x and the pixels of each patch."""
    store = open_store(path)
    assert len(store) > 4
    for row, patch in enumerate(store.read(range(len(store)))["image"]):
        yield int(store.index["y"][row]), int(store.index["x"][row]), patch


def boxed(image: np.ndarray, radius: int) -> np.ndarray:
    wide = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)), "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (2 * radius + 1,) * 2, axis=(1, 2))
    return windows.sum(axis=(3, 4))


def test_it_has_no_seams(run, image, own):
    box = {"call": "lab_steps:box", "options": {"radius": 3, "weight": 0.25}, "halo_px": 3}
    expected = boxed(image, 3) * 0.25
    for number, shard_bytes in enumerate(("5 kB", "1 MB")):
        outcome = run(
            [box],
            f"{number}.zarr",
            patches={"edge": "shift"},
            store={"shard_bytes": shard_bytes, "dtype": "uint32"},
        )
        assert (outcome.plan.n_shards == 1) is (number == 1)
        assert outcome.plan.patch.halo_px == 3
        for y, x, patch in patches_of(outcome.store):
            # Whole numbers below 2**24 are exact, and a quarter rounds half to even.
            window = np.rint(expected[:, y : y + 24, x : x + 24])
            np.testing.assert_array_equal(patch, window)


def test_what_was_called_is_kept(run, image):
    table = {"name": "call", "call": "lab_steps:swapped"}
    outcome = run([table])
    for y, x, patch in patches_of(outcome.store):
        np.testing.assert_array_equal(patch, image[::-1, y : y + 24, x : x + 24])
    attributes = open_store(outcome.store).attributes
    kept = json.dumps(attributes["steps"])
    assert hashlib.sha256(SOURCE.encode()).hexdigest() in kept
    assert "lab_steps:swapped" in kept


def test_of_one_channel_in_the_type_that_it_asks_for(run, image):
    (name, _) = run([{"call": "lab_steps:swapped"}], "names.zarr").plan.channels
    outcome = run([{"call": "lab_steps:bits", "dtype": "uint16", "channels": name}])
    expected = np.stack([image[0] & 0x0F, image[1]])
    for y, x, patch in patches_of(outcome.store):
        np.testing.assert_array_equal(patch, expected[:, y : y + 24, x : x + 24])


def test_a_picture_of_another_size(run, image):
    steps = [
        {"name": "gamma", "gamma": 1},
        {"call": "lab_steps:binned", "options": {"factor": 4}, "output_size": 6},
    ]
    for y, x, patch in patches_of(run(steps).store):
        window = image[:, y : y + 24, x : x + 24].astype(np.float64)
        expected = window.reshape(2, 6, 4, 6, 4).mean(axis=(2, 4))
        np.testing.assert_array_equal(patch, np.rint(expected))


def test_a_function_of_a_whole_window(run, image):
    ranks = {"call": "lab_steps:ranks"}
    with pytest.raises(RecipeError, match=r'scope = "patch" where all of a window'):
        run([ranks], "refused.zarr")
    for y, x, patch in patches_of(run([ranks | {"scope": "patch"}]).store):
        own = image[:, y : y + 24, x : x + 24].reshape(2, -1)
        expected = own.argsort(kind="stable").argsort(kind="stable")
        np.testing.assert_array_equal(patch.reshape(2, -1), expected)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"call": "lab_steps:box"}, r"TypeError: box\(\) missing .* 'radius'"),
        ({"call": "lab_steps:box", "options": {"radius": 3}, "halo_px": 2}, "halo_px = 2 pixels"),
        ({"call": "lab_steps:box", "options": {"radius": 3}}, "write a larger halo_px"),
        ({"call": "lab_steps:blocks"}, r"13 px larger on each side"),
        ({"call": "lab_steps:dice"}, "take chance out of it"),
        ({"call": "lab_steps:bits"}, r"ufunc 'bitwise_and' .* in lab_steps.py, line 27"),
        ({"call": "lab_steps:binned", "options": {"factor": 1}, "output_size": 6}, "of that size"),
        ({"call": "lab_steps:none"}, "lab_steps:none cannot be imported"),
        ({"call": "lab_step:box"}, "lab_step:box cannot be imported"),
    ],
)
def test_it_is_tried_before_the_run(run, image, tmp_path, table, found):
    with pytest.raises(RecipeError, match=rf"^steps\[0\]\.call: .*{found}") as raised:
        run([table])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "s.zarr").exists()  # which a mended recipe would have to overwrite


def test_a_halo_is_found_in_images_without_contrast(run, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 75, 90), 100, np.uint16))
    box = {"call": "lab_steps:box", "options": {"radius": 3}, "halo_px": 2}
    with pytest.raises(RecipeError, match=r"halo_px = 2 pixels .* \(tried on noise"):
        run([box])


def test_images_that_it_fails_on(run, image, tmp_path):
    table = {"call": "lab_steps:too_bright"}
    bright = np.full((2, 30, 30), 65535, np.uint16)
    tifffile.imwrite(tmp_path / "z.tif", bright, metadata={"axes": "CYX"})
    with pytest.raises(PatchmillError, match=r"z.tif: call: .* fails \(ValueError: too bright"):
        run([table])
    outcome = run([table], "skip.zarr", images={"on_error": "skip"})
    assert [name for name, _ in outcome.failed] == ["z.tif"]
    assert len(open_store(outcome.store)) == 9


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"call": "mylab"}, r'call: found "mylab"; write "package.module:function"'),
        ({"name": "call"}, "call"),
        ({"call": "a:b", "options": [1]}, r"options: .*write a table such as \{ radius = 3 \}"),
        ({"call": "a:b", "options": {"a b": 1}}, '"a b" is no name of an argument'),
        ({"call": "a:b", "options": {"a": float("nan")}}, "a is neither text, number"),
        ({"call": "a:b", "halo_px": -1}, "halo_px: found -1; write a whole number of pixels"),
        ({"call": "a:b", "halo_px": 3, "scope": "patch"}, "of a whole window; leave it out"),
        ({"call": "a:b", "halo_px": 3, "output_size": 3}, "of a whole window; leave it out"),
        ({"call": "a:b", "scope": "local", "output_size": 3}, "leave one out"),
        ({"call": "a:b", "radius": 3}, "radius: unknown key"),
    ],
)
def test_a_recipe_is_read_strictly(table, found):
    with pytest.raises(RecipeError, match=found):
        Recipe.from_dict({"images": {"paths": "x"}, "patches": {"size": 8}, "steps": [table]})


def test_a_recipe_that_was_kept_can_be_read_again():
    table = {"call": "a:b", "options": {"c": [1, 2], "d": {"e": "f"}}, "output_size": 5}
    tables = {"images": {"paths": "x"}, "patches": {"size": 8}, "steps": [table]}
    recipe = Recipe.from_dict(tables)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.canonical()))) == recipe


def test_a_function_that_has_changed_does_not_go_on(tmp_path, monkeypatch, survey_cache):
    pixels = np.random.default_rng(0).integers(0, 2000, (96, 96)).astype(np.uint16)
    pixels[-1, -1] = 65535
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    module = tmp_path / "lab_changing.py"
    monkeypatch.syspath_prepend(tmp_path)
    tables = {
        "images": {"paths": "a.tif"},
        "patches": {"size": 16},
        "steps": [{"call": "lab_changing:own"}],
        "store": {"shard_bytes": "1 kB"},
    }
    recipe = Recipe.from_dict(tables, tmp_path)

    def again(source: str) -> Any:
        module.write_text(source)
        with local_cluster(workers=1, threads=1, dashboard="127.0.0.1:0") as client:
            return prepare(recipe, tmp_path / "s.zarr", client=client)

    checks = "def own(pixels):\n    assert pixels.max() < 3000 or pixels.size > 256\n"
    with pytest.raises(PatchmillError, match="fails"):
        again(checks + "    return pixels\n")
    with pytest.raises(PatchmillError, match=r"the step call .* has changed since this store"):
        again("def own(pixels):\n    return pixels + 1\n")
    # The same function again: what is finished stands.
    with pytest.raises(PatchmillError, match="fails"):
        again(checks + "    return pixels\n")


def test_workers_that_still_have_the_old_function_are_found(tmp_path, monkeypatch, survey_cache):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(1024, dtype=np.uint16).reshape(32, 32))
    module = tmp_path / "lab_stale.py"
    module.write_text("def own(pixels):\n    return pixels\n")
    monkeypatch.syspath_prepend(tmp_path)
    tables = {
        "images": {"paths": "a.tif"},
        "patches": {"size": 16},
        "steps": [{"call": "lab_stale:own"}],
    }
    recipe = Recipe.from_dict(tables, tmp_path)
    with local_cluster(workers=1, threads=1, dashboard="127.0.0.1:0") as client:
        prepare(recipe, tmp_path / "0.zarr", client=client)
        module.write_text("def own(pixels):\n    return pixels + 1\n")
        with pytest.raises(RecipeError, match=r"has changed since .*; restart the cluster"):
            prepare(recipe, tmp_path / "1.zarr", client=client)
    assert "lab_stale" not in sys.modules

"""No seams: patches of any size, in shards of any size, are windows of the step on all the image.

Every step whose value at a pixel is decided by the pixels around it has a case here; a step of its
own needs a line in `CASES` and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.workflows.step_recipe import StepRecipe
from patchmill.workflows.steps_section import STEPS

CHANNELS = ("DNA", "actin")
NAMES = {"0": "DNA", "1": "actin"}
#: By what it shows, the tables [[steps]]. Files that they name are written by `folder`.
CASES: dict[str, list[dict[str, Any]]] = {
    "hot_pixels": [{"name": "hot_pixels"}],
    "hot_pixels 5": [{"name": "hot_pixels", "size_px": 5, "threshold_counts": 400}],
    "median": [{"name": "median", "size_px": 3}],
    "median 7": [{"name": "median", "size_px": 7}],
    "gaussian": [{"name": "gaussian", "sigma_px": 1.3}],
    "gaussian of a channel": [{"name": "gaussian", "sigma_px": 4, "channels": "actin"}],
    "invert": [{"name": "invert"}],
    "background constant": [{"name": "background", "method": "constant", "value": 99.5}],
    "background opening": [
        {"name": "background", "method": "opening", "radius_px": 6, "shrink": 1}
    ],
    "background opening of blocks": [
        {"name": "background", "method": "opening", "radius_px": 40, "shrink": 5}
    ],
    "background rolling_ball": [
        {"name": "background", "method": "rolling_ball", "radius_px": 25, "shrink_by": "min"}
    ],
    "gamma": [{"name": "gamma", "gamma": 0.7}],
    "log": [{"name": "log"}, {"name": "max", "scope": "all", "from": "all"}],
    "clip": [{"name": "clip", "low": 300, "high": 3000}],
    "all of a microscope": [
        {"name": "illumination", "flat": "flat_{channel}.npy", "dark": 100},
        {"name": "hot_pixels"},
        {"name": "background", "method": "opening", "radius_px": 26, "channels": "DNA"},
        {"name": "gaussian", "sigma_px": 0.8},
        {"name": "percentile", "scope": "all", "from": "all"},
    ],
}
#: How the image is stored, and cut; each of its own patches, shards and segments.
CUTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"rowsperstrip": 7}, {"size": 64, "edge": "pad"}),
    (
        {"tile": (64, 48), "compression": "zlib"},
        {"size": [50, 90], "stride": [37, 90], "edge": "shift", "margin_px": 9},
    ),
    ({}, {"size": [150, 30], "stride": [75, 30], "edge": "pad", "pad": 7}),
]
SHAPE = (197, 243)
#: The second is one shard.
SHARD_BYTES = ("70 kB", "1 MB", "200 kB")


def scene(dtype: str, *shape: int) -> np.ndarray:
    """Counts of a camera: shading, cells, noise, hot pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    light = 300 + 200 * np.exp(-((y - 80) ** 2 + (x - 120) ** 2) / 9000)
    for cy, cx in rng.uniform(0, 240, (40, 2)):
        light += 900 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18)
    pixels = 100 + rng.poisson(light, shape) + rng.normal(0, 3, shape)
    pixels[rng.random(shape) < 0.002] += 2500
    return pixels.astype(dtype) if dtype.startswith("f") else np.rint(pixels).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number, name in enumerate(CHANNELS):
        flat = 1000 - 0.01 * (y - 90) ** 2 - 0.005 * (x - 100 - 40 * number) ** 2
        np.save(tmp_path / f"flat_{name}.npy", flat.astype(np.float32))
    return tmp_path


def stored(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Round and saturate, once."""
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, "uint16") for case in CASES),
        # Where sums are made, the last bit counts.
        *(
            (case, "float32")
            for case in CASES
            if case.startswith(("gaussian", "background", "all"))
        ),
    ],
)
def test_patches_are_windows_of_the_whole(folder, cut, run_mirrored, case, dtype):
    image = scene(dtype, len(CHANNELS), *SHAPE)
    around = 160
    for number, (layout, patches) in enumerate(CUTS):
        tifffile.imwrite(folder / "image.tif", image, metadata={"axes": "CYX"}, **layout)
        tables = {
            "images": {"paths": "image.tif", "axes": "CYX", "channels": NAMES},
            "patches": patches,
            "steps": CASES[case],
            "store": {"shard_bytes": SHARD_BYTES[number]},
        }
        outcome = cut(tables, f"{number}.zarr", folder=folder)
        (source,) = (own.source for own in outcome.plan.images)
        whole = run_mirrored(
            source.steps.after,
            image[:, None].astype(np.float32),
            (-around, -around),
            tuple(length + 2 * around for length in SHAPE),
        )
        store = open_store(outcome.store)
        found = store.read(range(len(store)))["image"]
        assert len(found) > 5
        assert (outcome.plan.n_shards > 1) is (number != 1)
        expected = stored(whole[:, 0], found.dtype)
        if "pad" in patches:
            outside = np.ones(expected.shape, bool)
            outside[:, around:-around, around:-around] = False
            expected[outside] = patches["pad"]
        margin = patches.get("margin_px", 0)
        for row, patch in enumerate(found):
            y = int(store.index["y"][row]) + around - margin
            x = int(store.index["x"][row]) + around - margin
            window = expected[:, y : y + patch.shape[1], x : x + patch.shape[2]]
            np.testing.assert_array_equal(patch, window, err_msg=f"{case}, cut {number}, row {row}")


@pytest.mark.parametrize("size", [64, 110])
def test_steps_before_a_projection_are_of_whole_planes(tmp_path, cut, run_mirrored, size):
    stack = scene("uint16", 4, *SHAPE)
    tifffile.imwrite(tmp_path / "image.tif", stack, photometric="minisblack", rowsperstrip=11)
    tables = {
        "images": {"paths": "image.tif", "axes": "ZYX"},
        "patches": {"size": size, "edge": "shift", "z": "max"},
        "steps": [
            {"name": "hot_pixels"},
            {"name": "background", "method": "opening", "radius_px": 30, "shrink": 4},
            {"name": "geometry"},
            {"name": "gaussian", "sigma_px": 2},
        ],
        "store": {"shard_bytes": "70 kB"},
    }
    outcome = cut(tables)
    (source,) = (own.source for own in outcome.plan.images)
    assert len(source.steps.before) == 2
    planes = run_mirrored(source.steps.before, stack[None].astype(np.float32))
    whole = run_mirrored(source.steps.after, planes.max(axis=1, keepdims=True))
    expected = stored(whole[0, 0], np.dtype(np.uint16))
    store = open_store(outcome.store)
    for row, (patch,) in enumerate(store.read(range(len(store)))["image"]):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        np.testing.assert_array_equal(patch, expected[y : y + size, x : x + size])


def test_every_local_step_has_a_case():
    listed = {(step["name"], step.get("method")) for steps in CASES.values() for step in steps}
    for kind in STEPS:
        if kind.step is not StepRecipe.step:
            (name,) = kind.model_fields["name"].annotation.__args__
            method = kind.model_fields.get("method")
            method = method.annotation.__args__[0] if method else None
            assert (name, method) in listed

"""Statistics that steps need: of the right pixels, each once, against NumPy of whole images."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, plan, prepare
from patchmill.workflows.bound_steps import bind_steps, bindings
from patchmill.workflows.errors import RecipeError

PATTERN = r"(?P<plate>P\d)_(?P<well>[A-Z]\d\d)_(?P<role>[a-z]+)_w(?P<channel>\d)"
#: Not whole patches along either axis.
SHAPE = (50, 70)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    """Let no test find what another one has measured."""
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plates(tmp_path):
    """Write two plates of four wells, each with its own brightness; return all that they hold."""
    return write_plates(tmp_path)


def write_plates(folder: Path, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    images = {}
    for plate in (1, 2):
        for number, well in enumerate("ABCD"):
            role = "control" if well in "AB" else "treated"
            key = f"plate=P{plate},well={well}01,role={role}"
            rng = np.random.default_rng([seed, plate, number])
            pixels = rng.gamma(3, 200 * plate + 40 * number, (2, *SHAPE)).clip(0, 65535)
            images[key] = pixels.astype(np.uint16)
            for channel in range(2):
                path = folder / f"P{plate}_{well}01_{role}_w{channel + 1}.tif"
                tifffile.imwrite(path, images[key][channel], rowsperstrip=16, **options)
    return images


def tables_of(*steps: dict[str, Any], **tables: Any) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "images": {"paths": ["*.tif"], "pattern": PATTERN, "group": ["well", "plate"]},
        "patches": {"size": [16, 16]},
        "split": {"fractions": {"train": 0.5, "test": 0.5}},
        "store": {"shard_bytes": "5 kB"},
        "steps": list(steps),
    }
    for name, keys in tables.items():
        recipe[name] = recipe.get(name, {}) | keys if keys is not None else None
    return {name: keys for name, keys in recipe.items() if keys is not None}


@pytest.fixture
def bind(client, tmp_path):
    """Return a function that plans a recipe and binds its steps."""

    def run(tables: dict[str, Any], connect: Any = None, folder: Path = tmp_path) -> Any:
        planned = plan(Recipe.from_dict(tables, folder), lambda: nullcontext(client))
        return bind_steps(planned, connect or (lambda: nullcontext(client)))

    return run


def forbidden() -> Any:
    raise AssertionError("the cluster was asked for")


def of_split(planned: Any, name: str) -> list[str]:
    number = planned.splits.names.index(name)
    return [
        image.id
        for image, split in zip(planned.images, planned.image_splits, strict=True)
        if split == number
    ]


def pooled(images: dict[str, np.ndarray], names: Any) -> np.ndarray:
    """Return every pixel of images, shape (c, n)."""
    return np.concatenate([images[name].reshape(2, -1) for name in names], axis=1)


def scaled(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((pixels - low) / (high - low), 0, 1) * 65535)


def test_all_pixels_of_the_training_images(cut, plates):
    step = {"name": "percentile", "low": 2, "high": 97.3, "statistics": "all"}
    outcome = cut(tables_of(step))
    training = of_split(outcome.plan, "train")
    assert 0 < len(training) < len(plates)
    pixels = pooled(plates, training).astype(np.float64)
    (record,) = outcome.plan.steps
    (group,) = record["groups"]
    low, high = (np.percentile(pixels, percent, axis=1) for percent in (2, 97.3))
    assert (group["low"], group["high"]) == (low.tolist(), high.tolist())
    assert (group["images"], group["pixels"]) == (len(training), [pixels.shape[1]] * 2)
    assert group["regions"] == group["of_regions"] == len(training) * 4 * 5
    assert group["sampling_error"] == {"low": [0, 0], "high": [0, 0]}
    assert record["from"] == ["train"]
    store = open_store(outcome.store)
    names, found = store.images["id"].tolist(), store.read(range(len(store)))["image"]
    for row, patch in enumerate(found):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        raw = plates[names[store.index["image"][row]]][:, y : y + 16, x : x + 16]
        for channel in range(2):
            expected = scaled(raw[channel].astype(np.float64), low[channel], high[channel])
            # Rounded from float32.
            np.testing.assert_allclose(patch[channel], expected, atol=1)


def test_groups_and_the_images_that_a_condition_names(bind, plates):
    step = {
        "name": "min_max",
        "by": ["plate"],
        "where": "role == 'control'",
        "from": "all",
        "statistics": "all",
        "channels": "2",
    }
    planned = bind(tables_of(step))
    (record,) = planned.steps
    assert [group["of"] for group in record["groups"]] == [{"plate": "P1"}, {"plate": "P2"}]
    assert (record["from"], record["where"]) == (["all"], "role == 'control'")
    for group in record["groups"]:
        own = [name for name in plates if group["of"]["plate"] in name and "control" in name]
        pixels = pooled(plates, own)[1]
        assert (group["low"], group["high"]) == ([pixels.min()], [pixels.max()])
    # Those of a group have one step in common, and it leaves the other channel alone.
    steps = {image.id: image.source.steps.after[0] for image in planned.images}
    for name, step in steps.items():
        assert step is steps[next(other for other in steps if other[:8] == name[:8])]
        assert step.channels == (1,)


def test_each_image_by_itself(bind, plates):
    step = {"name": "z_score", "scope": "image", "statistics": "all"}
    planned = bind(tables_of(step, store={"dtype": "float32"}))
    for image in planned.images:
        (step,) = image.source.steps.after
        pixels = plates[image.id].reshape(2, -1).astype(np.float64)
        np.testing.assert_allclose(step.mean, pixels.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(step.std, pixels.std(axis=1), rtol=1e-12)
    (record,) = planned.steps
    assert record["images"] == len(plates)
    assert "from" not in record


def test_each_patch_by_itself(cut, plates):
    step = {"name": "min_max", "scope": "patch", "to": [0, 100]}
    tables = tables_of(step, patches={"edge": "pad", "margin_px": 3})
    outcome = cut(tables)
    store = open_store(outcome.store)
    names, found = store.images["id"].tolist(), store.read(range(len(store)))["image"]
    for row, patch in enumerate(found):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        # Neither the border nor what lies beyond the image counts.
        raw = plates[names[store.index["image"][row]]][:, y : y + 16, x : x + 16]
        own = patch[:, 3:-3, 3:-3][:, : raw.shape[1], : raw.shape[2]]
        low, high = (end((1, 2), keepdims=True) for end in (raw.min, raw.max))
        expected = (raw.astype(np.float64) - low) / (high - low).astype(np.float64) * 100
        np.testing.assert_allclose(own, np.rint(expected), atol=1)
        assert (own.min((1, 2)).tolist(), own.max((1, 2)).tolist()) == ([0, 0], [100, 100])


def test_other_pixels_of_the_test_split_change_no_training_row(cut, plates, tmp_path):
    steps = {"name": "percentile", "statistics": 5}, {"name": "gamma", "gamma": 0.7}
    first = cut(tables_of(*steps), store="one.zarr")
    for name in of_split(first.plan, "test"):
        plate, well, role = (part.split("=")[1] for part in name.split(","))
        for channel in (1, 2):
            path = tmp_path / f"{plate}_{well}_{role}_w{channel}.tif"
            tifffile.imwrite(path, 65535 - tifffile.imread(path), rowsperstrip=16)
    second = cut(tables_of(*steps), store="two.zarr")
    assert first.plan.steps == second.plan.steps
    one, two = (open_store(o.store).select(split="train") for o in (first, second))
    assert len(one) == len(two) > 0
    for part in ("image", "index"):
        assert np.array_equal(one.read(range(len(one)))[part], two.read(range(len(two)))[part])
    test = [open_store(o.store).select(split="test") for o in (first, second)]
    assert not np.array_equal(*(s.read(range(len(s)))["image"] for s in test))


def test_the_same_bytes_for_any_number_of_workers_and_tasks(
    cut, plates, tmp_path, same_files, monkeypatch
):
    step = {"name": "z_score", "statistics": 7}
    tables = tables_of({"name": "gaussian", "sigma_px": 1.5}, step, store={"dtype": "float32"})
    cut(tables, store="one.zarr")
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "other"))
    # Less than a region of an image, so that each is a task.
    monkeypatch.setattr("patchmill.workflows.measuring.TASK_BYTES", 1000)
    monkeypatch.setattr("patchmill.workflows.measuring.WAITING_BINS", 1)
    with local_cluster(workers=1, dashboard="127.0.0.1:0") as alone:
        prepare(Recipe.from_dict(tables, tmp_path), tmp_path / "two.zarr", client=alone)
    same_files(tmp_path / "one.zarr", tmp_path / "two.zarr")


def test_the_same_numbers_for_any_size_of_shards(bind, plates):
    step = {"name": "percentile", "statistics": 3}
    one, two = (
        bind(tables_of(step, store={"shard_bytes": size})).steps for size in ("5 kB", "1 MB")
    )
    assert one == two


def test_a_second_run_reads_nothing(bind, plates):
    blur = {"name": "gaussian", "sigma_px": 1}
    first = bind(tables_of(blur, {"name": "percentile"}))
    assert bind(tables_of(blur, {"name": "percentile"}), forbidden).steps == first.steps
    # Nor do other numbers of the same pixels.
    other = bind(tables_of(blur, {"name": "percentile", "low": 5}), forbidden)
    assert other.steps[1]["groups"][0]["low"] > first.steps[1]["groups"][0]["low"]
    for changed in (
        tables_of({"name": "gaussian", "sigma_px": 2}, {"name": "percentile"}),
        tables_of(blur, {"name": "percentile", "statistics": 3}),
        tables_of(blur, {"name": "percentile"}) | {"seed": 1},
        tables_of(blur, {"name": "percentile", "from": "all"}),
    ):
        with pytest.raises(AssertionError, match="was asked for"):
            bind(changed, forbidden)


def test_a_changed_image_is_measured_again(bind, plates, tmp_path):
    bind(tables_of({"name": "max", "from": "all"}))
    path = next(tmp_path.glob("*.tif"))
    tifffile.imwrite(path, tifffile.imread(path) // 2, rowsperstrip=8)
    with pytest.raises(AssertionError, match="was asked for"):
        bind(tables_of({"name": "max", "from": "all"}), forbidden)


def test_pixels_as_they_enter_the_step(bind, plates):
    steps = {"name": "background", "method": "constant", "value": 300, "pedestal": 0}
    steps = steps, {"name": "gaussian", "sigma_px": 1.2}
    tables = tables_of(*steps, {"name": "z_score", "statistics": "all", "from": "all"})
    planned = bind(tables | {"store": {"dtype": "float32"}})
    pixels = [
        [gaussian_filter(one - 300.0, 1.2, mode="mirror") for one in image]
        for image in plates.values()
    ]
    (group,) = planned.steps[2]["groups"]
    np.testing.assert_allclose(group["mean"], np.mean(pixels, axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(group["std"], np.std(pixels, axis=(0, 2, 3)), rtol=1e-4)


def test_before_geometry_planes_count_one_by_one(bind, tmp_path):
    stack = np.random.default_rng(3).gamma(2, 300, (5, 60, 44)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZYX"}, rowsperstrip=16)
    offset = {"name": "background", "method": "percentile", "percentile": 30}
    offset |= {"statistics": "all", "pedestal": 0}
    base = {"images": {"paths": "*.tif", "axes": "ZYX"}, "patches": {"size": 16, "z": "max"}}
    before = bind(base | {"steps": [offset, {"name": "geometry"}]}, folder=tmp_path)
    after = bind(base | {"steps": [{"name": "geometry"}, offset]}, folder=tmp_path)
    for planned, expected in ((before, stack), (after, stack.max(axis=0))):
        (group,) = planned.steps[0]["groups"]
        assert group["value"] == [np.percentile(expected.astype(np.float64), 30)]
        assert group["pixels"] == [expected.size]


def test_rescaled_pixels_count_at_the_patches_resolution(bind, tmp_path):
    pixels = np.random.default_rng(4).gamma(2, 300, (90, 120)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=16)
    step = {"name": "z_score", "statistics": "all"}
    tables = {"images": {"paths": "*.tif", "voxel_um": 0.5}, "store": {"dtype": "float32"}}
    planned = bind(tables | {"patches": {"size": 16, "mpp": 1.5}, "steps": [step]})
    means = pixels.reshape(30, 3, 40, 3).mean(axis=(1, 3))
    (group,) = planned.steps[0]["groups"]
    assert group["pixels"] == [means.size]
    np.testing.assert_allclose([group["mean"], group["std"]], [[means.mean()], [means.std()]], 1e-6)


def test_the_sampling_error_is_of_the_size_of_the_error(bind, tmp_path):
    rng = np.random.default_rng(5)
    level = np.repeat(np.repeat(rng.uniform(200, 2000, (20, 20)), 16, 0), 16, 1)
    pixels = rng.poisson(level).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=64)
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16}}
    exact = pixels.astype(np.float64).mean()
    ratios = []
    for seed in range(12):
        step = {"name": "background", "method": "percentile", "percentile": 50, "statistics": 40}
        planned = bind(tables | {"steps": [step], "seed": seed})
        (group,) = planned.steps[0]["groups"]
        assert (group["regions"], group["of_regions"]) == (40, 400)
        assert group["pixels"] == [40 * 256]
        (error,) = group["sampling_error"]["value"]
        assert 0 < error < exact
        ratios.append((group["value"][0] - np.median(pixels)) / error)
    # Half a difference of halves has the standard error of the whole.
    assert 0.2 < np.sqrt(np.median(np.square(ratios))) < 5
    assert len({round(ratio, 6) for ratio in ratios}) == 12


def test_an_image_more_draws_no_other_regions(bind, plates, tmp_path):
    tables = tables_of({"name": "max", "scope": "image", "statistics": 2})
    before = {image.id: image.source.steps.after[0] for image in bind(tables).images}
    for channel in (1, 2):
        tifffile.imwrite(tmp_path / f"P0_A01_new_w{channel}.tif", np.ones(SHAPE, np.uint16))
    after = {image.id: image.source.steps.after[0] for image in bind(tables).images}
    assert len(after) == len(before) + 1
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("blurs", [False, True])
def test_with_blocks_only_training_blocks_count(cut, tmp_path, blurs):
    rng = np.random.default_rng(6)
    pixels = rng.integers(0, 4000, (192, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=16)
    split = {"fractions": {"train": 0.5, "test": 0.5}, "blocks_px": [64, 64]}
    base = {"images": {"paths": "*.tif"}, "patches": {"size": 16}, "split": split}
    base["steps"] = [{"name": "z_score", "scope": "image", "statistics": "all"}]
    if blurs:
        # Which reads pixels around a region, and around a patch.
        base["steps"].insert(0, {"name": "gaussian", "sigma_px": 1})
    base["store"] = {"dtype": "float32"}
    first = cut(base, store="one.zarr")
    (blocks,) = first.plan.blocks
    is_train = np.repeat(np.repeat(blocks == first.plan.splits.names.index("train"), 64, 0), 64, 1)
    assert is_train.any()
    assert not is_train.all()
    tifffile.imwrite(
        tmp_path / "a.tif", np.where(is_train, pixels, 60000).astype(np.uint16), rowsperstrip=16
    )
    second = cut(base, store="two.zarr")
    assert first.plan.steps == second.plan.steps
    one, two = (open_store(o.store).select(split="train") for o in (first, second))
    assert np.array_equal(*(s.read(range(len(s)))["image"] for s in (one, two)))


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"name": "max", "by": "plat"}, r'steps\[0\].by: "plat" is not a column of the images'),
        ({"name": "max", "where": "role == 'x'"}, r"statistics are missing for all: no image .*x'"),
        ({"name": "max", "where": "rule == 'x'"}, r"steps\[0\].where=.*no column 'rule'"),
        ({"name": "max", "by": "well"}, 'missing for well = .*no image of it is in "train"; write'),
        ({"name": "max", "from": "val"}, r"steps\[0\].from: .*the splits are train, test"),
        ({"name": "max", "foreground": True}, r"steps\[0\].foreground: there is no foreground"),
        ({"name": "max", "channels": "9"}, r'steps\[0\].channels: found "9"'),
        ({"name": "z_score"}, r"steps\[0\]: gives values around 0 .*uint16 would round"),
        ({"name": "log"}, r"steps\[0\]: gives logarithms.*uint16 would round"),
    ],
)
def test_what_cannot_be_measured_is_said(bind, plates, step, sentence):
    with pytest.raises(RecipeError, match=sentence):
        bind(tables_of(step), forbidden)


def test_folds_have_no_training_split(bind, plates):
    step = {"name": "max"}
    tables = tables_of(step) | {"split": {"folds": 3}}
    with pytest.raises(RecipeError, match="the splits are fold0, fold1, fold2; write"):
        bind(tables, forbidden)
    step |= {"from": ["fold1", "fold2"], "statistics": "all"}
    planned = bind(tables | {"steps": [step]})
    own = [*of_split(planned, "fold1"), *of_split(planned, "fold2")]
    assert planned.steps[0]["groups"][0]["high"] == pooled(plates, own).max(axis=1).tolist()


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ({"name": "percentile", "low": 50, "high": 50}, "steps[0].low"),
        ({"name": "max", "scope": "image", "by": "plate"}, "steps[0].by"),
        ({"name": "max", "scope": "patch", "foreground": True}, "steps[0].foreground"),
        ({"name": "max", "scope": "patch", "statistics": 3}, "steps[0].statistics"),
        ({"name": "max", "scope": "image", "where": "a > 1"}, "steps[0].where"),
        ({"name": "max", "statistics": 0}, "steps[0].statistics"),
        ({"name": "max", "from": ["all", "train"]}, "steps[0].from"),
        ({"name": "max", "to": [1, 1]}, "steps[0].to"),
        ({"name": "clip"}, "steps[0].low"),
        ({"name": "gamma"}, "steps[0].gamma"),
    ],
)
def test_what_a_recipe_may_not_say(step, key):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(tables_of(step))
    assert key in str(caught.value)


def test_the_plan_can_say_what_will_be_read(client, tmp_path, plates):
    recipe = Recipe.from_dict(tables_of({"name": "max", "from": "all", "statistics": 4}), tmp_path)
    planned = plan(recipe, lambda: nullcontext(client))
    ((step, binding),) = bindings(recipe, planned.images, planned.patch)
    known = {"split_names": planned.splits.names, "image_splits": planned.image_splits}
    nbytes = step.bytes_measured(replace(binding, **known))
    assert nbytes == len(plates) * 4 * 16 * 16 * 2 * 2


def damage(path: Path) -> None:
    """Overwrite the last strip of a compressed file."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, nbytes = page.dataoffsets[-1], page.databytecounts[-1]
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(b"\xff" * nbytes)


@pytest.mark.parametrize("task_bytes", [1 << 28, 1000])
def test_an_image_that_cannot_be_read(bind, tmp_path, monkeypatch, task_bytes):
    # In one task, or in several of which one fails.
    monkeypatch.setattr("patchmill.workflows.measuring.TASK_BYTES", task_bytes)
    images = write_plates(tmp_path, compression="zlib")
    tables = tables_of({"name": "max", "from": "all", "statistics": "all"})
    damage(tmp_path / "P1_B01_control_w1.tif")
    with pytest.raises(PatchmillError, match=r"P1_B01_control_w1\.tif"):
        bind(tables)
    tables["images"]["on_error"] = "skip"
    planned = bind(tables)
    bad = "plate=P1,well=B01,role=control"
    assert planned.steps[0]["left_out"] == [bad]
    rest = pooled(images, [name for name in images if name != bad])
    assert planned.steps[0]["groups"][0]["high"] == rest.max(axis=1).tolist()


def test_an_image_that_cannot_be_scaled_by_itself_is_void(cut, tmp_path):
    write_plates(tmp_path, compression="zlib")
    damage(tmp_path / "P1_B01_control_w1.tif")
    tables = tables_of({"name": "max", "scope": "image", "statistics": "all"})
    tables["images"]["on_error"] = "skip"
    outcome = cut(tables)
    store = open_store(outcome.store)
    names = store.images["id"].tolist()
    of = np.array(names)[store.index["image"]]
    assert not store.index["valid"][of == "plate=P1,well=B01,role=control"].any()
    assert store.index["valid"][of != "plate=P1,well=B01,role=control"].all()


def write_halves(folder: Path) -> np.ndarray:
    """Write an image whose left half is dark and whose right half is bright."""
    pixels = np.random.default_rng(8).normal(150, 10, (96, 128))
    pixels[:, 64:] += np.random.default_rng(9).uniform(1500, 3000, (96, 64))
    pixels = pixels.astype(np.uint16)
    tifffile.imwrite(folder / "a.tif", pixels, rowsperstrip=16)
    return pixels


FOREGROUND = {"method": "fixed", "value": 1000}


@pytest.mark.parametrize("statistics", ["all", 6])
def test_background_is_left_out(bind, tmp_path, statistics):
    pixels = write_halves(tmp_path)
    step = {"name": "min_max", "foreground": True, "statistics": statistics}
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16}, "foreground": FOREGROUND}
    planned = bind(tables | {"steps": [step]})
    (group,) = planned.steps[0]["groups"]
    assert planned.steps[0]["foreground"]
    bright = pixels[pixels > 1000]
    if statistics == "all":
        assert (group["low"], group["high"]) == ([bright.min()], [bright.max()])
        assert group["pixels"] == [bright.size]
        assert group["sampling_error"] == {"low": [0], "high": [0]}
    else:
        # Regions without foreground are not counted among those that were asked for.
        assert (group["regions"], group["pixels"]) == (6, [6 * 256])
        assert group["low"][0] >= bright.min()


def test_an_image_without_foreground_has_no_numbers(bind, tmp_path):
    write_halves(tmp_path)
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16}}
    tables["foreground"] = FOREGROUND | {"value": 60000}
    step = {"name": "max", "foreground": True}
    with pytest.raises(RecipeError, match=r"steps\[0\]: nothing can be measured of the 1 images"):
        bind(tables | {"steps": [step]})
    planned = bind(tables | {"steps": [step | {"scope": "image"}]})
    (image,) = planned.images
    assert "hold no pixel of foreground" in image.source.steps.after[0].reason
    assert planned.steps[0]["images"] == 0


def test_a_percentile_is_subtracted_and_a_pedestal_added(cut, plates):
    step = {"name": "background", "method": "percentile", "percentile": 20, "from": "all"}
    outcome = cut(tables_of(step | {"statistics": "all"}))
    pixels = pooled(plates, plates)
    value = np.percentile(pixels.astype(np.float64), 20, axis=1)
    (record,) = outcome.plan.steps
    assert record["pedestal"] == 100
    assert record["groups"][0]["value"] == value.tolist()
    store = open_store(outcome.store)
    names = store.images["id"].tolist()
    for row in range(0, len(store), 7):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        raw = plates[names[store.index["image"][row]]][:, y : y + 16, x : x + 16]
        expected = np.rint(raw - value[:, None, None] + 100).clip(0, 65535)
        np.testing.assert_allclose(store[row]["image"], expected, atol=1)


def test_a_range_that_nothing_says(bind, plates):
    gamma = {"name": "gamma", "gamma": 0.5}
    with pytest.raises(RecipeError, match=r"steps\[0\].range: is missing.*float32 made of uint16"):
        bind(tables_of(gamma, store={"dtype": "float32"}), forbidden)
    steps = {"name": "max", "from": "all"}, gamma | {"range": [0, 1]}
    planned = bind(tables_of(*steps, store={"dtype": "float32"}))
    assert planned.images[0].source.steps.after[0].to_high == 1


def test_a_patch_is_not_measured_before_there_is_one(bind, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 32, 32), np.uint16), metadata={"axes": "ZYX"})
    steps = [{"name": "max", "scope": "patch"}, {"name": "geometry"}]
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16, "z": "max"}, "steps": steps}
    with pytest.raises(RecipeError, match=r'steps\[0\].scope: found "patch".*behind name = "geom'):
        bind(tables, forbidden)


def test_planes_of_a_stack_count_once_each(bind, tmp_path):
    stack = np.random.default_rng(11).integers(0, 999, (2, 7, 40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"})
    step = {"name": "background", "method": "percentile", "percentile": 41, "statistics": "all"}
    tables = {"images": {"paths": "*.tif", "axes": "TZYX"}, "steps": [step]}
    for patches, expected in (
        ({"size": [3, 16, 16], "z": "stack"}, stack),
        ({"size": 16}, stack),
        ({"size": 16, "z": 2}, stack[:, 2]),
        ({"size": 16, "t": 1}, stack[1]),
        ({"size": 16, "t": "max"}, stack.max(axis=0)),
    ):
        planned = bind(tables | {"patches": patches})
        (group,) = planned.steps[0]["groups"]
        assert group["pixels"] == [expected.size]
        assert group["value"] == [np.percentile(expected.astype(np.float64), 41)]


def test_real_fields(bind, data_folder):
    folder = data_folder / "fields/cellprofiler_human/images"
    pattern = r"AS_(?P<plate>\d+)_\d+_(?P<well>[A-P]\d\d)f(?P<field>\d\d)d(?P<channel>\d)"
    step = {"name": "percentile", "by": "plate", "statistics": "all"}
    tables = {"images": {"paths": "*.tif", "pattern": pattern}, "patches": {"size": 100}}
    planned = bind(tables | {"steps": [step]}, folder=folder)
    (group,) = planned.steps[0]["groups"]
    for channel, low, high in zip(planned.channels, group["low"], group["high"], strict=True):
        pixels = tifffile.imread(next(folder.glob(f"*d{channel}.tif"))).astype(np.float64)
        assert [low, high] == np.percentile(pixels, [0.1, 99.9]).tolist()

"""[foreground] and [filters] on a cluster: against plain loops; the cache, groups, faults."""

import json
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import tifffile
from skimage import filters

from patchmill.reader import open_store
from patchmill.workflows import Recipe, plan
from patchmill.workflows.considered import make_candidates
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.files import find_images
from patchmill.workflows.foreground_binding import mask_resolution
from patchmill.workflows.kinds import check_kinds
from patchmill.workflows.rejection import reject, why_nothing_is_left
from patchmill.workflows.scores import score_candidates
from patchmill.workflows.survey import survey

SIZE = 16


def field(seed, cells=5, shape=(96, 128), light=600.0, sharp=True):
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    pixels = np.zeros(shape)
    for _ in range(cells):
        centre = rng.integers(8, 88, 2)
        pixels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 49] = light
    if not sharp:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 4)
    noisy = rng.poisson(100 + pixels) + rng.normal(50, 3, shape)
    return noisy.round().clip(0, 65_535).astype(np.uint16)


class Lab:
    """A folder of images, and what is found of them."""

    def __init__(self, folder, client):
        self.folder, self.client = folder, client
        self.asked = 0
        self.connected = 0

    @contextmanager
    def connect(self):
        self.connected += 1
        yield self.client

    def recipe(self, **tables):
        content = {
            "images": {"paths": ["*.tif"], "pattern": r"(?P<plate>p\d)_(?P<well>\w+)\.tif"},
            "patches": {"size": [SIZE, SIZE]},
        }
        for name, keys in tables.items():
            content[name] = {**content.get(name, {}), **keys}
        return Recipe.from_dict(content, self.folder)

    def write(self, **images):
        for name, pixels in images.items():
            tifffile.imwrite(
                self.folder / f"{name}.tif", pixels, rowsperstrip=16, photometric="minisblack"
            )
        return images

    def score(self, recipe):
        found = find_images(recipe)
        surveyed = check_kinds(recipe, survey(recipe, found, self.connect))
        considered = make_candidates(recipe, surveyed, (), self.connect)
        self.connected = 0
        return score_candidates(
            recipe,
            surveyed,
            lambda image: considered.windows(recipe.patches, image),
            self.connect,
        )

    def plan(self, recipe):
        return plan(recipe, self.connect)


@pytest.fixture
def lab(tmp_path, client):
    return Lab(tmp_path, client)


def blocks(pixels, size=SIZE):
    """Patches of a grid in reading order, (n, ..., y, x)."""
    height, width = (n // size * size for n in pixels.shape[-2:])
    return [
        pixels[..., y : y + size, x : x + size]
        for y in range(0, height, size)
        for x in range(0, width, size)
    ]


def test_an_image_has_its_own_threshold(lab):
    images = lab.write(p1_A1=field(1), p1_A2=field(2, light=90), p1_A3=field(3, cells=0))
    scored = lab.score(lab.recipe(foreground={"method": "otsu"}))
    for image, shares in zip(scored.surveyed.images, scored.columns["foreground"], strict=True):
        pixels = images[image.files.files[0].relative[:-4]]
        mask = pixels > filters.threshold_otsu(pixels)
        if "A3" in image.id:
            mask[:] = False
        np.testing.assert_allclose(shares, [own.mean() for own in blocks(mask)], atol=1e-6)
        assert shares.dtype == np.float32
    assert scored.read_bytes == 3 * 96 * 128 * 2


def test_a_group_has_one_threshold_of_all_its_images(lab):
    images = lab.write(
        p1_A1=field(1),
        p1_A2=field(2, cells=0),
        p2_A1=field(3, light=3000),
        p2_A2=field(4, cells=0),
        p3_A1=field(5, cells=0),
        p3_A2=field(6, cells=0),
    )
    scored = lab.score(lab.recipe(foreground={"method": "otsu", "by": ["plate"]}))
    for image, shares in zip(scored.surveyed.images, scored.columns["foreground"], strict=True):
        name = image.files.files[0].relative[:-4]
        together = np.stack([images[f"{name[:2]}_A1"], images[f"{name[:2]}_A2"]])
        threshold = filters.threshold_otsu(together)
        mask = images[name] > (np.inf if name.startswith("p3") else threshold)
        np.testing.assert_allclose(shares, [own.mean() for own in blocks(mask)], atol=1e-6)
        (found,) = image.source.foreground.thresholds
        assert found == (np.inf if name.startswith("p3") else threshold)


def test_other_limits_read_nothing_and_another_mask_reads_again(lab):
    lab.write(p1_A1=field(1), p1_A2=field(2))
    options = {"method": "otsu", "by": ["plate"], "min_foreground_fraction": 0.1}
    focus = {"focus": {"min": 10.0}, "clipped": {"max": 0.1}}
    first = lab.score(lab.recipe(foreground=options, filters=focus))
    assert lab.connected == 3
    options["min_foreground_fraction"] = 0.5
    focus = {"focus": {"min": 99.0, "max": 1e6}, "clipped": {"max": 0.5}}
    second = lab.score(lab.recipe(foreground=options, filters=focus))
    assert lab.connected == 0
    for name, columns in first.columns.items():
        np.testing.assert_array_equal(columns, second.columns[name])
    # Histograms are known, masks are others.
    lab.score(lab.recipe(foreground=options | {"closing_px": 3.0}, filters=focus))
    assert lab.connected == 1
    lab.score(lab.recipe(foreground=options | {"method": "triangle"}, filters=focus))
    assert lab.connected == 1
    lab.score(lab.recipe(foreground=options, filters=focus, patches={"stride": [8, 8]}))
    assert lab.connected == 2
    tifffile.imwrite(lab.folder / "p1_A2.tif", field(7))
    third = lab.score(lab.recipe(foreground=options, filters=focus))
    assert lab.connected == 3
    assert (third.columns["foreground"][1] != second.columns["foreground"][1]).any()


def test_a_changed_limit_plans_anew_without_a_cluster(lab):
    lab.write(p1_A1=field(1), p1_A2=field(2, cells=1))
    lab.plan(lab.recipe(foreground={"method": "otsu", "min_foreground_fraction": 0.1}))
    lab.connected = 0
    plans = [
        lab.plan(lab.recipe(foreground={"method": "otsu", "min_foreground_fraction": share}))
        for share in (0.01, 0.3, 0.6)
    ]
    assert lab.connected == 0
    lengths = [len(own.rows) for own in plans]
    assert lengths[0] > lengths[1] > lengths[2] > 0
    assert len({own.digest for own in plans}) == 3


def test_filters_are_those_of_opencv_and_numpy(lab):
    images = lab.write(p1_A1=np.stack([field(1), field(2, sharp=False)]))
    limits = {"channel": ["c0", "c1"], "min": 0.0}
    recipe = lab.recipe(
        filters={"focus": limits, "brightness": limits, "clipped": {"channel": "c1", "max": 0.5}},
        images={"axes": "CYX", "saturation": 300},
    )
    scored = lab.score(recipe)
    for number, name in enumerate(("c0", "c1")):
        own = [block[number].astype(np.float64) for block in blocks(images["p1_A1"])]
        sharp = [cv2.Laplacian(block, cv2.CV_64F)[1:-1, 1:-1].var() for block in own]
        np.testing.assert_allclose(scored.columns[f"sharpness_{name}"][0], sharp, rtol=1e-6)
        bright = [block.mean() for block in own]
        np.testing.assert_allclose(scored.columns[f"brightness_{name}"][0], bright, rtol=1e-6)
    clipped = [(block[1] >= 300).mean() for block in blocks(images["p1_A1"])]
    assert max(clipped) > 0
    np.testing.assert_allclose(scored.columns["clipped_c1"][0], clipped, rtol=1e-6)
    assert "clipped_c0" not in scored.columns
    sharp, blurred = (scored.columns[f"sharpness_{name}"][0].max() for name in ("c0", "c1"))
    assert sharp > 3 * blurred


def test_patches_at_the_edge_are_scored_by_what_is_in_the_image(lab):
    images = lab.write(p1_A1=field(1, shape=(40, 50)))
    recipe = lab.recipe(patches={"edge": "pad", "pad": 0}, filters={"brightness": {"min": 1.0}})
    found = lab.score(recipe).columns["brightness_c0"][0]
    expected = [
        images["p1_A1"][y : y + 16, x : x + 16].mean() for y in (0, 16, 32) for x in (0, 16, 32, 48)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_saturation_of_colours(lab):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    tifffile.imwrite(lab.folder / "p1_A1.tif", pixels, photometric="rgb")
    hsv = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[..., 1]
    recipe = lab.recipe(filters={"saturation": {"min": 0.1}})
    found = lab.score(recipe).columns["saturation"][0]
    np.testing.assert_allclose(found, [own.mean() for own in blocks(hsv)], rtol=1e-5)
    grey = lab.recipe(filters={"saturation": {"channel": ["R", "G"], "min": 0.1}})
    with pytest.raises(RecipeError, match="needs three channels"):
        lab.score(grey)


def test_clipped_by_the_bits_that_ome_says(lab):
    pixels = field(1, light=9000).clip(0, 4095)
    for bits in (12, 10):
        ome = tifffile.OmeXml()
        ome.addimage(np.uint16, pixels.shape, (1, 1, 1, *pixels.shape, 1), axes="YX")
        text = ome.tostring().replace('BigEndian="false"', f'SignificantBits="{bits}"')
        text = (
            text
            if "SignificantBits" in text
            else text.replace('Type="uint16"', f'Type="uint16" SignificantBits="{bits}"')
        )
        path = lab.folder / "p1_A1.tif"
        tifffile.imwrite(path, pixels, description=text.encode(), metadata=None)
        scored = lab.score(lab.recipe(filters={"clipped": {"max": 0.1}}))
        assert scored.surveyed.images[0].significant_bits == bits
        expected = [(own >= 2**bits - 1).mean() for own in blocks(pixels)]
        assert 0 < np.mean(expected) < 0.5
        np.testing.assert_allclose(scored.columns["clipped_c0"][0], expected, rtol=1e-6)
        assert not scored.notes


def test_clipped_by_a_pile_up_which_is_a_guess(lab):
    images = lab.write(p1_A1=field(1, light=9000).clip(0, 4095), p1_A2=field(2))
    scored = lab.score(lab.recipe(filters={"clipped": {"max": 0.1}}))
    for pixels, found in zip(images.values(), scored.columns["clipped_c0"], strict=True):
        expected = [(own == 4095).mean() for own in blocks(pixels)]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    (note,) = scored.notes
    assert scored.read_bytes == 2 * 96 * 128 * 2
    assert "c0: no file says where its camera is saturated; guessed" in note
    assert "4095 (1 images)" in note


def test_no_pile_up_is_no_clipping(lab):
    # Of few photons many pixels have the highest value, and more have the next.
    dim = np.random.default_rng(0).poisson(0.3, (96, 128)).astype(np.uint16)
    lab.write(p1_A1=field(1), p1_A2=dim, p1_A3=np.zeros_like(dim))
    scored = lab.score(lab.recipe(filters={"clipped": {"max": 0.1}}))
    assert not any(own.any() for own in scored.columns["clipped_c0"])
    assert "pile up" in scored.notes[0]


def test_floats_do_not_say_where_they_are_clipped(lab):
    lab.write(p1_A1=field(1).astype(np.float32))
    with pytest.raises(RecipeError, match=r"write images\.saturation"):
        lab.score(lab.recipe(filters={"clipped": {"max": 0.1}}))


def test_a_damaged_image_is_left_out_of_all_columns(lab):
    lab.write(p1_A1=field(1), p1_A2=field(2), p1_A3=field(3))
    path = lab.folder / "p1_A2.tif"
    tifffile.imwrite(path, field(2), compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[0].dataoffsets[2], tif.pages[0].databytecounts[2]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    for tables in (
        {"foreground": {"method": "otsu"}},
        {"foreground": {"method": "otsu", "by": ["plate"]}},
        {"filters": {"brightness": {"min": 1.0}}},
        {"foreground": {"method": "fixed", "value": 300}, "filters": {"focus": {"min": 1.0}}},
    ):
        scored = lab.score(lab.recipe(**tables))
        assert len(scored.surveyed.images) == 2
        ((files, reason),) = scored.surveyed.failed
        assert files.id.endswith("A2")
        assert "p1_A2.tif" in reason
        assert str(lab.folder) not in reason
        assert all(len(own) == 2 for own in scored.columns.values())


def test_a_store_has_scores_and_reasons(cut, lab):
    images = lab.write(p1_A1=field(1), p1_A2=field(2, cells=1))
    tables = {
        "images": {"paths": ["*.tif"]},
        "patches": {"size": [SIZE, SIZE]},
        "foreground": {"method": "otsu", "min_foreground_fraction": 0.2},
        "filters": {"brightness": {"max": 600.0}},
    }
    outcome = cut(tables)
    store = open_store(outcome.path if hasattr(outcome, "path") else lab.folder / "s.zarr")
    share, bright, kept = [], [], 0
    for pixels in images.values():
        mask = pixels > filters.threshold_otsu(pixels)
        share += [own.mean() for own in blocks(mask)]
        bright += [own.mean() for own in blocks(pixels)]
    kept = (np.array(share) >= 0.2) & (np.array(bright) <= 600)
    assert 0 < kept.sum() < len(kept)
    assert len(store) == kept.sum()
    np.testing.assert_allclose(
        np.sort(store.index["foreground"]), np.sort(np.array(share)[kept]), atol=1e-6
    )
    assert (store.index["brightness_c0"] <= 600).all()


def test_reasons_are_the_first_limit_that_is_missed():
    recipe = Recipe.from_dict(
        {
            "images": {"paths": "*.tif"},
            "patches": {"size": 8},
            "foreground": {
                "method": "otsu",
                "min_foreground_fraction": 0.1,
                "max_foreground_fraction": 0.9,
            },
            "filters": {"focus": {"channel": ["a", "b"], "min": 5.0}, "clipped": {"max": 0.5}},
        }
    )
    columns = {
        "foreground": np.float32([0.1, 0.0, 1.0, 0.5, 0.5, 0.5, np.nan]),
        "sharpness_a": np.float32([5, 0, 9, 4, 9, 9, 9]),
        "sharpness_b": np.float32([5, 0, 9, 0, 1, 9, 9]),
        "clipped_a": np.float32([0.5, 1, 0, 0, 0, 0.6, 0]),
    }
    reason, names = reject(recipe, columns)
    assert names == ("", "foreground", "sharpness_a", "sharpness_b", "clipped_a")
    assert reason.tolist() == [0, 1, 1, 2, 3, 4, 1]
    empty, same = reject(recipe, {name: np.zeros(0, np.float32) for name in columns})
    assert (len(empty), same) == (0, names)


def test_a_recipe_that_leaves_nothing_says_why_and_by_how_much(lab):
    lab.write(p1_A1=field(1, cells=1))
    recipe = lab.recipe(
        foreground={"method": "otsu", "min_foreground_fraction": 0.999},
        filters={"brightness": {"max": 1.0}},
    )
    with pytest.raises(RecipeError) as error:
        lab.plan(recipe)
    text = str(error.value)
    assert "of 48 candidates foreground rejects 4" in text
    assert "foreground.min_foreground_fraction = 0.999" in text
    only = lab.recipe(filters={"brightness": {"max": 1.0}})
    columns = {"brightness_c0": [np.float32([150, 20]), np.float32([7])]}
    assert why_nothing_is_left(only, columns) == (
        "of 3 candidates brightness_c0 rejects 3: the smallest of all is 7, and "
        "filters.brightness.max = 1 (write a larger one)"
    )


@pytest.mark.parametrize(
    ("patches", "planes"),
    [
        ({}, lambda stack: stack.reshape(-1, *stack.shape[2:])),
        ({"t": 1, "z": 2}, lambda stack: stack[1:, 2]),
        ({"z": "max"}, lambda stack: stack.max(axis=1)),
        ({"z": "mean", "t": "mean"}, lambda stack: stack.mean(axis=(0, 1), dtype=float)[None]),
        ({"z": 0, "t": "max"}, lambda stack: stack.max(axis=0)[:1]),
    ],
)
def test_planes_are_scored_as_they_are_cut(lab, patches, planes):
    stack = np.stack([[field(3 * t + z) for z in range(3)] for t in range(2)])
    lab.write(p1_A1=stack)
    recipe = lab.recipe(
        images={"axes": "TZYX"},
        patches=patches,
        foreground={"method": "fixed", "value": 400},
        filters={"brightness": {"min": 1.0}},
    )
    columns = lab.score(recipe).columns
    own = [block.astype(float) for plane in planes(stack) for block in blocks(plane)]
    masks = [np.float32(block) > 400 for block in own]
    np.testing.assert_allclose(columns["foreground"][0], [m.mean() for m in masks], atol=1e-6)
    np.testing.assert_allclose(columns["brightness_c0"][0], [b.mean() for b in own], rtol=1e-5)


def test_boxes_and_rescaled_patches(lab):
    stack = np.stack([field(z) for z in range(4)])
    lab.write(p1_A1=stack)
    tables = {
        "images": {"axes": "ZYX", "voxel_um": 0.5},
        "foreground": {"method": "fixed", "value": 400},
        "filters": {"brightness": {"min": 1.0}},
    }
    boxes = {"size": [2, SIZE, SIZE], "z": "stack"}
    columns = lab.score(lab.recipe(patches=boxes, **tables)).columns
    own = [block for z in (0, 2) for block in blocks(stack[z : z + 2])]
    shares = [(block > 400).mean() for block in own]
    np.testing.assert_allclose(columns["foreground"][0], shares, atol=1e-6)
    np.testing.assert_allclose(columns["brightness_c0"][0], [b.mean() for b in own], rtol=1e-5)
    coarse = {"size": [8, 8], "mpp": 1.0}
    columns = lab.score(lab.recipe(patches=coarse, **tables)).columns
    own = [block for plane in stack for block in blocks(plane)]
    shares = [(block > 400).mean() for block in own]
    np.testing.assert_allclose(columns["foreground"][0], shares, atol=1e-6)
    np.testing.assert_allclose(columns["brightness_c0"][0], [b.mean() for b in own], rtol=1e-4)


@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_foreground_by_mask_files(lab, kind):
    lab.write(p1_A1=field(1), p1_A2=field(2))
    rng = np.random.default_rng(5)
    masks = [rng.integers(0, 3, (96, 128), dtype=np.uint8) for _ in range(2)]
    (lab.folder / "masks").mkdir()
    for number, mask in enumerate(masks, start=1):
        tifffile.imwrite(lab.folder / "masks" / f"p1_A{number}.tif", mask)
    table = {"path": "masks/{stem}.tif"}
    if kind == "masks":
        table["classes"] = {"0": "glass", "1": "tumour", "2": "stroma"}
    foreground = {"method": "mask", "mask": f"{kind}.tissue", "min_foreground_fraction": 0.6}
    recipe = lab.recipe(foreground=foreground, **{kind: {"tissue": table}})
    found = lab.plan(recipe)
    expected = np.concatenate([[own.mean() for own in blocks(mask > 0)] for mask in masks])
    shares = found.rows.candidates["foreground"]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert len(found.rows) == (expected >= 0.6).sum()
    lab.connected = 0
    lab.plan(lab.recipe(foreground=foreground, **{kind: {"tissue": table}}))
    assert lab.connected == 0
    tifffile.imwrite(lab.folder / "masks" / "p1_A2.tif", masks[0], compression="zlib")
    changed = lab.plan(recipe).rows.candidates["foreground"]
    assert lab.connected
    np.testing.assert_allclose(changed, np.tile(expected[:48], 2), atol=1e-6)
    if kind == "masks":
        foreground["classes"] = ["stroma"]
        recipe = lab.recipe(foreground=foreground, masks={"tissue": table})
        with pytest.raises(RecipeError, match="the largest of all is 0"):
            lab.plan(recipe)


def problems(lab, **tables):
    with pytest.raises(RecipeError) as error:
        lab.recipe(**tables)
    return str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "foreground.method: is missing"),
        ({"method": "otzu"}, 'found "otzu"; write "otsu"'),
        ({"method": "fixed"}, "foreground.value: method"),
        ({"method": "percentile"}, "percentile = 90"),
        ({"method": "local_std"}, "radius_px = 16"),
        ({"method": "mask"}, 'mask = "masks.tissue"'),
        ({"method": "mask", "mask": "tissue"}, 'write "masks.NAME" or "labels.NAME"'),
        ({"method": "otsu", "value": 3}, 'foreground.value: is for method = "fixed"'),
        ({"method": "fixed", "value": 3, "min_value": 1}, "leave one out"),
        ({"method": "fixed", "value": 3, "by": "plate"}, "foreground.by: is for thresholds"),
        ({"method": "otsu", "min_value": 3, "max_value": 1}, "write a larger one"),
        ({"method": "otsu", "closing_px": 3, "closing_um": 1}, "say the same"),
        ({"method": "otsu", "min_foreground_fraction": 10}, "a number from 0 to 1"),
        ({"method": "otsu", "channel": ["a", "a"]}, "write each name once"),
        ({"method": "otsu", "min_fraction": 0.1}, "unknown key"),
    ],
)
def test_a_table_that_is_wrong_says_so(lab, keys, said):
    assert said in problems(lab, foreground=keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"focus": {}}, "neither min nor max"),
        ({"focus": {"min": 3, "max": 1}}, "filters.focus.max: found 1"),
        ({"blur": {"min": 3}}, "filters.blur: unknown key"),
        ({"focus": {"min": "3"}}, 'filters.focus.min: found "3"'),
    ],
)
def test_a_filter_that_is_wrong_says_so(lab, keys, said):
    assert said in problems(lab, filters=keys)


def test_what_does_not_fit_the_images_says_so(lab):
    lab.write(p1_A1=np.stack([field(1), field(2)]))
    axes = {"images": {"axes": "CYX"}}
    for foreground, said in (
        ({"method": "otsu"}, 'foreground.channel: is missing; write which.*"c0", "c1"'),
        ({"method": "otsu", "channel": "DAPI"}, 'found "DAPI"; the channels are'),
        ({"method": "otsu", "channel": "c0", "by": "row"}, 'foreground.by: "row" is not a column'),
        ({"method": "saturation"}, "needs three channels"),
        ({"method": "mask", "mask": "masks.tissue"}, 'found "masks.tissue"; the recipe makes none'),
    ):
        with pytest.raises(RecipeError, match=said):
            lab.score(lab.recipe(foreground=foreground, **axes))
    scored = lab.score(
        lab.recipe(foreground={"method": "otsu", "channel": "c0", "closing_um": 3.0}, **axes)
    )
    ((_, reason),) = scored.surveyed.failed
    assert "foreground.closing_um needs; write images.voxel_um" in reason


def test_micrometres_are_pixels_of_their_size(lab):
    lab.write(p1_A1=field(1))
    voxel = {"images": {"voxel_um": 0.5}}
    lengths = {"closing_um": 2.0, "min_area_um2": 10.0, "max_hole_um2": 5.0}
    by_um = lab.score(lab.recipe(foreground={"method": "otsu", **lengths}, **voxel))
    lengths = {"closing_px": 4.0, "min_area_px": 40.0, "max_hole_px": 20.0}
    by_px = lab.score(lab.recipe(foreground={"method": "otsu", **lengths}))
    one, other = (own.surveyed.images[0].source.foreground for own in (by_um, by_px))
    assert (one.closing, one.min_area, one.max_hole) == (4, 40, 20)
    assert one == other


@pytest.mark.parametrize(
    ("shapes", "pixels", "level", "zoom"),
    [
        ([(1, 1000, 1000)], 1_000_000, 0, 1),
        ([(1, 2160, 2560)], 1_000_000, 0, 2),
        ([(1, 40_000, 30_000), (1, 10_000, 7500), (1, 2500, 1875)], 1_000_000, 2, 2),
        ([(1, 40_000, 30_000), (1, 10_000, 7500), (1, 250, 188)], 1_000_000, 1, 9),
        ([(8, 4000, 4000), (4, 1000, 1000)], 1_000_000, 0, 4),
        ([(1, 5, 7)], 1_000_000, 0, 1),
    ],
)
def test_the_level_of_a_mask(lab, shapes, pixels, level, zoom):
    from types import SimpleNamespace

    from patchmill.tasks.resolution import as_level
    from patchmill.tasks.source import Level

    image = SimpleNamespace(
        source=SimpleNamespace(kind=SimpleNamespace(resolution=as_level(shapes, 0))),
        levels=[Level(shape, (1, 1, 1, 1, 1)) for shape in shapes],
    )
    found, number = mask_resolution(image, pixels)
    assert (number, found.level, found.zoom) == (level, level, (1, zoom, zoom))
    assert found.scale[1] == pytest.approx(shapes[0][1] / shapes[level][1] * zoom, rel=0.01)


def test_scores_do_not_depend_on_how_windows_are_shared_out(lab, monkeypatch):
    lab.write(p1_A1=field(1, shape=(200, 300)), p1_A2=field(2))
    recipe = lab.recipe(
        filters={"focus": {"min": 1.0}, "brightness": {"min": 1.0}, "clipped": {"max": 1.0}},
        patches={"stride": [5, 7]},
    )
    once = lab.score(recipe)
    monkeypatch.setattr("patchmill.workflows.filters.PIECE_BYTES", 20_000)
    monkeypatch.setenv("PATCHMILL_CACHE", str(lab.folder / "cache"))
    often = lab.score(recipe)
    assert lab.connected == 1
    assert json.dumps(sorted(once.columns)) == json.dumps(sorted(often.columns))
    for name, columns in once.columns.items():
        for one, other in zip(columns, often.columns[name], strict=True):
            np.testing.assert_array_equal(one, other)

"""Masks and label maps from files: found, checked against their images, and cut with them."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from patchmill.reader.errors import PatchmillError
from patchmill.tasks.patches import cut_patches
from patchmill.tasks.source import SourceError
from patchmill.workflows import Recipe
from patchmill.workflows.annotations import annotation_identity, bind_annotations
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.files import find_images, settled
from patchmill.workflows.kinds import check_kinds
from patchmill.workflows.patch_spec import patch_spec
from patchmill.workflows.survey import survey

CLASSES = {0: "background", 1: "live", 2: "dead"}


@contextmanager
def no_cluster():
    pytest.fail("a cluster was started")
    yield


@pytest.fixture
def bind(client, tmp_path):
    """Return what binds the annotations of nested tables: (recipe, surveyed, fields)."""

    def run(tables, folder=tmp_path, connect=lambda: nullcontext(client)):
        tables = {"images": {"paths": "*.tif"}, "patches": {"size": 8}} | tables
        recipe = Recipe.from_dict(tables, folder)
        found = find_images(recipe)
        recipe = settled(recipe, found.columns)
        surveyed = check_kinds(recipe, survey(recipe, found, connect))
        return recipe, *bind_annotations(recipe, surveyed, connect)

    return run


def cut(bound, corners, image=0, field=0):
    """Return windows of an image, (n, c, y, x), and of one of its fields, (n, z, y, x)."""
    recipe, surveyed, fields = bound
    source, options = surveyed.images[image].source, recipe.images.options
    patch = patch_spec(recipe, surveyed.images, len(corners))
    corners = np.asarray(corners, np.int64).reshape(-1, 4)
    patches = cut_patches(source, options, corners, patch).copy()
    windows = patches.reshape(len(corners), patch.channels, -1, *patches.shape[-2:])
    made = source.annotations[field].cut(source, options, corners, patch, fields[field], windows)
    return patches, made


@pytest.fixture
def pair(tmp_path, noise):
    """An image and its mask in a folder of its own; images are told apart by their names."""

    def write(name="a", shape=(20, 24), values=3, mask_shape=None, dtype="uint8"):
        pixels = noise(*shape, seed=len(name))
        mask = np.random.default_rng(1).integers(0, values, mask_shape or shape).astype(dtype)
        (tmp_path / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
        tifffile.imwrite(tmp_path / "masks" / f"{name}_mask.tif", mask)
        return pixels, mask

    return write


PATH = "{folder}/masks/{stem}_mask.tif"


def test_masks_and_labels_are_cut_with_their_image(bind, pair):
    pixels, mask = pair("a", values=3)
    other, other_mask = pair("bb", values=3)
    tables = {
        "masks": {"cells": {"path": PATH, "classes": CLASSES}},
        "labels": {"nuclei": {"path": PATH}, "again": {"path": PATH, "dtype": "uint32"}},
    }
    bound = bind(tables)
    fields = [(field.name, str(field.dtype), field.ignore) for field in bound[2]]
    assert fields == [
        ("masks/cells", "uint8", 255),
        ("labels/again", "uint32", None),
        ("labels/nuclei", "uint8", None),
    ]
    assert bound[2][0].classes == tuple(CLASSES.items())
    for number, (image, own) in enumerate(((pixels, mask), (other, other_mask))):
        for field in range(3):
            patches, windows = cut(bound, [[0, 0, 8, 16], [0, 0, 3, 5]], number, field)
            np.testing.assert_array_equal(patches[:, 0], [image[8:16, 16:], image[3:11, 5:13]])
            np.testing.assert_array_equal(windows[:, 0], [own[8:16, 16:], own[3:11, 5:13]])


def test_they_are_surveyed_once_and_enter_the_identity(bind, pair, tmp_path):
    pair()
    tables = {"masks": {"cells": {"path": PATH, "classes": CLASSES}}}
    _, surveyed, _ = bind(tables)
    _, again, _ = bind(tables, connect=no_cluster)
    (entry,) = identity = annotation_identity(surveyed.images[0])
    assert identity == annotation_identity(again.images[0])
    assert entry[0] == "masks/a_mask.tif"
    os.utime(tmp_path / "masks/a_mask.tif", ns=(5, 5))
    bound = bind(tables)
    assert annotation_identity(bound[1].images[0]) != identity
    tifffile.imwrite(tmp_path / "masks/a_mask.tif", np.zeros((20, 24), np.uint16))
    with pytest.raises(SourceError, match=r"^masks/a_mask\.tif: changed since the survey"):
        cut(bound, [0, 0, 0, 0])


@pytest.mark.parametrize(
    "path",
    [
        "masks/{stem}_mask.tif",
        "{folder}/../plate1/masks/{well}_mask.tif",
        "masks/{id}_mask.tif",
        "{path}_mask.tif",
        "masks/{name}_mask.tif",
    ],
)
def test_a_template_says_what_an_image_has(bind, tmp_path, path):
    names = {"stem": "A01_s1", "well": "A01", "name": "A01_s1.tif"}
    names |= {"id": "plate1/well=A01", "path": "plate1/A01_s1.tif", "folder": "plate1"}
    target = tmp_path / path.format(**names)
    target.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "plate1").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "plate1/A01_s1.tif", np.zeros((8, 8), np.uint8))
    tifffile.imwrite(target, np.full((8, 8), 7, np.uint8))
    images = {"paths": "plate1/A01_s1.tif", "pattern": r"(?P<well>A\d\d)_s1"}
    bound = bind({"images": images, "labels": {"nuclei": {"path": path}}})
    assert (cut(bound, [0, 0, 0, 0])[1] == 7).all()


def test_a_name_that_images_do_not_have(bind, pair):
    pair()
    with pytest.raises(RecipeError, match=r"masks\.cells\.path: found \{well\}.*\{stem\}"):
        bind({"masks": {"cells": {"path": "{well}.png", "classes": CLASSES}}})


def test_a_column_of_the_manifest_names_the_file(bind, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/manifest.csv").write_text("image,mask\n../a.tif,../m/a.png\n../b.tif,\n")
    (tmp_path / "m").mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 8), np.uint8))
    Image.fromarray(np.full((8, 8), 2, np.uint8)).save(tmp_path / "m/a.png")
    mask = {"column": "mask", "classes": CLASSES, "missing_mask": "background"}
    tables = {"images": {"manifest": "lists/manifest.csv"}, "masks": {"cells": mask}}
    bound = bind(tables)
    assert [(cut(bound, [0, 0, 0, 0], n)[1] == value).all() for n, value in ((0, 2), (1, 0))]
    mask["missing_mask"] = "raise"
    _, surveyed, _ = bind(tables)
    ((files, reason),) = surveyed.failed
    assert files.id == "b.tif"
    assert reason.startswith("names no file in its column mask (masks.cells)")
    tables["masks"] = {"cells": mask | {"column": "msk"}}
    with pytest.raises(RecipeError, match=r'masks\.cells\.column: "msk" is not a column.*mask'):
        bind(tables)


def test_an_image_without_its_file_is_a_fault_unless_it_may(bind, pair, tmp_path):
    pair("a")
    pair("bb")
    (tmp_path / "masks/a_mask.tif").unlink()
    mask = {"path": PATH, "classes": CLASSES, "ignore": 99}
    recipe, surveyed, _ = bind({"masks": {"cells": mask}})
    assert [image.id for image in surveyed.images] == ["bb.tif"]
    with pytest.raises(PatchmillError, match=r'a\.tif: has no file masks/a_mask\.tif.*"ignore"'):
        check_kinds(recipe, surveyed)
    for policy, value in (("ignore", 99), ("background", 0)):
        bound = bind({"masks": {"cells": mask | {"missing_mask": policy}}})
        assert (cut(bound, [0, 0, 0, 0])[1] == value).all()
    bound = bind({"labels": {"nuclei": {"path": PATH, "missing_mask": "background"}}})
    assert not cut(bound, [0, 0, 0, 0])[1].any()
    with pytest.raises(RecipeError, match=r'labels\.n\.missing_mask: found "ignore"'):
        bind({"labels": {"n": {"path": PATH, "missing_mask": "ignore"}}})


@pytest.mark.parametrize(("shape", "said"), [((10, 12), {"factor": 2}), ((5, 6), {"factor": 4})])
def test_a_mask_at_a_factor_is_mapped_by_it(bind, pair, shape, said):
    _, mask = pair(mask_shape=shape)
    bound = bind({"masks": {"cells": {"path": PATH, "classes": CLASSES} | said}})
    large = np.kron(mask, np.ones((said["factor"],) * 2, np.uint8))
    np.testing.assert_array_equal(cut(bound, [0, 0, 7, 9])[1][0, 0], large[7:15, 9:17])


def test_a_mask_at_an_mpp_is_mapped_by_it(bind, pair):
    _, mask = pair(mask_shape=(10, 12))
    tables = {"masks": {"cells": {"path": PATH, "classes": CLASSES, "mpp": 1.0}}}
    images = {"paths": "*.tif", "voxel_um": 0.5}
    bound = bind(tables | {"images": images})
    large = np.kron(mask, np.ones((2, 2), np.uint8))
    np.testing.assert_array_equal(cut(bound, [0, 0, 7, 9])[1][0, 0], large[7:15, 9:17])
    _, surveyed, _ = bind(tables)
    assert "masks.cells.mpp needs; write masks.cells.factor" in surveyed.failed[0][1]


def fault(bound):
    ((_, reason),) = bound[1].failed
    return reason


@pytest.mark.parametrize(
    ("shape", "said", "sizes"),
    [
        ((10, 12), {}, ("10 x 12", "20 x 24")),
        ((20, 23), {}, ("20 x 23", "20 x 24")),
        ((20, 24), {"factor": 4}, ("20 x 24", "20 x 24", "4 x 4")),
        ((7, 6), {"factor": 4}, ("7 x 6", "20 x 24")),
    ],
)
def test_any_other_size_is_a_fault_that_names_both(bind, pair, shape, said, sizes):
    pair(mask_shape=shape)
    reason = fault(bind({"masks": {"cells": {"path": PATH, "classes": CLASSES} | said}}))
    assert reason.startswith("masks/a_mask.tif: is ")
    assert all(size in reason for size in sizes)
    assert "masks.cells.factor" in reason


def test_a_smaller_file_may_be_rounded_up_or_down(bind, pair):
    """What it does not reach is ignored, never background."""
    for shape, reaches in (((6, 8), (20, 24)), ((7, 8), (20, 24))):
        _, mask = pair(mask_shape=shape)
        tables = {"masks": {"cells": {"path": PATH, "classes": CLASSES, "factor": 3}}}
        whole = cut(bind(tables | {"patches": {"size": [20, 24]}}), [0, 0, 0, 0])[1][0, 0]
        large = np.kron(mask, np.ones((3, 3), np.uint8))[: reaches[0], : reaches[1]]
        expected = np.full((20, 24), 255, np.uint8)
        expected[: large.shape[0], : large.shape[1]] = large
        np.testing.assert_array_equal(whole, expected)


def test_channels_of_a_mask(bind, pair, tmp_path):
    pair()
    grey = np.random.default_rng(0).integers(0, 3, (20, 24), np.uint8)
    path = tmp_path / "masks/a_mask.tif"
    tifffile.imwrite(path, np.stack([grey] * 3, -1), photometric="rgb")
    mask = {"path": PATH, "classes": CLASSES}
    assert "has 3 channels (R, G, B), and should have one" in fault(bind({"masks": {"c": mask}}))
    for channel in (1, "G"):
        bound = bind({"masks": {"c": mask | {"channel": channel}}})
        np.testing.assert_array_equal(cut(bound, [0, 0, 4, 4])[1][0, 0], grey[4:12, 4:12])
    reason = fault(bind({"masks": {"c": mask | {"channel": "X"}}}))
    assert 'should have "X" among them' in reason
    colours = {"live": [1, 1, 1], "dead": [2, 2, 2], "background": [0, 0, 0]}
    bound = bind({"masks": {"c": mask | {"colours": colours}}})
    np.testing.assert_array_equal(cut(bound, [0, 0, 4, 4])[1][0, 0], grey[4:12, 4:12])
    del colours["dead"]
    bound = bind({"masks": {"c": mask | {"colours": colours}}})
    with pytest.raises(SourceError, match=r"found \[2, 2, 2\]"):
        cut(bound, [0, 0, 4, 4])
    tifffile.imwrite(path, grey)
    reason = fault(bind({"masks": {"c": mask | {"colours": colours}}}))
    assert "has 1 channels of uint8, and colours are three" in reason


def test_a_palette_is_numbers_or_colours(bind, tmp_path):
    numbers = np.random.default_rng(0).integers(0, 3, (8, 8), np.uint8)
    picture = Image.fromarray(numbers).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata(numbers.ravel().tolist())
    picture.save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", numbers)
    mask = {"path": "{stem}.png", "classes": CLASSES}
    colours = {"live": [255, 0, 0], "dead": [0, 255, 0], "background": [0, 0, 0]}
    for own in (mask, mask | {"colours": colours}):
        np.testing.assert_array_equal(cut(bind({"masks": {"c": own}}), [0] * 4)[1][0, 0], numbers)


@pytest.fixture
def stacks(tmp_path, noise):
    def write(image, mask):
        for name, shape in (("a.tif", image), ("m/a.tif", mask)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            pixels = noise(*shape, seed=len(shape))
            axes = "TZYX"[-len(shape) :]
            tifffile.imwrite(tmp_path / name, pixels, metadata={"axes": axes}, ome=True)
        return pixels

    return write


LABELS = {"labels": {"n": {"path": "m/{name}"}}}


@pytest.mark.parametrize(
    ("patches", "corner", "at"),
    [
        ({"z": "each"}, [1, 2, 4, 4], (1, 2)),
        ({"z": 2}, [1, 0, 4, 4], (1, 2)),
        ({"z": 1, "t": 1}, [0, 0, 4, 4], (1, 1)),
    ],
)
def test_planes_of_a_stack_of_labels(bind, stacks, patches, corner, at):
    labels = stacks((2, 3, 16, 16), (2, 3, 16, 16))
    bound = bind(LABELS | {"patches": {"size": 8} | patches})
    found = cut(bound, corner)[1]
    np.testing.assert_array_equal(found[0, 0], labels[*at, 4:12, 4:12])


def test_a_deep_patch_has_deep_labels(bind, stacks):
    labels = stacks((4, 16, 16), (4, 16, 16))
    bound = bind(LABELS | {"patches": {"size": [2, 8, 8], "z": "stack"}})
    np.testing.assert_array_equal(cut(bound, [0, 1, 4, 4])[1][0], labels[1:3, 4:12, 4:12])


@pytest.mark.parametrize("patches", [{"z": "max", "t": "max"}, {"z": 1, "t": 0}, {"z": "focus"}])
def test_one_plane_of_labels_where_the_image_becomes_one(bind, stacks, patches):
    times = () if patches["z"] != "focus" else (1,)
    labels = stacks((*(times or (2,)), 3, 16, 16), (16, 16))
    bound = bind(LABELS | {"patches": {"size": 8} | patches})
    assert not bound[1].failed
    if patches["z"] != "focus":
        np.testing.assert_array_equal(cut(bound, [0, 0, 4, 4])[1][0, 0], labels[4:12, 4:12])


@pytest.mark.parametrize(
    ("image", "mask", "patches", "said"),
    [
        ((3, 16, 16), (16, 16), {}, "has 1 planes, and its image 3.*choose or project"),
        ((3, 16, 16), (2, 16, 16), {}, "has 2 planes, and its image 3"),
        ((3, 16, 16), (2, 16, 16), {"z": 1}, "has 2 planes, and its image 3"),
        ((3, 16, 16), (3, 16, 16), {"z": "max"}, 'has 3 planes, and patches.z = "max"'),
        ((2, 1, 16, 16), (16, 16), {}, "has 1 times, and its image 2"),
        ((2, 1, 16, 16), (2, 1, 16, 16), {"t": "mean"}, 'has 2 times, and patches.t = "mean"'),
    ],
)
def test_other_planes_are_a_fault(bind, stacks, image, mask, patches, said):
    import re

    stacks(image, mask)
    assert re.search(said, fault(bind(LABELS | {"patches": {"size": 8} | patches})))


def test_labels_in_an_ome_zarr(bind, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (1, 32, 32), np.uint16)
    labels = rng.integers(0, 2**16, (32, 32), np.uint32)
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)

    def image(group, levels, axes):
        datasets = []
        for number, level in enumerate(levels):
            group.create_array(str(number), data=level, chunks=level.shape)
            scale = [1.0] * (level.ndim - 2) + [2.0**number] * 2
            transforms = [{"type": "scale", "scale": scale}]
            datasets.append({"path": str(number), "coordinateTransformations": transforms})
        units = [{"name": a, "type": "channel" if a == "c" else "space"} for a in axes]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": units, "datasets": datasets}]

    image(root, [pixels, pixels[:, ::2, ::2]], "cyx")
    image(root.create_group("labels/nuclei"), [labels, labels[1::2, 1::2]], "yx")
    tables = {"images": {"paths": "a.zarr"}, "labels": {"n": {"path": "{path}/labels/nuclei"}}}
    bound = bind(tables)
    assert bound[2][0].dtype == np.uint32
    np.testing.assert_array_equal(cut(bound, [0, 0, 8, 8])[1][0, 0], labels[8:16, 8:16])
    # The level that is as fine as the patches is read.
    bound = bind(tables | {"patches": {"size": 8, "level": 1}})
    found = cut(bound, [0, 0, 8, 8])[1][0, 0]
    np.testing.assert_array_equal(found, labels[1::2, 1::2][4:12, 4:12])


def test_images_in_one_file_have_masks_in_one_file(bind, tmp_path):
    labels = np.random.default_rng(0).integers(0, 9, (3, 8, 8), np.uint16)
    np.save(tmp_path / "a.npy", labels)
    np.save(tmp_path / "labels.npy", labels)
    images = {"paths": "a.npy", "axes": "NYX"}
    tables = {"images": images, "labels": {"n": {"path": "labels.npy", "axes": "NYX"}}}
    bound = bind(tables)
    assert len(bound[1].images) == 3
    for number in range(3):
        np.testing.assert_array_equal(cut(bound, [0] * 4, number)[1][0, 0], labels[number])
    np.save(tmp_path / "labels.npy", labels[:2])
    assert "holds 2 images, and none is called 2" in fault(bind(tables))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("uint8", "uint16"), "uint16"),
        (("int32",), "uint32"),
        (("float64",), "uint32"),
        (("float32", "uint8"), "uint32"),
        (("int64", "uint8"), "uint64"),
    ],
)
def test_labels_have_the_smallest_type_of_their_files(bind, pair, dtypes, expected):
    masks = [pair("a" * (n + 1), dtype=dtype)[1] for n, dtype in enumerate(dtypes)]
    bound = bind({"labels": {"n": {"path": PATH}}})
    assert bound[2][0].dtype == expected
    for number, mask in enumerate(masks):
        np.testing.assert_array_equal(cut(bound, [0] * 4, number)[1][0, 0], mask[:8, :8])


def test_masks_on_a_server(bind, pair, server):
    _, mask = pair("a")
    pair("bb")
    (server.folder / "masks/bb_mask.tif").unlink()
    own = {"path": f"{server.url}/x/../masks/{{stem}}_mask.tif", "classes": CLASSES}
    bound = bind({"masks": {"m": own | {"missing_mask": "ignore"}}})
    np.testing.assert_array_equal(cut(bound, [0, 0, 4, 4])[1][0, 0], mask[4:12, 4:12])
    assert (cut(bound, [0, 0, 4, 4], 1)[1] == 255).all()
    assert f"has no file {server.url}/masks/bb_mask.tif" in fault(bind({"masks": {"m": own}}))


def test_a_file_that_cannot_be_read_is_its_images_fault(bind, pair, tmp_path):
    pair()
    (tmp_path / "masks/a_mask.tif").write_bytes(b"II*\0broken")
    reason = fault(bind({"labels": {"n": {"path": PATH}}}))
    assert reason.startswith("masks/a_mask.tif: ")
    assert str(tmp_path) not in reason


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, 'masks.m.path: is missing; write path = "{folder}/{stem}_mask.png", or column'),
        ({"path": "a", "column": "b"}, "masks.m.path: says where files are"),
        ({"path": "a{}"}, r'masks.m.path: found "a{}"; write names in braces'),
        ({"path": "a{well!r}"}, "write names in braces"),
        ({"path": "a{well"}, "expected '}'"),
        ({"path": "a", "factor": 0}, "masks.m.factor: found 0; write how many pixels"),
        ({"path": "a", "factor": 2, "mpp": 2}, "masks.m.mpp: says the resolution, as factor"),
        ({"path": "a", "ignore": 1}, 'masks.m.ignore: 1 is the class "live"'),
        ({"path": "a", "ignore": -1}, "masks.m.ignore: found -1"),
        ({"path": "a", "channel": -1}, "masks.m.channel: found -1"),
        ({"path": "a", "colours": {"liv": [1, 2, 3]}}, 'masks.m.colours: "liv" is no class'),
        ({"path": "a", "colours": {"live": [1, 2]}}, "live needs \\[red, green, blue\\]"),
        ({"path": "a", "colours": {"live": [1] * 3, "dead": [1] * 3}}, "two classes have one"),
        ({"path": "a", "classes": {"x": "live"}}, 'the class "x" is no whole number'),
        ({"path": "a", "classes": {0: "a", 1: "a"}}, 'class 1, "a", stands there twice'),
        ({"path": "a", "classes": {0: "ignore"}}, '"ignore" is no class'),
        ({"path": "a", "classes": {}}, "masks.m.classes: found {}; is empty"),
        ({"path": "a", "clases": {}}, "masks.m.clases: unknown key; did you mean classes"),
        ({"path": "a", "from": "fles"}, 'masks.m.from: found "fles"; write one of "files"'),
        (
            {"path": "a", "classes": {3: "x"}, "missing_mask": "background"},
            'needs a class called "background"',
        ),
    ],
)
def test_what_is_wrong_is_said_by_its_key(table, said):
    import re

    tables = {"images": {"paths": "*"}, "patches": {"size": 8}}
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(tables | {"masks": {"m": {"classes": CLASSES} | table}})
    assert re.search(said.replace("{", r"\{").replace("(", r"\("), str(caught.value))


@pytest.mark.parametrize("name", ["a/b", ".a", "", " a", "__a", "zarr.json"])
def test_a_name_that_no_folder_of_a_store_can_have(name):
    tables = {"images": {"paths": "*"}, "patches": {"size": 8}}
    with pytest.raises(RecipeError, match=r"labels\..*write another"):
        Recipe.from_dict(tables | {"labels": {name: {"path": "a"}}})


def test_tables_come_back_from_canonical():
    colours = {"dead": [1, 2, 3], "live": [0, 0, 0]}
    masks = {"b": {"path": "a", "classes": CLASSES, "colours": colours}}
    masks["a"] = {"column": "m", "classes": {7: "x"}, "missing_mask": "ignore", "mpp": 2}
    tables = {"images": {"paths": "*"}, "patches": {"size": 8}, "masks": masks}
    recipe = Recipe.from_dict(tables | {"labels": {"n": {"path": "a", "dtype": "uint8"}}})
    assert Recipe.from_dict(recipe.canonical()) == recipe
    assert recipe.masks["b"].unknown == "raise"
    assert recipe.masks["a"].unknown == "ignore"

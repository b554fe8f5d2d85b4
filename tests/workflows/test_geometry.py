"""Whole images: corners, coverage and counts; no source pixel in two splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.grid import reflect_index
from patchmill.tasks.resolution import as_level
from patchmill.tasks.source import ImageKind, ImageSource
from patchmill.workflows import Recipe
from patchmill.workflows.candidates import EDGE, KEPT, REASONS, SPLIT_BORDER, grid_candidates
from patchmill.workflows.considered import make_candidates, with_splits
from patchmill.workflows.files import ImageFiles
from patchmill.workflows.images import SurveyedImage
from patchmill.workflows.patches_section import PatchesRecipe
from patchmill.workflows.rows import make_rows
from patchmill.workflows.survey import Survey

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))
STRIDES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@st.composite
def recipes(draw):
    """Any size, stride (gaps, too), edge mode and border."""
    keys = {"size": list(draw(SIZES)), "stride": list(draw(STRIDES)), "allow_gaps": True}
    keys["edge"] = draw(st.sampled_from(["drop", "pad", "shift"]))
    keys["margin_px"] = draw(st.integers(0, max(keys["size"])))
    if keys["edge"] == "pad" or keys["margin_px"]:
        keys["pad"] = draw(st.sampled_from(["reflect", 0]))
    return PatchesRecipe.model_validate(keys)


@st.composite
def images(draw):
    n_t, n_z = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape = draw(SHAPES)
    segment = tuple(draw(st.integers(1, length)) for length in shape)
    return make_image((n_t, 1, n_z, *shape), segment)


def make_image(shape, segment):
    planes = np.zeros((*shape[:3], 4), np.int32)
    kind = ImageKind(planes, as_level([shape[2:]], 0), (1, 1, 1, *segment), np.dtype("u2"))
    source = ImageSource("i", (), (), (), 0, kind)
    unknown = (np.nan,) * 3
    files = ImageFiles("i", (), ())
    return SurveyedImage(files, source, shape, ("c0",), unknown, range(shape[0]))


def plane_grid(shape, recipe):
    return grid_candidates(make_image((1, 1, 1, *shape), shape), recipe)


def lay_out(images, patches, n_splits, splits, rows_per_shard, blocks=None, blocks_px=None):
    tables = {"images": {"paths": "*"}, "patches": patches.model_dump()}
    if blocks_px is not None:
        tables["split"] = {"fractions": {"train": 0.5, "val": 0.5}, "blocks_px": list(blocks_px)}
    recipe = Recipe.from_dict(tables)
    considered = make_candidates(recipe, Survey(tuple(images), ()), (), no_cluster)
    considered = with_splits(recipe, considered, blocks)
    return make_rows(considered, patches, n_splits, np.array(splits, np.int8), rows_per_shard)


def no_cluster():
    pytest.fail("a grid is known without reading")


def grid_positions(length, size, stride, edge):
    """Each position along an axis, and whether it is kept."""
    starts = [0]
    while starts[-1] + size < length and starts[-1] + stride < length:
        starts.append(starts[-1] + stride)
    for start in starts:
        if start + size <= length or edge == "pad":
            yield start, True
        elif edge == "shift" and size <= length:
            yield length - size, True
        else:
            yield start, False


def expected_grid(shape, recipe):
    axes = [
        list(grid_positions(shape[axis], recipe.size[axis], recipe.stride[axis], recipe.edge))
        for axis in (0, 1)
    ]
    return [(y, x, y_kept and x_kept) for y, y_kept in axes[0] for x, x_kept in axes[1]]


def pixels_read(y, x, shape, recipe):
    """The rows and columns of the source that end up in a patch: in its border, mirrored, too."""
    axes = []
    margin = recipe.margin_px
    for start, size, length in ((y, recipe.size[0], shape[0]), (x, recipe.size[1], shape[1])):
        if recipe.pad == "reflect":
            axes.append(np.unique(reflect_index(start - margin, size + 2 * margin, length)))
        else:
            axes.append(np.arange(max(0, start - margin), min(start + size + margin, length)))
    return np.ix_(*axes)


@given(SHAPES, recipes())
def test_the_grid_of_a_plane(shape, recipe):
    grid = plane_grid(shape, recipe)
    found = list(zip(grid.y.tolist(), grid.x.tolist(), (grid.reason == KEPT).tolist(), strict=True))
    assert found == expected_grid(shape, recipe)
    assert set(grid.reason.tolist()) <= {KEPT, EDGE}
    assert grid.kept().tolist() == [n for n, (*_, kept) in enumerate(found) if kept]
    assert REASONS[KEPT] == ""


@given(SHAPES, recipes())
def test_every_pixel_is_in_a_patch(shape, recipe):
    """Unless patches are dropped, there are gaps, or the image is smaller than a patch."""
    gaps = any(step > size for step, size in zip(recipe.stride, recipe.size, strict=True))
    small = any(length < size for length, size in zip(shape, recipe.size, strict=True))
    if gaps or recipe.edge == "drop" or (recipe.edge == "shift" and small):
        return
    grid = plane_grid(shape, recipe)
    covered = np.zeros(shape, bool)
    for n in grid.kept():
        y, x = grid.y[n], grid.x[n]
        covered[y : y + recipe.size[0], x : x + recipe.size[1]] = True
    assert covered.all()


@given(SHAPES, recipes())
def test_what_is_dropped_would_stick_out(shape, recipe):
    grid = plane_grid(shape, recipe)
    for y, x, reason in zip(grid.y, grid.x, grid.reason, strict=True):
        sticks_out = y + recipe.size[0] > shape[0] or x + recipe.size[1] > shape[1]
        if reason == EDGE:
            assert sticks_out
        elif recipe.edge != "pad":
            assert not sticks_out


def corners(columns, names=("image", "t", "z", "y", "x")):
    return list(zip(*(columns[name].tolist() for name in names), strict=True))


@settings(deadline=None)
@given(st.lists(images(), min_size=1, max_size=4), recipes(), st.integers(1, 9), st.data())
def test_every_position_is_a_row_once_or_has_a_reason(found, recipe, rows_per_shard, data):
    splits = data.draw(st.lists(st.integers(0, 2), min_size=len(found), max_size=len(found)))
    rows = lay_out(found, recipe, 3, splits, rows_per_shard)
    expected = [
        (number, t, z, y, x, kept)
        for number, image in enumerate(found)
        for t in range(image.shape[0])
        for z in range(image.shape[2])
        for y, x, kept in expected_grid(image.shape[3:], recipe)
    ]
    candidates = corners(rows.candidates, ("image", "t", "z", "y", "x", "kept"))
    assert candidates == expected
    assert ((rows.candidates["reason"] == KEPT) == rows.candidates["kept"]).all()
    kept = [candidate[:-1] for candidate in expected if candidate[-1]]
    assert sorted(corners(rows.columns)) == sorted(kept)
    assert len(rows) == len(kept)
    check_order(rows, n_splits=3)
    assert (np.array(splits)[rows.columns["image"]] == rows.columns["split"]).all()


def check_order(rows, n_splits):
    """By split, then image, then plane; and splits are ranges that follow each other."""
    keys = corners(rows.columns, ("split", "image", "t", "z"))
    assert keys == sorted(keys)
    assert len(rows.splits) == n_splits
    assert [start for start, _ in rows.splits] == [0, *(stop for _, stop in rows.splits[:-1])]
    assert rows.splits[-1][1] == len(rows)
    for split, (start, stop) in enumerate(rows.splits):
        assert (rows.columns["split"][start:stop] == split).all()


@settings(deadline=None)
@given(
    images(),
    recipes(),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_no_source_pixel_lies_in_two_splits(image, recipe, blocks_px, rows_per_shard, random):
    shape = image.shape[3:]
    counts = [-(-length // block) for length, block in zip(shape, blocks_px, strict=True)]
    blocks = np.array(
        [[random.randrange(3) for _ in range(counts[1])] for _ in range(counts[0])], np.int8
    )
    rows = lay_out([image], recipe, 3, [0], rows_per_shard, [blocks], blocks_px)
    check_order(rows, n_splits=3)
    of_pixel = blocks.repeat(blocks_px[0], 0).repeat(blocks_px[1], 1)[: shape[0], : shape[1]]
    owner = np.full(shape, -1)
    for _, _, _, y, x, split in corners(rows.columns, ("image", "t", "z", "y", "x", "split")):
        window = pixels_read(y, x, shape, recipe)
        assert (of_pixel[window] == split).all()
        assert np.isin(owner[window], (-1, split)).all()
        owner[window] = split
    # Only those are rejected that do read pixels of two splits.
    planes = image.shape[0] * image.shape[2]
    kept = rejected = 0
    for y, x, reason in corners(rows.candidates, ("y", "x", "reason")):
        if reason == EDGE:
            continue
        several = len(np.unique(of_pixel[pixels_read(y, x, shape, recipe)])) > 1
        assert (reason == SPLIT_BORDER) == several
        kept, rejected = kept + (not several), rejected + several
    inside = sum(kept for *_, kept in expected_grid(shape, recipe))
    assert kept == len(rows)
    assert kept + rejected == inside * planes


def test_ten_thousand_planes_are_columns():
    """Types are fixed, so that the same plan has the same bytes anywhere."""
    recipe = PatchesRecipe.model_validate({"size": 8})
    image = make_image((50, 1, 20, 64, 64), (64, 64))
    rows = lay_out([image], recipe, 1, [0], 100)
    assert len(rows) == 50 * 20 * 64
    types = {name: values.dtype.name for name, values in rows.columns.items()}
    assert types == {
        "image": "int32",
        "t": "int32",
        "z": "int32",
        "y": "int64",
        "x": "int64",
        "split": "uint8",
    }
    assert rows.candidates["kept"].dtype == np.bool_
    assert rows.candidates["reason"].dtype == np.uint8


def test_no_rows_at_all():
    recipe = PatchesRecipe.model_validate({"size": 8})
    image = make_image((1, 1, 1, 4, 4), (4, 4))
    rows = lay_out([image], recipe, 2, [0], 1)
    assert len(rows) == 0
    assert rows.splits == ((0, 0), (0, 0))
    assert rows.candidates["reason"].tolist() == [EDGE]
    assert lay_out([], recipe, 1, [], 1).splits == ((0, 0),)


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_grids_that_are_kept_between_images_are_not_changed(edge):
    recipe = PatchesRecipe.model_validate({"size": 8, "edge": edge})
    before = plane_grid((20, 21), recipe).reason.copy()
    blocks = np.array([[0, 1], [1, 0]], np.int8)
    image = make_image((1, 1, 1, 20, 21), (20, 21))
    lay_out([image], recipe, 2, [0], 4, [blocks], (10, 11))
    np.testing.assert_array_equal(plane_grid((20, 21), recipe).reason, before)

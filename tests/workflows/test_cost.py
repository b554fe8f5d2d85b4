"""The price of a plan, against counting segment by segment, and against a task that runs."""

import math
import threading
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.cut import ShardSpec, cut_shard
from patchmill.tasks.grid import reflect_index
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.patches import PatchSpec
from patchmill.tasks.resolution import as_level
from patchmill.tasks.shard import ShardFile
from patchmill.tasks.source import ImageKind, ImageSource
from patchmill.tasks.survey import describe
from patchmill.workflows import cost
from patchmill.workflows.candidates import grid_candidates
from patchmill.workflows.considered import Considered
from patchmill.workflows.cost import cost_of
from patchmill.workflows.files import ImageFiles
from patchmill.workflows.images import SurveyedImage
from patchmill.workflows.patches_section import PatchesRecipe
from patchmill.workflows.rows import make_rows
from patchmill.workflows.survey import Survey


def make_image(shape, segment, dtype="uint16"):
    dtype = np.dtype(dtype)
    planes = np.zeros((*shape[:3], 4), np.int32)
    kind = ImageKind(planes, as_level([shape[2:]], 0), (1, 1, 1, *segment), dtype)
    names = tuple(f"c{number}" for number in range(shape[1]))
    return surveyed(ImageSource("i", (), (), (), 0, kind), shape, names)


def surveyed(source, shape, names):
    files, unknown = ImageFiles("i", (), ()), (np.nan,) * 3
    return SurveyedImage(files, source, shape, names, unknown, range(shape[0]))


def make_spec(recipe, channels, rows_per_shard, dtype="uint16"):
    size, pad = recipe.size_zyx, recipe.pad
    margin = recipe.margin_px
    return PatchSpec(channels, size, np.dtype(dtype), pad, "lz4", 5, rows_per_shard, margin)


def lay_out(images, recipe, rows_per_shard, splits=None):
    splits = np.zeros(len(images), np.int8) if splits is None else np.array(splits, np.int8)
    candidates = tuple(grid_candidates(image, recipe) for image in images)
    considered = Considered(Survey(tuple(images), ()), candidates)
    return make_rows(considered, recipe, 3, splits, rows_per_shard)


def segments_by_pixels(images, rows, recipe, rows_per_shard):
    """Return (bytes decoded, bytes needed), pixel by pixel."""
    decoded, needed = set(), set()
    columns = [rows.columns[name].tolist() for name in ("image", "t", "z", "y", "x")]
    for row, (number, t, z, y, x) in enumerate(zip(*columns, strict=True)):
        image = images[number]
        axes = []
        for axis, start in enumerate((y, x)):
            length, size = image.shape[3 + axis], recipe.size[axis] + 2 * recipe.margin_px
            start -= recipe.margin_px
            if recipe.pad == "reflect":
                pixels = reflect_index(start, size, length)
            else:
                pixels = np.arange(max(0, start), min(start + size, length))
            # Rows between two mirrored ones are read with them.
            span = np.arange(pixels.min(), pixels.max() + 1)
            axes.append(set((span // image.source.kind.segment[3 + axis]).tolist()))
        for at in ((a, b) for a in axes[0] for b in axes[1]):
            decoded.add((row // rows_per_shard, number, t, z, *at))
            needed.add((number, t, z, *at))

    def nbytes(segments, place):
        return sum(
            math.prod(images[s[place]].source.kind.segment) * images[s[place]].shape[1] * 2
            for s in segments
        )

    return nbytes(decoded, 1), nbytes(needed, 0)


@st.composite
def images(draw):
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    segment = tuple(draw(st.integers(1, length)) for length in shape)
    planes = draw(st.tuples(st.integers(1, 2), st.just(2), st.integers(1, 2)))
    return make_image((*planes, *shape), segment)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(images(), min_size=1, max_size=3),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(3, 15), st.integers(3, 15)),
    st.sampled_from(["drop", "pad", "shift"]),
    st.integers(1, 12),
    st.booleans(),
    st.data(),
)
def test_segments_are_counted_right(found, size, stride, edge, rows_per_shard, border, data):
    keys = {"size": list(size), "stride": list(stride), "allow_gaps": True}
    keys["edge"] = edge
    keys["margin_px"] = margin = data.draw(st.integers(1, max(size))) if border else 0
    if edge == "pad" or border:
        keys["pad"] = data.draw(st.sampled_from(["reflect", 0]))
    recipe = PatchesRecipe.model_validate(keys)
    splits = data.draw(st.lists(st.integers(0, 2), min_size=len(found), max_size=len(found)))
    rows = lay_out(found, recipe, rows_per_shard, splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "COUNTED_PER_PATCH", 1000)
        price = cost.cost_of(found, rows, make_spec(recipe, 2, rows_per_shard))
    expected = segments_by_pixels(found, rows, recipe, rows_per_shard)
    assert (price.decoded_bytes, price.needed_bytes) == expected
    assert price.patch_bytes == len(rows) * 2 * math.prod(n + 2 * margin for n in size) * 2


@pytest.mark.parametrize("tile", [256, 512, 1024])
@pytest.mark.parametrize(("overlap", "limit"), [(0, 1.5), (64, 1.6)])
def test_few_tiles_are_decoded_twice(tile, overlap, limit):
    """A whole slide of 18432 x 20480, shards of 64 MB: no tile of it is decoded by many tasks.

    A shard is some 4300 px wide, so that of tiles of 1024 px a fourth lies under its border.
    """
    recipe = PatchesRecipe.model_validate({"size": 256, "stride": 256 - overlap})
    image = make_image((1, 1, 1, 18432, 20480), (tile, tile))
    rows_per_shard = 64_000_000 // (256 * 256 * 2)
    rows = lay_out([image], recipe, rows_per_shard)
    cost = cost_of([image], rows, make_spec(recipe, 1, rows_per_shard))
    assert cost.needed_bytes >= 18300 * 20300 * 2
    assert cost.decoded_bytes < limit * cost.needed_bytes


def test_reading_order_would_cost_more():
    """What the order of rows is for: the test above may not hold by itself."""
    recipe = PatchesRecipe.model_validate({"size": 256})
    image = make_image((1, 1, 1, 18432, 20480), (1024, 1024))
    rows = lay_out([image], recipe, 488)
    spec = make_spec(recipe, 1, 488)
    good = cost_of([image], rows, spec).decoded_bytes
    reading = np.lexsort((rows.columns["x"], rows.columns["y"]))
    rows.columns.update({name: values[reading] for name, values in rows.columns.items()})
    assert cost_of([image], rows, spec).decoded_bytes > 1.2 * good


def test_strips_are_decoded_about_once():
    recipe = PatchesRecipe.model_validate({"size": 256})
    image = make_image((1, 2, 1, 2700, 3600), (8, 3600))
    rows = lay_out([image] * 6, recipe, 244)
    cost = cost_of([image] * 6, rows, make_spec(recipe, 2, 244))
    assert cost.decoded_bytes < 1.2 * cost.needed_bytes


def test_the_longest_run_of_an_image_in_a_shard_is_what_is_held():
    """A run ends with a shard or an image: here 7 rows an image, 10 a shard, so 7 at most."""
    recipe = PatchesRecipe.model_validate({"size": 100})
    images = [make_image((1, 1, 1, 100, 700), (100, 700)) for _ in range(4)]
    spec = make_spec(recipe, 1, 10)
    rows = lay_out(images, recipe, 10)
    patch_bytes = 100 * 100 * 2
    seven = cost_of(images, rows, spec).peak_bytes
    five = cost_of(images, lay_out(images, recipe, 5), make_spec(recipe, 1, 5)).peak_bytes
    assert seven - five == 2 * patch_bytes


@pytest.mark.parametrize(
    ("shape", "patches", "options"),
    [
        ((2048, 2048), {"size": 256, "stride": 128}, {"tile": (256, 256), "compression": "zlib"}),
        ((2048, 2048), {"size": 512, "stride": 256}, {"rowsperstrip": 64, "compression": "zlib"}),
        ((2048, 2048), {"size": 512, "stride": 256}, {"rowsperstrip": 2048, "compression": "zlib"}),
        ((2048, 2048), {"size": 512, "stride": 256, "edge": "pad", "pad": 0}, {"rowsperstrip": 1}),
        ((2048, 2048), {"size": 600, "stride": 400, "edge": "pad"}, {"rowsperstrip": 1}),
        ((2048, 2048), {"size": 256, "margin_px": 54}, {"tile": (256, 256), "compression": "zlib"}),
        ((2048, 2048), {"size": 256, "margin_px": 256, "pad": 3}, {"rowsperstrip": 64}),
        # One patch that is most of what is held: what is copied of it must be foreseen.
        ((4000, 4000), {"size": 4000, "margin_px": 500}, {"rowsperstrip": 1}),
        # Lower than a patch: all of them stick out.
        ((500, 9000), {"size": 512, "stride": 128, "edge": "pad"}, {"tile": (256, 256)}),
    ],
    ids=str,
)
def test_the_peak_covers_what_a_task_holds(tmp_path, shape, patches, options):
    pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype("uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **options)
    info = describe(str(path), ImageOptions())
    recipe = PatchesRecipe.model_validate(patches)
    (level,) = info.levels
    planes = np.zeros((1, 1, 1, 4), np.int32)
    kind = ImageKind(planes, as_level([level.shape], 0), level.segment, np.dtype("uint16"))
    source = ImageSource("i", (str(path),), (info.identity,), ((),), 0, kind)
    image = surveyed(source, info.shape, ("c0",))
    rows = lay_out([image], recipe, 10_000)
    spec = make_spec(recipe, 1, 10_000)
    predicted = cost_of([image], rows, spec).peak_bytes
    zeros = np.zeros(len(rows), np.int32)
    corners = np.stack([zeros, zeros, rows.columns["y"], rows.columns["x"]], axis=1)
    target = ShardFile(str(tmp_path / "c.0.0.0.0"), str(tmp_path))
    splits = np.zeros(len(corners), np.uint8)
    shard = ShardSpec(
        0, (target,), spec, (), ImageOptions(), (0,), (source,), zeros, corners, splits
    )
    peaks = []

    def measure():
        # A thread of its own, which has no buffers from other tests.
        tracemalloc.start()
        cut_shard(shard)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert len(rows) * spec.nbytes < peaks[0] <= predicted


def test_a_plan_without_rows_costs_nothing():
    recipe = PatchesRecipe.model_validate({"size": 50})
    image = make_image((1, 1, 1, 40, 40), (40, 40))
    cost = cost_of([image], lay_out([image], recipe, 1), make_spec(recipe, 1, 1))
    assert (cost.patch_bytes, cost.decoded_bytes, cost.needed_bytes) == (0, 0, 0)

"""A border around each patch: its pixels against NumPy's `pad`, and all else as without one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from patchmill.reader import open_store
from patchmill.tasks.records import record_dtype
from patchmill.workflows import Recipe, plan, verify
from patchmill.workflows.cli import cli
from patchmill.workflows.errors import SplitError
from patchmill.workflows.ledger import Ledger

SIZE, MARGIN = (16, 24), 11
SHAPES = [(70, 90), (16, 24), (9, 60), (33, 10)]
KINDS = {
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 5, "compression": "zlib"},
    "raw": {"rowsperstrip": 7},
}


def tables(margin=MARGIN, **patches):
    keys = {"size": list(SIZE), "stride": [10, 17], "margin_px": margin} | patches
    return {
        "images": {"paths": "*.tif"},
        "patches": keys,
        # A shard of the one has as many rows as one of the other: the same rows in the same order.
        "store": {"shard_bytes": 3 * 2 * (SIZE[0] + 2 * margin) * (SIZE[1] + 2 * margin)},
    }


@pytest.fixture
def images(tmp_path, noise):
    """Return a function that writes images of all shapes, and returns their planes by name."""

    def write(shapes=SHAPES, **options):
        found = {}
        for number, shape in enumerate(shapes):
            found[f"{number}.tif"] = noise(*shape, seed=number)
            tifffile.imwrite(tmp_path / f"{number}.tif", found[f"{number}.tif"], **options)
        return found

    return write


def padded(plane, pad):
    around = [(MARGIN, MARGIN + SIZE[axis]) for axis in (0, 1)]
    if pad == "reflect":
        return np.pad(plane, around, mode="reflect")
    return np.pad(plane, around, constant_values=pad)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
@pytest.mark.parametrize("pad", ["reflect", 7])
def test_pixels_columns_and_statistics(tmp_path, cut, images, same_files, kind, edge, pad):
    planes = images(**KINDS[kind])
    outcome = cut(tables(edge=edge, pad=pad))
    store = open_store(outcome.store)
    assert store.fields["image"].shape == (1, SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN)
    assert store.attributes["margin_px"] == MARGIN
    names = store.images["id"].tolist()
    sources = {name: padded(plane, pad) for name, plane in planes.items()}
    patches = store.read(range(len(store)))["image"]
    assert len(patches) > 10
    for row, patch in enumerate(patches):
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        source = sources[names[store.index["image"][row]]]
        # In the padded image the window's corner is where the stored patch begins.
        expected = source[y : y + patch.shape[1], x : x + patch.shape[2]]
        np.testing.assert_array_equal(patch[0], expected)
    # Without a border the rows, columns and statistics are the same, and the window's pixels.
    bare_tables = tables(0, edge=edge, **({"pad": pad} if edge == "pad" else {}))
    bare = open_store(cut(bare_tables, "bare.zarr").store)
    assert "margin_px" not in bare.attributes
    for group in ("index", "images", "candidates"):
        same_files(outcome.store / group, bare.path / group)
    assert store.attributes["statistics"] == bare.attributes["statistics"]
    windows = patches[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    np.testing.assert_array_equal(windows, bare.read(range(len(bare)))["image"])
    assert verify(outcome.store).damage == ()


def test_a_loader_crops_the_window_or_anything_with_its_border(cut, images):
    images()
    store = open_store(cut(tables()).store)
    whole = store.read(range(len(store)))["image"]
    for batch in store.loader(batch_size=5, crop=SIZE):
        rows = batch["index"][batch["valid"]]
        expected = whole[rows][:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
        np.testing.assert_array_equal(batch["image"][batch["valid"]], expected)
    moved = 0
    for batch in store.loader(batch_size=5, crop=SIZE, random_crop=True, seed=1):
        for row, found in zip(batch["index"].tolist(), batch["image"][:, 0], strict=True):
            if row < 0:
                continue
            windows = np.lib.stride_tricks.sliding_window_view(whole[row, 0], SIZE)
            (at,) = np.argwhere((windows == found).all(axis=(2, 3))).tolist()[:1]
            moved += at != [MARGIN, MARGIN]
    assert moved > len(store) // 2


def test_it_is_another_plan(tmp_path, cut, images, client):
    from contextlib import nullcontext

    from patchmill.reader.errors import StoreError

    images()

    def digest(margin):
        recipe = Recipe.from_dict(tables(margin), tmp_path)
        return plan(recipe, lambda: nullcontext(client)).digest

    assert len({digest(0), digest(1), digest(2)}) == 3
    cut(tables(1))
    with pytest.raises(StoreError, match=r"patches\.margin_px: was 1, is 2"):
        cut(tables(2))


class StopHere(Exception):
    """Stands for a crash of the driver."""


def test_resumed_in_the_middle(tmp_path, cut, images, monkeypatch, same_files):
    images()
    whole = cut(tables(), "whole.zarr")
    add = Ledger.add_shard

    def add_shard(self, result):
        add(self, result)
        if len(self.shards) >= 2:
            raise StopHere

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add_shard", add_shard)
        with pytest.raises(StopHere):
            cut(tables())
    outcome = cut(tables())
    assert outcome.kept >= 2
    assert outcome.cut == whole.cut - outcome.kept > 0
    same_files(outcome.store, whole.store)
    with Ledger(tmp_path / "s.zarr.run" / "ledger", record_dtype(np.dtype("u2"), 1, ())) as ledger:
        assert len(ledger.shards) == whole.cut


@pytest.mark.parametrize("pad", ["reflect", 0])
@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_no_pixel_leaks_through_a_border(tmp_path, cut, edge, pad):
    # Each pixel is its own number from 1 on, so that a patch says itself where it comes from.
    pixels = np.arange(1, 200 * 190 + 1, dtype=np.uint32).reshape(200, 190)
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(32, 32))
    keys = {"size": 16, "stride": 9, "edge": edge, "pad": pad}
    split = {"fractions": {"train": 0.6, "val": 0.4}, "blocks_px": 50}

    def used(margin, name):
        tables = {"images": {"paths": "slide.tif"}, "split": split}
        outcome = cut(tables | {"patches": {**keys, "margin_px": margin}}, name)
        store = open_store(outcome.store)
        return outcome, {
            each: set(np.unique(store.select(split=each).read(range(b - a))["image"]).tolist())
            for each, (a, b) in store.splits.items()
        }

    outcome, pixels_of = used(6, "s.zarr")
    assert pixels_of["train"] - {0}
    assert pixels_of["val"] - {0}
    assert not pixels_of["train"] & pixels_of["val"] - {0}
    if edge == "drop" and pad == "reflect":
        # The border costs patches: those near another split's block.
        keys.pop("pad")
        bare, _ = used(0, "bare.zarr")
        assert len(outcome.plan.rows) < len(bare.plan.rows)


def test_blocks_that_hold_no_patch_with_its_border(tmp_path, cut, noise):
    tifffile.imwrite(tmp_path / "slide.tif", noise(160, 160))
    split = {"folds": 2, "blocks_px": 20}
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16, "margin_px": 16}}
    with pytest.raises(SplitError) as error:
        cut(tables | {"split": split})
    text = str(error.value)
    assert "with its border a patch reads [48, 48] px, and blocks have [20, 20]" in text
    assert "larger split.blocks_px or a smaller patches.margin_px" in text
    assert not (tmp_path / "s.zarr").exists()


def test_what_plan_and_info_say(tmp_path, images, cut, write_toml):
    images([(64, 64)])
    recipe = write_toml(tmp_path / "r.toml", tables())
    outcome = cut(tables())
    stored = "1 c x 38 y x 46 x, uint16, a border of 11 px included"
    text = CliRunner().invoke(cli, ["plan", str(recipe)]).output
    assert f"patches     15 of {stored}" in text
    text = CliRunner().invoke(cli, ["info", str(outcome.store)]).output
    assert f"patches   15 of {stored}" in text
    said = json.loads(CliRunner().invoke(cli, ["plan", str(recipe), "--json"]).output)
    assert said["patch"]["shape"] == [1, 38, 46]
    assert said["patch"]["margin_px"] == MARGIN
    assert said["patch_bytes"] == 15 * 38 * 46 * 2
    assert said["patches_per_shard"] == 3

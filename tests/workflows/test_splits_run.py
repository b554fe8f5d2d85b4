"""Splits as a run makes them: no group, and no pixel, lies in two of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.reader import open_store

THREE = {"fractions": {"train": 0.6, "val": 0.2, "test": 0.2}}


def split_of_wells(store_path) -> dict[str, str]:
    """The split of each well by the rows themselves; one that is in two fails."""
    store = open_store(store_path)
    names = store.index.meanings("split")
    found: dict[str, str] = {}
    for image, split in zip(store.index["image"], store.index["split"], strict=True):
        well = str(store.images["well"][image])
        assert found.setdefault(well, names[split]) == names[split], well
    return found


def read_csv(path):
    with path.open(newline="") as file:
        return {row["well"]: row["split"] for row in csv.DictReader(file)}


@pytest.fixture
def sites(tmp_path, noise):
    """Return a function that writes wells of as many sites as their number says."""

    def write(wells):
        for well, count in wells.items():
            for site in range(count):
                path = tmp_path / f"{well}_s{site}_{'high' if well < 'E' else 'low'}.tif"
                tifffile.imwrite(path, noise(32, 48, seed=ord(well[0]) * 100 + site))

    return write


def tables(split, **images):
    pattern = r"(?P<well>[A-Z]\d\d)_s(?P<site>\d)_(?P<dose>[a-z]+)"
    keys = {"paths": "*.tif", "pattern": pattern, "group": "well"} | images
    return {"images": keys, "patches": {"size": 16}, "split": split}


WELLS = {"A01": 3, "B01": 2, "C01": 2, "D01": 1, "E01": 4, "F01": 3, "G01": 1, "H01": 2}


def test_groups_stay_together_and_the_csv_says_where(tmp_path, cut, sites):
    sites(WELLS)
    outcome = cut(tables(THREE))
    found = split_of_wells(outcome.store)
    assert found == read_csv(tmp_path / "s.zarr.run/splits.csv")
    assert set(found) == set(WELLS)
    assert set(found.values()) == {"train", "val", "test"}
    images = open_store(outcome.store).images
    names = open_store(outcome.store).index.meanings("split")
    wells = images["well"].tolist()
    assert {w: names[s] for w, s in zip(wells, images["split"], strict=True)} == found


@pytest.mark.parametrize("seed", [0, 1])
def test_next_weeks_wells_move_no_old_one(tmp_path, cut, sites, seed):
    sites(WELLS)
    cut(tables(THREE))
    old = read_csv(tmp_path / "s.zarr.run/splits.csv")
    sites({"J01": 4, "K01": 1, "A02": 9, "B02": 2})
    again = tables({**THREE, "from": "s.zarr.run/splits.csv"}) | {"seed": seed}
    outcome = cut(again, "more.zarr")
    found = split_of_wells(outcome.store)
    assert {well: found[well] for well in old} == old
    assert set(found) == {*WELLS, "J01", "K01", "A02", "B02"}
    assert read_csv(tmp_path / "more.zarr.run/splits.csv") == found
    # Wells that are no longer there keep their split for when they come back.
    for path in tmp_path.glob("A01_*.tif"):
        path.unlink()
    cut(tables({**THREE, "from": "more.zarr.run/splits.csv"}), "less.zarr")
    assert read_csv(tmp_path / "less.zarr.run/splits.csv")["A01"] == found["A01"]


def test_folds(tmp_path, cut, sites):
    sites(WELLS)
    found = split_of_wells(cut(tables({"folds": 4})).store)
    assert set(found.values()) == {"fold0", "fold1", "fold2", "fold3"}


def test_stratify_keeps_shares_of_classes(tmp_path, cut, sites):
    sites({f"{letter}01": 1 for letter in "ABCDEFGH"})
    split = {"fractions": {"a": 0.5, "b": 0.5}, "stratify": "dose"}
    found = split_of_wells(cut(tables(split)).store)
    for wells in ("ABCD", "EFGH"):
        of = [found[f"{letter}01"] for letter in wells]
        assert sorted(of) == ["a", "a", "b", "b"]


def test_from_a_column(tmp_path, cut, noise):
    for number, subset in enumerate(["val", "train", "test", "train"]):
        (tmp_path / subset).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / subset / f"{number}.tif", noise(32, 32, seed=number))
    images = {"paths": "*/*.tif", "pattern": "(?P<subset>train|val|test)/(?P<name>.+).tif"}
    split = {"from": "subset"}
    store = open_store(cut({"images": images, "patches": {"size": 16}, "split": split}).store)
    assert {name: stop - start for name, (start, stop) in store.splits.items()} == {
        "train": 8,
        "val": 4,
        "test": 4,
    }
    names = store.index.meanings("split")
    subsets = store.images["subset"]
    for image, number in zip(store.index["image"], store.index["split"], strict=True):
        assert names[number] == subsets[image]


@pytest.mark.parametrize(("edge", "stride"), [("drop", 16), ("drop", 7), ("pad", 11), ("shift", 9)])
@pytest.mark.parametrize("options", [{}, {"tile": (32, 32), "compression": "zlib"}])
def test_blocks_of_one_large_image(tmp_path, cut, edge, stride, options):
    size, blocks = 16, 50
    # Each pixel is its own number, so that a patch says itself where it comes from.
    pixels = np.arange(200 * 190, dtype=np.uint32).reshape(200, 190)
    tifffile.imwrite(tmp_path / "slide.tif", pixels, **options)
    split = {"fractions": {"train": 0.7, "val": 0.3}, "blocks_px": blocks}
    outcome = cut(
        {
            "images": {"paths": "slide.tif"},
            "patches": {"size": size, "stride": stride, "edge": edge},
            "split": split,
            "store": {"shard_bytes": 30_000},
        }
    )
    store = open_store(outcome.store)
    used = {
        name: set(np.unique(store.select(split=name).read(range(stop - start))["image"]).tolist())
        for name, (start, stop) in store.splits.items()
    }
    assert used["train"]
    assert used["val"]
    assert not used["train"] & used["val"]
    assert store.images["split"].tolist() == [255]
    group = zarr.open_group(outcome.store / "candidates", mode="r")
    reasons = np.array(group["reason"].attrs["names"])[group["reason"][:]]
    assert set(reasons[~group["kept"][:]]) - {"edge"} == {"split border"}
    kept = set(zip(group["y"][:][group["kept"][:]], group["x"][:][group["kept"][:]], strict=True))
    rows = list(zip(store.index["y"], store.index["x"], strict=True))
    assert len(set(rows)) == len(rows)
    assert set(rows) == kept
    # A patch that was rejected at a border reads from blocks of both splits, or mirrors into one.
    if edge != "pad":
        block_split = {}
        for y, x, number in zip(
            store.index["y"], store.index["x"], store.index["split"], strict=True
        ):
            for at_y in {y // blocks, (y + size - 1) // blocks}:
                for at_x in {x // blocks, (x + size - 1) // blocks}:
                    assert block_split.setdefault((at_y, at_x), number) == number
        border = reasons == "split border"
        for y, x in zip(group["y"][:][border], group["x"][:][border], strict=True):
            at = {(a // blocks, b // blocks) for a in (y, y + size - 1) for b in (x, x + size - 1)}
            assert len({block_split[each] for each in at}) == 2

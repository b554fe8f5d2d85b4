"""Views of a real store by well and by condition, and their statistics by NumPy."""

import numpy as np
import pytest

from patchmill.reader import open_store


@pytest.mark.parametrize(
    "patches",
    [{"edge": "pad", "stride": [13, 11]}, {"edge": "pad", "margin_px": 3}, {"edge": "shift"}],
    ids=str,
)
def test_wells_and_conditions(tmp_path, cut, plate, plate_tables, patches):
    images = plate("ABCDEF", shape=(50, 70))
    split = {"fractions": {"train": 0.5, "val": 0.5}}
    cut(plate_tables(patches=patches, split=split))
    store = open_store(tmp_path / "s.zarr")

    def check(view, rows):
        """Compare with the windows of the images themselves: no padding, no border."""
        assert view.column("x").tolist() == store.index["x"][rows].tolist()
        windows = []
        for row in rows:
            pixels = images[store.images["id"][store.index["image"][row]]][0, :, 0]
            y, x = int(store.index["y"][row]), int(store.index["x"][row])
            windows.append(pixels[:, y : y + 16, x : x + 16].reshape(2, -1).astype(float))
        values = np.concatenate(windows, axis=1)
        found = view.statistics
        assert found["count"].tolist() == [values.shape[1]] * 2
        for name in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(
                found[name], getattr(np, name)(values, axis=1), rtol=1e-12, err_msg=name
            )

    wells = store.column("well")
    assert set(wells) == {f"{letter}01" for letter in "ABCDEF"}
    check(store.select(group="C01"), np.flatnonzero(wells == "C01"))
    two = np.flatnonzero(np.isin(wells, ["A01", "F01"]))
    check(store.select(group=["A01", "F01"]), two)
    check(store.select(where='well in ("A01", "F01")'), two)
    y, x = store.index["y"], store.index["x"]
    right = np.flatnonzero((x >= 30) & (y < 40) & (wells != "B01"))
    check(store.select(where='x >= 30 and y < 40 and well != "B01"'), right)
    train = np.flatnonzero((store.column("split") == "train") & (x >= 30))
    check(store.select(split="train", where="x >= 30"), train)
    bright = np.flatnonzero(store.index["mean_1"] > store.index["mean_2"])
    check(store.select(where="mean_1 > mean_2"), bright)


def test_images_are_the_groups_where_the_recipe_names_none(tmp_path, cut, plate, plate_tables):
    plate("AB")
    cut(plate_tables(images={"group": []}))
    store = open_store(tmp_path / "s.zarr")
    assert store.select(group="well=A01").column("well").tolist() == ["A01"] * 20


def test_two_plates_as_one(tmp_path, cut, plate, plate_tables):
    stores = []
    for number in (1, 2):
        folder = tmp_path / f"plate{number}"
        plate("AB", folder=folder, seed=number)
        stores.append(cut(plate_tables(), f"{number}.zarr", folder=folder).store)
    both = open_store(stores)
    single = [open_store(path) for path in stores]
    assert len(both) == sum(map(len, single)) == 80
    chosen = both.select(group="A01")
    assert chosen.column("store").tolist() == [0] * 20 + [1] * 20
    np.testing.assert_array_equal(
        chosen.read(range(20, 40))["image"],
        single[1].select(group="A01").read(range(20))["image"],
    )
    pixels = chosen.read(range(40))["image"].astype(float)
    np.testing.assert_allclose(chosen.statistics["mean"], pixels.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(chosen.statistics["std"], pixels.std(axis=(0, 2, 3)))

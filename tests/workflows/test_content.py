"""Crop-to-content in a whole run: scanned characters from a parquet table, and what is refused."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, verify
from patchmill.workflows.errors import RecipeError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

HEIGHT, WIDTH, SIZE = 137, 236, 128
#: The numbers of the usual script, see `script`.
CROP = {
    "name": "crop_to_content",
    "size": SIZE,
    "threshold": 80,
    "ignore_edge_px": 5,
    "margin_px": [[15, 4], [18, 7]],
    "noise": 28,
    "pad_px": 16,
    "interpolation": "linear",
}


def script(row):
    """Do what is usual for a row of the table; in float32, and rounded once."""
    image = (255 - row.reshape(HEIGHT, WIDTH)).astype(np.float32)
    image *= np.float32(255 / image.max())
    inner = image[5:-5, 5:-5] > 80
    ymin, ymax = np.where(np.any(inner, axis=1))[0][[0, -1]]
    xmin, xmax = np.where(np.any(inner, axis=0))[0][[0, -1]]
    xmin = xmin - 13 if xmin > 13 else 0
    ymin = ymin - 10 if ymin > 10 else 0
    xmax = xmax + 13 if xmax < WIDTH - 13 else WIDTH
    ymax = ymax + 10 if ymax < HEIGHT - 10 else HEIGHT
    image = image[ymin:ymax, xmin:xmax]
    image[image < 28] = 0
    lx, ly = xmax - xmin, ymax - ymin
    side = max(lx, ly) + 16
    image = np.pad(image, [((side - ly) // 2,), ((side - lx) // 2,)], mode="constant")
    return np.clip(np.rint(cv2.resize(image, (SIZE, SIZE))), 0, 255).astype(np.uint8)


def characters(count: int) -> np.ndarray:
    """Dark strokes on bright, noisy paper, shape (count, pixels)."""
    rng = np.random.default_rng(0)
    rows = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for row in rows:
        row[:] = rng.integers(215, 256, row.shape)
        points = rng.integers((8, 8), (WIDTH - 8, HEIGHT - 8), (4, 2)).reshape(-1, 1, 2)
        cv2.polylines(row, [points.astype(np.int32)], False, int(rng.integers(0, 90)), 5)
    return rows.reshape(count, -1)


def test_a_table_of_characters_becomes_what_the_script_makes(cut, tmp_path):
    rows = characters(50)
    columns = {str(n): column for n, column in enumerate(rows.T)}
    pq.write_table(
        pa.table({"image_id": [f"c{n}" for n in range(50)]} | columns), tmp_path / "t.parquet"
    )
    tables: dict[str, Any] = {
        "images": {"paths": "t.parquet", "table": {"size": [HEIGHT, WIDTH], "id": "image_id"}},
        "patches": {"size": [HEIGHT, WIDTH]},
        "steps": [{"name": "invert"}, {"name": "max", "scope": "patch"}, CROP],
        "store": {"shard_bytes": "200 kB"},
    }
    outcome = cut(tables)
    assert outcome.plan.n_shards > 3
    assert verify(outcome.store).damage == ()
    store = open_store(outcome.store)
    (channel,) = store.channels
    names = store.images["id"].tolist()
    seen = set()
    for number in range(50):
        sample = store[number]
        row = int(names[store.index["image"][number]].rpartition("#c")[2])
        np.testing.assert_array_equal(sample["image"], script(rows[row])[None])
        assert store.index[f"mean_{channel}"][number] == pytest.approx(
            sample["image"].mean(), rel=1e-12
        )
        seen.add(row)
    assert len(seen) == 50
    (split,) = store.splits
    assert store.attributes["statistics"][split][channel]["count"] == 50 * SIZE * SIZE


@pytest.fixture
def cells(tmp_path):
    """One image of two channels, in which a window has a cell, and another one nothing."""
    pixels = np.zeros((2, 40, 80), np.uint16)
    pixels[0] = 7
    pixels[1, 10:20, 5:30] = 500
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "CYX"})
    return {
        "images": {"paths": "a.tif", "axes": "CYX", "channels": {"0": "DNA", "1": "actin"}},
        "patches": {"size": 40},
    }


def crop(**options: Any) -> dict[str, Any]:
    return {
        "name": "crop_to_content",
        "size": [10, 25],
        "threshold": 100,
        "channel": "actin",
    } | options


def test_windows_with_nothing_in_them(cut, cells):
    with pytest.raises(PatchmillError, match=r"a.tif: .*no pixel above the threshold 100"):
        cut(cells | {"steps": [crop()]}, "raise.zarr")
    skipping = cells | {"images": cells["images"] | {"on_error": "skip"}}
    assert len(open_store(cut(skipping | {"steps": [crop()]}, "skip.zarr").store)) == 0
    store = open_store(cut(cells | {"steps": [crop(empty="blank")]}, "blank.zarr").store)
    found = store.read(range(2))["image"]
    assert (found[0, 0] == 7).all()
    assert (found[0, 1] == 500).all()
    assert (found[1] == 0).all()


@pytest.mark.parametrize(
    ("steps", "patches", "found"),
    [
        ([crop(channel=None)], {}, r"steps\[0\].channel is missing; .* DNA, actin"),
        (
            [crop(channel="RNA")],
            {},
            r'steps\[0\].channel: found "RNA"; the channels are DNA, actin',
        ),
        ([crop(ignore_edge_px=20)], {}, "leaves nothing of a window of"),
        ([crop(), {"name": "gaussian", "sigma_px": 1}], {}, r"steps\[1\]: gaussian reads pixels"),
        ([crop(), crop()], {}, "a second step that changes the size"),
        ([crop(size=[2, 4_000_000])], {}, "write keep_aspect = false"),
        ([crop()], {"margin_px": 4}, "patches.margin_px"),
        (
            [crop(), {"name": "z_score", "from": "all"}],
            {"at": "random", "count": 3},
            r'statistics are of windows on the grid, .* write scope = "patch"',
        ),
        (
            [crop(), {"name": "geometry"}],
            {"mpp": 2.0, "size": 20},
            r'steps\[0\]: .* move it behind name = "geometry"',
        ),
    ],
)
def test_what_does_not_go_together_is_refused(cut, cells, steps, patches, found):
    steps = [{k: v for k, v in step.items() if v is not None} for step in steps]
    images = cells["images"] | {"voxel_um": [1, 1, 1]}
    store = {"dtype": "float32"} if steps[-1]["name"] == "z_score" else {}
    tables = {"images": images, "patches": cells["patches"] | patches, "steps": steps}
    with pytest.raises(RecipeError, match=found):
        cut(tables | {"store": store})


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"margin_px": [1, 2, 3]}, r"margin_px: found \[1, 2, 3\]; write \[y, x\]"),
        ({"margin_px": [[1, -2], 3]}, "margin_px"),
        ({"margin_px": True}, "margin_px"),
        ({"channels": "actin"}, r"channels: all channels are cropped alike; write channel"),
        ({"empty": "leave"}, r'empty: found "leave"; write "raise", "blank" or "whole"'),
        ({"size": [0, 3]}, "size"),
        ({"pad_px": -1}, "pad_px"),
        ({"threshold": "high"}, "threshold"),
    ],
)
def test_a_recipe_is_read_strictly(options, found):
    with pytest.raises(RecipeError, match=found):
        Recipe.from_dict(
            {"images": {"paths": "x"}, "patches": {"size": 8}, "steps": [crop(**options)]}
        )


def test_margins_are_one_number_or_two_or_four():
    def margins(value: Any) -> Any:
        tables = {"images": {"paths": "x"}, "patches": {"size": 8}}
        recipe = Recipe.from_dict(tables | {"steps": [crop(margin_px=value)]})
        assert Recipe.from_dict(recipe.canonical()) == recipe
        return recipe.steps[0].margin_px

    assert margins(3) == ((3, 3), (3, 3))
    assert margins([3, 4]) == ((3, 3), (4, 4))
    assert margins([[3, 1], 4]) == ((3, 1), (4, 4))

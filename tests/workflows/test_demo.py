"""The demo, on a smaller plate: everything from pixels to batches, in one call."""

from __future__ import annotations

import re

import cv2
import pytest

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import demo, verify

SHAPE = (264, 520)  # two patches a field


def test_from_a_plate_to_a_picture(tmp_path, monkeypatch):
    said: list[str] = []
    folder = tmp_path / "d"
    store = demo.run_demo(folder, workers=1, say=said.append, shape=SHAPE)
    assert store == folder / "demo.zarr"
    opened = open_store(store)
    assert opened.channels == ("brightfield", "live", "dead")
    assert list(opened.splits) == ["train", "val", "test"]
    assert opened.fields["masks/cells"].shape == (256, 256)
    # Patches without cells are left out, and no others.
    assert 0.8 * 12 * 6 * 2 < len(opened) < 12 * 6 * 2
    assert verify(store).damage == ()
    picture = cv2.imread(str(folder / "patches.png"))
    assert picture is not None
    assert picture.std() > 10
    text = "\n".join(said)
    train = len(opened.select(split="train"))
    assert f"{train} of {train} patches of the training split" in text
    live, dead = re.search(r"union: live (0\.\d+), dead (0\.\d+)", text).groups()
    assert float(live) > 0.85
    assert float(dead) > 0.85
    for line in (f"patchmill info {store}", f"patchmill plan {folder / 'recipe.toml'}"):
        assert line in text
    # Once more: nothing is cut again.
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    demo.run_demo(folder, workers=1, say=said.append, shape=SHAPE)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("precious")
    with pytest.raises(PatchmillError, match="holds something else"):
        demo.run_demo(tmp_path, say=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_demo_that_was_cut_short_while_it_made_the_plate_goes_on(tmp_path, monkeypatch):
    class StopHere(Exception):
        pass

    make = demo.make_plate

    def make_half(folder, **options):
        make(folder, wells=["A01"], sites=1, shape=options["shape"])
        raise StopHere

    folder = tmp_path / "d"
    with monkeypatch.context() as patch:
        patch.setattr(demo, "make_plate", make_half)
        with pytest.raises(StopHere):
            demo.run_demo(folder, workers=1, say=lambda line: None, shape=SHAPE)
    store = demo.run_demo(folder, workers=1, say=lambda line: None, shape=SHAPE)
    assert len(set(open_store(store).images["well"].tolist())) == 12

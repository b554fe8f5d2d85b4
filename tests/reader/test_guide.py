"""The examples of the guide for those who come from other loaders run as they stand."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

GUIDE = Path(str(files("patchmill.reader"))) / "MIGRATION.md"


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The guide's examples, in a folder with the files that they name."""
    if not GUIDE.exists():
        pytest.skip("an installed package has no guide")
    (tmp_path / "plate").mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        pixels = rng.integers(0, 4000, (2, 16, 20)).astype(np.uint16)
        np.save(tmp_path / "plate" / f"{number}_{'dead' if number % 3 else 'live'}.npy", pixels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "work", raising=False)
    module, *found = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert module.startswith("# work.py\n")
    (tmp_path / "work.py").write_text(module)
    importlib.invalidate_caches()
    yield found
    sys.modules.pop("work", None)


def test_examples_run(examples, nothing_left):
    files_of, generator, pooled, background, both, arrays = examples
    names: dict = {}
    exec(files_of, names)
    images = np.stack([np.load(path) for path in names["paths"]])
    assert len(images) == 10
    assert names["total"] == images.sum()

    exec(generator, names)
    epochs = np.concatenate(names["seen"]).reshape(2, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert (epochs[0] != epochs[1]).any()
    rows = names["batch"]["index"][names["valid"]]
    np.testing.assert_array_equal(names["batch"]["image"][names["valid"]], images[rows])
    np.testing.assert_array_equal(names["batch"]["label"][names["valid"]], names["labels"][rows])

    exec(pooled, names)
    assert is_flipped(names["augmented"], images[8:]).all()

    exec(background, names)
    found = np.concatenate([names["first"], *names["rest"]])
    flips = is_flipped(found, images)
    assert flips.all()
    assert (found != images).any()

    exec(both, names)
    assert is_flipped(np.concatenate(names["images"]), images.astype(np.float32)).all()

    exec(arrays, names)
    assert names["counted"] == 300
    rows = names["batch"]["index"][names["valid"]]
    np.testing.assert_array_equal(names["batch_y"], names["y"][rows])
    assert is_flipped(names["batch_X"], names["X"][rows]).all()
    names.clear()


def is_flipped(found, images):
    """Return which images are as they were, or mirrored."""
    axes = tuple(range(1, found.ndim))
    return (found == images).all(axes) | (found == images[..., ::-1]).all(axes)


def test_every_older_way_is_shown():
    if not GUIDE.exists():
        pytest.skip("an installed package has no guide")
    text = GUIDE.read_text()
    assert text.count("```python old\n") == 5
    for way in ("shared counter", "pinned memory", "Pool", "BackgroundAugmenter", "BatchUp"):
        assert re.search(rf"^## .*{way}", text, re.MULTILINE)

"""The examples of the reader's guide run as they stand."""

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest


def test_examples_run(new_store, add_columns, monkeypatch, nothing_left):
    guide = Path(str(files("patchmill.reader"))) / "README.md"
    if not guide.exists():
        pytest.skip("an installed package has no guide")
    written, more = (new_store(rows=150, splits={"train": 130, "val": 20}) for _ in range(2))
    for each in (written, more):
        wells = ["A01", "A02", "B01"]
        add_columns(each.path, "index", image=np.arange(150) // 10, y=np.arange(150) * 9)
        add_columns(each.path, "images", well=[wells[n % 3] for n in range(15)])
    (written.path.parent / "more.zarr").symlink_to(more.path)
    monkeypatch.chdir(written.path.parent)
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL):
        exec(example, names)
    assert names["sample"]["index"] == 17
    np.testing.assert_array_equal(names["block"]["index"], [3, 5, 8])
    assert names["x"].shape == (2, 2, 12, 10)
    assert abs(names["x"].mean()) < 0.5
    assert sum(map(len, names["rest"])) == 130 - 64
    assert names["fast"].stats().samples == 130
    assert len(names["both"]) == 300
    names.clear()

"""The examples of the reader's guide run as they stand."""

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest


def test_examples_run(make_store, monkeypatch):
    guide = Path(str(files("patchmill.reader"))) / "README.md"
    if not guide.exists():
        pytest.skip("an installed package has no guide")
    written = make_store(rows=150, splits={"train": 130, "val": 20})
    monkeypatch.chdir(written.path.parent)
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL):
        exec(example, names)
    assert names["sample"]["index"] == 17
    np.testing.assert_array_equal(names["block"]["index"], [3, 5, 8])
    assert names["x"].shape == (2, 2, 12, 10)
    assert abs(names["x"].mean()) < 0.5

"""The README's recipe, commands and code do what it says, on a small plate; links of all guides."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from patchmill.reader import open_store
from patchmill.workflows import Recipe, plan
from patchmill.workflows.cli import cli


@pytest.fixture(scope="module")
def readme(root) -> str:
    return (root / "README.md").read_text()


def blocks(readme: str, language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


@pytest.fixture(scope="module")
def folder(readme, tmp_path_factory):
    """A folder with the README's recipe and a plate that fits it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipe.toml").write_text("\n".join(blocks(readme, "toml")))
    (folder / "plate1").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:520, :780]
    cells = np.hypot(y % 60 - 30, x % 60 - 30) < 12
    for well in (f"{row}{column:02d}" for row in "AB" for column in range(1, 6)):
        for channel in (1, 2):
            stained = cells & (x // 60 % channel == 0)  # every second cell is positive
            pixels = (rng.poisson(200 + 2000 * stained) + 100).astype(np.uint16)
            tifffile.imwrite(folder / f"plate1/{well}_s1_w{channel}.tif", pixels)
            tifffile.imwrite(folder / f"plate1/{well}_s1_w{channel}_thumb.tif", pixels[::8, ::8])
    return folder


def test_the_recipe_the_commands_and_the_reader(readme, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATCHMILL_CACHE", str(folder / "cache"))
    _, _, mill = blocks(readme, "sh")
    commands = [line.split("#")[0].split() for line in mill.splitlines()]
    assert [command[1] for command in commands] == ["plan", "prepare", "info", "verify", "stage"]
    for program, *arguments in commands:
        assert program == "patchmill"
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    store = open_store("train.zarr")
    assert len(store) == 10 * 6
    assert store.channels == ("DAPI", "GFP")
    assert {name: stop - start for name, (start, stop) in store.splits.items()} == {
        "train": 48,
        "val": 6,
        "test": 6,
    }
    job, reading = blocks(readme, "python")
    assert "prepare(recipe" in job
    names: dict = {}
    exec(reading, names)
    assert names["batch"]["image"].shape == (64, 2, 256, 256)
    assert names["batch"]["masks/cells"].shape == (64, 256, 256)
    assert names["sample"]["image"].shape == (2, 256, 256)
    assert names["sample"]["masks/cells"].shape == (256, 256)
    # Cells are 12 % of all, and half of them are positive.
    shares = [store.column(f"fraction_cells_{name}").mean() for name in ("negative", "positive")]
    np.testing.assert_allclose(shares, np.pi * 12**2 / 60**2 / 2, rtol=0.1)
    assert set(store.column("kind")) == {"positive"}, "the first of the order that there is"
    assert names["state"]["epoch"] == 1


def test_the_job_in_python(readme, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATCHMILL_CACHE", str(folder / "cache"))
    job = blocks(readme, "python")[0].replace("train.zarr", "again.zarr")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(job, {"__name__": "__main__"})
    assert said.getvalue() == "60 patches\n"
    assert len(plan(Recipe.load("recipe.toml")).rows) == len(open_store("again.zarr"))


def test_what_the_two_commands_install(readme, root):
    demo, tests, _ = blocks(readme, "sh")
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert demo.endswith("pip install -e '.[prepare-headless]' && .venv/bin/patchmill demo\n")
    assert {"prepare-headless", "test"} <= extras["optional-dependencies"].keys()
    ci = (root / ".ci/run").read_text()
    for words in ("pip install", "-e '.[prepare-headless,test]'", "python -m pytest"):
        assert words in tests
        assert words in ci


def anchor(heading: str) -> str:
    """Return what leads to a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def test_links_lead_somewhere(root):
    guides = [*root.glob("*.md"), *root.glob("*/*.md")]
    text = {guide: re.sub(r"```.*?```", "", guide.read_text(), flags=re.DOTALL) for guide in guides}
    headings = {
        guide: {anchor(line) for line in re.findall(r"^#+ (.*)$", own, re.MULTILINE)}
        for guide, own in text.items()
    }
    checked = 0
    for guide, own in text.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", own):
            path, _, place = link.partition("#")
            if "://" in path:
                continue
            target = (guide.parent / path).resolve() if path else guide
            assert target.exists(), f"{guide.name}: {link}"
            assert not place or place in headings[target], f"{guide.name}: {link}"
            checked += 1
    assert checked > 50

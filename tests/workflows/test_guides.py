"""The guides to recipes say every key once, with its default, and their examples are recipes."""

import importlib
import re
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from patchmill.reader import open_store
from patchmill.tasks.opened import OpenImage
from patchmill.tasks.source import SourceError
from patchmill.tasks.survey import describe
from patchmill.workflows.annotations_made import RuleRecipe
from patchmill.workflows.annotations_section import LABELS, MASKS, annotation_keys
from patchmill.workflows.classes_section import AnyClass, class_keys
from patchmill.workflows.foreground_section import FilterRecipe, FiltersRecipe
from patchmill.workflows.plate import make_plate
from patchmill.workflows.problems import known_keys
from patchmill.workflows.recipe import Recipe
from patchmill.workflows.step_recipe import StepRecipe
from patchmill.workflows.steps_section import STEPS, step_keys

ROOM = Path(__file__).parents[2] / "workflows"
README, OF_STEPS, OF_MASKS = (
    (ROOM / name).read_text("utf-8") for name in ("README.md", "STEPS.md", "MASKS.md")
)
#: What a recipe needs beside the tables that an example shows.
REST = {"images": {"paths": "*.tif"}, "patches": {"size": 256}}


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a guide in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


class Documented(NamedTuple):
    """One key in a table of a guide."""

    key: str
    default: str


def documented(text: str, prefixes: dict[str, str]) -> list[Documented]:
    """Return the keys that the tables of a guide have.

    The head of such a table is `key`, `default`, …, or says before these whose keys they are; a row
    without a name there is of the one above it.

    Parameters
    ----------
    text
        Of the guide.
    prefixes
        What stands before a key, by the first word of the table's head, where {} is the name, and
        KIND the last `from = "KIND"` that begins a line.
    """
    found = []
    head, owners, kind = [], [], ""
    for line in text.splitlines():
        if match := re.match(r'`from = "(\w+)"`', line):
            kind = match[1]
        if line.startswith("## "):
            kind = ""
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not head:
            head = cells
        if "key" not in head[:2] or set(line) <= set("|-") or cells == head:
            continue
        owner = cells.pop(0) if head[0] != "key" else ""
        owners = re.findall(r"`(\w+)`", owner) or owners or [""]
        kinds = [kind] if kind else ["files", "thresholds", "geojson"]
        prefix = prefixes[head[0]]
        (name,) = re.findall(r"`([a-z0-9_.]+)`", cells[0])
        full = {prefix.format(own).replace("KIND", each) + name for own in owners for each in kinds}
        found += [Documented(key, cells[1]) for key in sorted(full)]
    return found


#: Keys of recipes that are tables, whose own keys are documented.
TABLES = {
    *("images", "patches", "metadata", "split", "store", "foreground"),
    *("filters", *(f"filters.{name}" for name in ("focus", "brightness", "saturation", "clipped"))),
    *("steps", "masks", "labels", "classes"),
}
OF_GUIDES = [
    *documented(README, {"key": "", "filter": "filters.{}."}),
    *documented(OF_STEPS, {"key": "every step.", "step": "steps.{}."}),
    *documented(OF_MASKS, {"table": "{}.KIND.", "from": "classes.{}."}),
]


def test_every_key_is_documented_once():
    sections = known_keys(Recipe)
    rules = {f"rules.{field.alias or key}" for key, field in RuleRecipe.model_fields.items()}
    keys = {
        # A table has no meaning beside its keys', but for [images.channels], whose keys are free.
        *(key for key in sections if key not in TABLES),
        *(f"every step.{key}" for key in StepRecipe.model_fields),
        *(f"steps.{key}" for key in step_keys()),
        *annotation_keys(),
        *(f"{table}.thresholds.{rule}" for table in ("masks", "labels") for rule in rules),
        *class_keys(),
    }
    assert sorted(one.key for one in OF_GUIDES) == sorted(keys)


def sections() -> dict[str, type[BaseModel]]:
    """Return what is behind keys, by what they begin with."""
    found: dict[str, Any] = {"every step.": StepRecipe, "masks.thresholds.rules.": RuleRecipe}
    for name in ("images", "patches", "store"):
        found[f"{name}."] = Recipe.model_fields[name].annotation
    for name in ("foreground", "metadata", "split"):
        found[f"{name}."] = Recipe.model_fields[name].annotation.__args__[0]
    found |= {f"filters.{name}.": FilterRecipe for name in FiltersRecipe.model_fields}
    for kind in get_args(AnyClass):
        found[f"classes.{kind.model_fields['source'].annotation.__args__[0]}."] = kind
    found |= {f"masks.{name}.": kind for name, kind in MASKS.items()}
    return found | {f"labels.{name}.": kind for name, kind in LABELS.items()}


def fields_behind(key: str) -> list[FieldInfo]:
    """Return the fields of a key; of a step there may be several of one name."""
    prefix, _, name = key.rpartition(".")
    kinds = [section for own, section in sections().items() if own == f"{prefix}."]
    if prefix.startswith("steps."):
        step = prefix.removeprefix("steps.")
        kinds = [kind for kind in STEPS if step in kind.model_fields["name"].annotation.__args__]
    every = [field for kind in kinds for field in kind.model_fields.items()]
    return [field for own, field in every if name == (field.alias or own)]


def test_defaults_are_those_of_the_code():
    """Where the guide says a value as a recipe has it; a default of None is found elsewhere."""
    compared = 0
    for key, default in OF_GUIDES:
        literal = re.fullmatch(r"`([^`]+)`", default)
        for field in fields_behind(key) if literal else ():
            try:
                value = tomllib.loads(f"value = {literal[1]}")["value"]
            except tomllib.TOMLDecodeError:
                continue  # the name of another key
            if field.is_required():
                continue  # but a validator fills it in
            if field.get_default() is not None:
                adapter = TypeAdapter(Annotated[field.annotation, *(field.metadata or [None])])
                assert adapter.validate_python(value) == field.get_default(), key
                compared += 1
    assert compared > 70


#: Required by the model, which fills them in by other keys.
FILLED = {
    *("patches.stride", "store.level", "steps.background.shrink", "masks.files.unknown"),
    *(
        f"{table}.{kind}.from"
        for table, kinds in (("masks", MASKS), ("labels", LABELS))
        for kind in kinds
    ),
}


def test_what_has_no_default_is_required():
    for key, default in OF_GUIDES:
        fields = fields_behind(key)
        if default:
            assert key in FILLED or not any(field.is_required() for field in fields), key
        else:
            # A default of None: one of several keys is required, or with some value of another.
            assert all(f.is_required() or f.get_default() in (None, ()) for f in fields), key


@pytest.mark.parametrize("text", [README, OF_STEPS, OF_MASKS], ids=["README", "STEPS", "MASKS"])
def test_examples_are_recipes(text):
    examples = blocks(text, "toml")
    assert len(examples) > 4
    for block in examples:
        Recipe.from_dict((REST if text != README else {}) | tomllib.loads(block))


def test_the_recipe_with_all_of_it(cut, tmp_path, monkeypatch):
    """It runs on a small plate, and the reader's guide reads what it makes."""
    make_plate(tmp_path / "plate", sites=4, shape=(264, 272))
    (block,) = (own for own in blocks(README, "toml") if "[masks.viability]" in own)
    cut(tomllib.loads(block), "assay.zarr")
    store = open_store(tmp_path / "assay.zarr")
    assert list(store.fields) == ["image", "masks/viability", "labels/cells"]
    assert [step["name"] for step in store.attributes["steps"]] == [
        *("illumination", "hot_pixels", "background", "percentile")
    ]
    whole = store.read(range(len(store)))
    masks, labels = whole["masks/viability"], whole["labels/cells"]
    assert (labels[masks > 0] > 0).all()
    dead = (masks == 2).mean((1, 2))
    np.testing.assert_allclose(store.column("fraction_viability_dead"), dead, atol=1e-6)
    np.testing.assert_array_equal(store.column("fate") == "dead", dead >= 0.005)
    np.testing.assert_array_equal(
        store.column("objects_cells"), [len(np.unique(own)) - 1 for own in labels]
    )
    assert (store.column("foreground") >= 0.02)[~store.column("background")].all()

    guide = (ROOM.parent / "reader" / "README.md").read_text("utf-8")
    examples = re.findall(r"\n\n((?:    .*\n)+)\n", guide)
    names: dict[str, Any] = {"open_store": open_store, "store": store}
    monkeypatch.chdir(tmp_path)
    for text in ('open_store("assay.zarr")', "store.percentiles"):
        (example,) = (own for own in examples if text in own)
        exec(textwrap.dedent(example), names)
    assert names["sample"]["masks/viability"].shape == (256, 256)
    assert names["batch"]["labels/cells"].shape == (16, 224, 224)
    of_two = store.select(split=["train", "val"]).statistics["count"]
    np.testing.assert_array_equal(names["counts"].sum(axis=1), of_two)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that makes the example with a text in it the module mylab."""

    def write(guide: str, text: str) -> None:
        (code,) = (own for own in blocks(guide, "python") if text in own)
        (tmp_path / "mylab.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    sys.modules.pop("mylab", None)


def test_a_step_of_your_own(install):
    install(OF_STEPS, "def top_hat")
    (block,) = (own for own in blocks(OF_STEPS, "toml") if "mylab:top_hat" in own)
    (step,) = Recipe.from_dict(REST | tomllib.loads(block)).steps
    function = importlib.import_module("mylab").top_hat
    pixels = np.random.default_rng(0).random((2, 1, 80, 70), np.float32)
    whole, halo = function(pixels, **step.options), step.halo
    inner = np.s_[:, :, halo:-halo, halo:-halo]
    part = function(pixels[:, :, 10:60, 20:60], **step.options)[inner]
    np.testing.assert_array_equal(part, whole[:, :, 10:60, 20:60][inner])


def test_readme_reader_opens(install, tmp_path):
    install(README, "def open_raw")
    pixels = np.random.default_rng(0).integers(0, 999, (2, 1040, 1388)).astype("uint16")
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(512) + pixels.tobytes())
    images = {"paths": "*.raw", "reader": "mylab:open_raw"}
    options = Recipe.from_dict(REST | {"images": images}).images.options
    info = describe(str(path), options)
    assert (info.shape, info.channels) == ((1, 2, 1, 1040, 1388), ("DAPI", "GFP"))
    assert info.voxel_um[1:] == (0.65, 0.65)
    whole = tuple(slice(0, n) for n in info.shape)
    region = (*whole[:3], slice(0, 1024), slice(1024, 1388))
    found = OpenImage(str(path), options).read(0, 0, region)
    np.testing.assert_array_equal(found[0, :, 0], pixels[:, :1024, 1024:])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"a\.raw: cannot be opened"):
        describe(str(path), options)

"""A class for each patch, against plain loops over its pixels."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.annotation import AnnotationField
from patchmill.workflows import Recipe
from patchmill.workflows.classes import (
    centre,
    class_columns,
    fractions,
    majority,
    none_of,
    presence,
)
from patchmill.workflows.classes_section import read_class_tables
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.problems import ProblemsError

CLASSES = ((0, "background"), (3, "live"), (7, "dead"))
MASK = AnnotationField("masks/cells", np.dtype(np.uint8), CLASSES, 255)
LABELS = AnnotationField("labels/nuclei", np.dtype(np.uint16))
PIXELS = st.lists(st.sampled_from([0, 3, 7, 255]), min_size=1, max_size=20)


def records_of(patches, mask=MASK):
    """Return what the cut says of patches, each a list of pixels whose middle one is the first."""
    numbers = [*(number for number, _ in mask.classes), mask.ignore]
    own = [("counts", "<u4", (len(numbers),)), ("centre", "<i8")]
    records = np.zeros(len(patches), [(mask.name, own)])
    for record, pixels in zip(records, patches, strict=True):
        record[mask.name]["counts"] = [pixels.count(number) for number in numbers]
        record[mask.name]["centre"] = pixels[0]
    return records


def columns_of(classes, images=(), fields=(MASK,)):
    tables = SimpleNamespace(classes=read_class_tables(classes), images=RECIPE.images)
    return {column.name: column for column in class_columns(tables, fields, images)}


RECIPE = Recipe.from_dict({"images": {"paths": "*"}, "patches": {"size": 8}})


def named(column, records, image=None):
    """Return the names that a column has for rows, None for none."""
    image = np.zeros(len(records), np.int32) if image is None else np.asarray(image, np.int32)
    values = column.values(records, image)
    assert values.dtype == column.dtype
    names = dict(enumerate(column.names))
    assert set(values.tolist()) <= {*names, none_of(column.dtype)}
    return [names.get(value) for value in values.tolist()]


@given(st.lists(PIXELS, min_size=1, max_size=5))
def test_fractions_are_of_all_pixels(patches):
    columns, records = columns_of({}), records_of(patches)
    shares = {
        name: own.values(records, np.zeros(len(patches), int)) for name, own in columns.items()
    }
    numbers = {name: number for number, name in CLASSES} | {"ignore": 255}
    assert set(shares) == {f"fraction_cells_{name}" for name in numbers}
    for name, number in numbers.items():
        expected = [np.float32(pixels.count(number) / len(pixels)) for pixels in patches]
        assert shares[f"fraction_cells_{name}"].tolist() == expected
        assert columns[f"fraction_cells_{name}"].dtype == np.float32
        assert columns[f"fraction_cells_{name}"].names is None


@given(st.lists(PIXELS, min_size=1, max_size=5))
def test_the_class_that_most_annotated_pixels_have(patches):
    column = columns_of({"kind": {"from": "mask", "mask": "cells"}})["kind"]
    for pixels, found in zip(patches, named(column, records_of(patches)), strict=True):
        counts = Counter(pixel for pixel in pixels if pixel != 255)
        if not counts:
            assert found is None
            continue
        # Of several that have as many, that of the smallest number.
        best = min(counts, key=lambda number: (-counts[number], number))
        assert found == dict(CLASSES)[best]


@given(st.lists(PIXELS, min_size=1, max_size=5))
def test_the_class_of_the_centre(patches):
    table = {"from": "mask", "mask": "cells", "rule": "centre"}
    column = columns_of({"kind": table})["kind"]
    expected = [dict(CLASSES).get(pixels[0]) for pixels in patches]
    assert named(column, records_of(patches)) == expected


@given(st.lists(PIXELS, min_size=1, max_size=5), st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 1.0]))
def test_the_first_class_of_which_there_is_enough(patches, least):
    table = {"from": "mask", "mask": "cells", "rule": "presence", "min_fraction": least}
    table["order"] = ["dead", "live"]
    column = columns_of({"kind": table})["kind"]
    for pixels, found in zip(patches, named(column, records_of(patches)), strict=True):
        shares = {n: pixels.count(n) / len(pixels) for n in (7, 3)}
        enough = [dict(CLASSES)[n] for n, share in shares.items() if share >= least - 1e-12]
        is_annotated = any(pixel != 255 for pixel in pixels)
        assert found == (enough[0] if enough else "background" if is_annotated else None)


def test_presence_looks_for_every_class_but_the_background():
    table = {"from": "mask", "mask": "cells", "rule": "presence", "min_fraction": 0.2}
    patches = [[0, 0, 0, 3], [0] * 9 + [3], [7, 3], [255]]
    column = columns_of({"kind": table})["kind"]
    assert named(column, records_of(patches)) == ["live", "background", "live", None]
    bare = AnnotationField("masks/cells", MASK.dtype, CLASSES[1:], 255)
    column = columns_of({"kind": table}, fields=(bare,))["kind"]
    assert named(column, records_of([[3], [3] + [255] * 9], bare)) == ["live", None]


def test_an_exact_share_is_enough():
    """In floats 3 / 10 is below 0.3 · 10 / 10 here and there."""
    for total in range(1, 200):
        for own in range(1, total + 1):
            counts = np.array([[total - own, own, 0]])
            assert presence(counts, [1], own / total, 0) == [1]


def test_void_rows_have_no_class():
    counts = np.zeros((2, 3), np.uint32)
    assert not fractions(counts).any()
    assert majority(counts).tolist() == [-1, -1]
    assert presence(counts, [1], 0.5, 0).tolist() == [-1, -1]
    assert centre(np.array([255, 0]), [0, 3]).tolist() == [-1, 0]


def test_a_column_of_the_images():
    images = [{"drug": name} for name in ("s10", "s2", "", "s2")]
    column = columns_of({"kind": {"from": "column", "column": "drug"}}, images)["kind"]
    assert column.names == ("s2", "s10")
    assert column.dtype == np.uint8
    image = [3, 0, 0, 2, 1]
    assert named(column, np.zeros(5), image) == ["s2", "s10", "s10", None, "s2"]
    table = {"from": "column", "column": "drug", "order": ["s10", "s2", "s3"]}
    assert columns_of({"kind": table}, images)["kind"].names == ("s10", "s2", "s3")
    with pytest.raises(RecipeError, match=r'classes\.kind\.order: the column "drug" has "s2" too'):
        columns_of({"kind": table | {"order": ["s10"]}}, images)
    with pytest.raises(RecipeError, match=r'classes\.kind\.column: "dose" is not a column.*drug'):
        columns_of({"kind": {"from": "column", "column": "dose"}}, images)


def test_many_names_need_more_bits():
    images = [{"id": str(number)} for number in range(300)]
    column = columns_of({"kind": {"from": "column", "column": "id"}}, images, ())["kind"]
    assert column.dtype == np.uint16
    assert named(column, np.zeros(2), [299, 0]) == ["299", "0"]
    column = columns_of({"kind": {"from": "column", "column": "id"}}, images[:255], ())["kind"]
    assert column.dtype == np.uint8
    assert named(column, np.zeros(2), [254, 0]) == ["254", "0"]


def test_names_that_there_are_not():
    with pytest.raises(RecipeError, match=r'kind\.mask: found "cell"; the masks are cells'):
        columns_of({"kind": {"from": "mask", "mask": "cell"}}, fields=(MASK, LABELS))
    table = {"from": "mask", "mask": "cells", "rule": "presence", "min_fraction": 0.1}
    with pytest.raises(RecipeError, match=r'kind\.order: found "ded"; the classes of cells are'):
        columns_of({"kind": table | {"order": ["ded"]}})
    with pytest.raises(RecipeError, match="would be called fraction_cells_live"):
        columns_of({"fraction_cells_live": {"from": "mask", "mask": "cells"}})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (3, 'kind: found 3; write from = "mask" or "column"'),
        ({"mask": "cells"}, 'kind.from: found null; write from = "mask" or "column"'),
        ({"from": "mask"}, "kind.mask: is missing"),
        ({"from": "column"}, "kind.column: is missing"),
        (
            {"from": "mask", "mask": "m", "rule": "most"},
            'kind.rule: found "most"; write "majority"',
        ),
        ({"from": "mask", "mask": "m", "rule": "presence"}, "kind.min_fraction: is missing"),
        ({"from": "mask", "mask": "m", "order": ["a"]}, 'kind.order: is for rule = "presence"'),
        ({"from": "mask", "mask": "m", "min_fraction": 0.5}, "kind.min_fraction: is for rule"),
        ({"from": "column", "column": "a", "order": ["a", "a"]}, "kind.order: .*each class once"),
        ({"from": "column", "column": "a", "rule": "centre"}, "kind.rule: unknown key"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(table, said):
    with pytest.raises(ProblemsError, match=said):
        read_class_tables({"kind": table})


@pytest.mark.parametrize("name", ["split", "image", "a/b", ""])
def test_names_of_other_columns(name):
    with pytest.raises(ProblemsError, match="write another"):
        read_class_tables({name: {"from": "column", "column": "a"}})

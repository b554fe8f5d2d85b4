"""Conditions mean what Python means by them, and nothing but conditions is accepted."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader.lookup import Lookup
from patchmill.reader.where import holds

WELLS = ["A01", "A02", "B01"]
COLUMNS = {
    "image": np.array([0, 0, 1, 1, 2, 2, 1, 0], np.int32),
    "x": np.array([0, 7, 14, 0, 250, 255, 3, 9], np.uint8),
    "score": np.array([0.5, -1.0, np.nan, 2.0, 0.0, 1e9, 0.25, -0.5]),
    "valid": np.array([1, 1, 0, 1, 0, 1, 1, 0], bool),
    "split": np.array([0, 0, 0, 1, 1, 1, 2, 2], np.uint8),
}
IMAGES = {
    "well": np.array(WELLS, dtype=object),
    "gain": np.array([1.5, 2.0, 4.0], np.float32),
    "x": np.array([100, 200, 300]),
    "shape": np.zeros((3, 5), np.int64),
    "class": np.array([3, 4, 3], np.int8),
    "mean DAPI-2": np.array([10.0, 20.0, 30.0]),
}
SPLITS = ("train", "val")


class Group(dict):
    """Columns that are in memory."""

    def enumeration(self, name):
        return SPLITS if name == "split" else None


def lookup(rows=None):
    rows = range(8) if rows is None else rows
    return Lookup(Group(COLUMNS), Group(IMAGES), rows)


def rows_of_python():
    """One namespace per row, as Python's own `eval` needs it."""
    names = [*SPLITS, ""]
    for row in range(8):
        image = COLUMNS["image"][row]
        yield {
            "image": int(image),
            "x": int(COLUMNS["x"][row]),
            "score": float(COLUMNS["score"][row]),
            "valid": bool(COLUMNS["valid"][row]),
            "split": names[COLUMNS["split"][row]],
            "well": WELLS[image],
            "gain": float(IMAGES["gain"][image]),
            "column": lambda name, image=image: IMAGES[name][image].item(),
        }


def by_python(expression):
    return [bool(eval(expression, {}, row)) for row in rows_of_python()]


numbers = st.recursive(
    st.sampled_from(["x", "score", "gain", "image", 'column("class")', "1", "-3", "0.5", "255"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({' '.join(t)})")
        | inner.map(lambda n: f"(-{n})")
        | st.tuples(inner, st.sampled_from(["/ 4", "// 3", "% 7", "// -2.5"])).map(
            lambda t: f"({' '.join(t)})"
        )
    ),
    max_leaves=4,
)
texts = st.sampled_from(["well", "split", '"A01"', '"val"', '""', "'B01'"])
signs = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])


def comparisons(values):
    pairs = st.lists(st.tuples(signs, values), min_size=1, max_size=3)
    return st.tuples(values, pairs).map(
        lambda t: t[0] + "".join(f" {sign} {value}" for sign, value in t[1])
    )


members = st.one_of(
    st.tuples(texts, st.sampled_from(["in", "not in"]), st.sampled_from(['("A01", "val")', "()"])),
    st.tuples(numbers, st.sampled_from(["in", "not in"]), st.sampled_from(["(1, -3)", "[0.5]"])),
).map(" ".join)
conditions = st.recursive(
    st.one_of(
        comparisons(numbers), comparisons(texts), members, st.sampled_from(["valid", "True"])
    ),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})")
        | inner.map(lambda c: f"(not {c})")
    ),
    max_leaves=5,
)


@settings(max_examples=600)
@given(conditions, st.sets(st.integers(0, 7)))
def test_it_means_what_python_means(expression, chosen):
    expected = by_python(expression)
    found = holds(expression, lookup())
    assert found.dtype == bool
    assert found.tolist() == expected, expression
    some = np.array(sorted(chosen), np.int64)
    np.testing.assert_array_equal(holds(expression, lookup(some)), found[some])


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("x - 1 < 0", [0, 3]),  # not 255, as in uint8
        ("x * 300 > 70000", [4, 5]),
        ("x == 300", []),
        ('well == "A02" and split == "train"', [2]),
        ('split == ""', [6, 7]),  # a number without a name
        ("valid", [0, 1, 3, 5, 6]),
        ("not valid", [2, 4, 7]),
        ("valid == (x > 5)", [1, 5]),
        ('column("mean DAPI-2") >= 20 and x < 14', [3, 6]),
        ('column("class") == 4', [2, 3, 6]),
        ("  x == 7  ", [1]),
        ("1 < 2", [*range(8)]),
        ('"a" == "b"', []),
        ("1 in (1, 2)", [*range(8)]),
        ("x < 2 ** 3", None),
    ],
)
def test_examples(expression, rows):
    if rows is None:
        with pytest.raises(ValueError, match="not allowed"):
            holds(expression, lookup())
    else:
        assert np.flatnonzero(holds(expression, lookup())).tolist() == rows


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("x", "a number, not a condition"),
        ("well", "a text, not a condition"),
        ("x and valid", "'x' is a number, not a condition"),
        ("not x", "'x' is a number, not a condition"),
        ("valid + 1 > 2", "'valid' is a condition, and arithmetic is for numbers"),
        ('-well == "A01"', "arithmetic is for numbers"),
        ('well + "b" == "A01b"', "arithmetic is for numbers"),
        ('"a" * 1000000000 == well', "arithmetic is for numbers"),
        ("well == 1", "'well' is a text and '1' a number"),
        ("x in ('1', '2')", "texts stand in quotes"),
        ("x in well", "write a tuple"),
        ("x in (1, score)", "'score', which is not constant"),
        ("1 < x in (1, 2)", "not chained"),
        ("x is 1", "is and is not compare objects"),
        ("y > 3", "no column 'y'; there are image, x, score, valid, split, well, gain"),
        ("shape > 3", r"entries of shape \(5,\)"),
        ("x // 0 == 1", "// divides by zero"),
        ("7 % x == 1", "% divides by zero"),
        ("1 / 0 > 1", "division by zero"),
        ("x + 10 ** 30 > 1", "not allowed"),
        ("x = 3", "not Python"),
        ("x >", "not Python"),
        ("", "not Python"),
        ("x > 3; valid", "not Python"),
        ("x & 1 == 1", "not allowed"),
        ("~valid", "not allowed"),
        ("valid if x else valid", "not allowed"),
        ("[c for c in x]", "not allowed"),
        ("lambda: 1", "not allowed"),
        ("(z := 3) == 3", "not allowed"),
        ("x.dtype == 1", "not allowed"),
        ("x[0] == 1", "not allowed"),
        ("abs(x) > 3", "not allowed"),
        ("column(well) == 1", "not allowed"),
        ('column("x", 1) == 1', "not allowed"),
        ('column(name="x") == 1', "not allowed"),
        ("__import__('os').system('true') == 0", "not allowed"),
        ("f'{x}' == '1'", "not allowed"),
        ("None == x", "not allowed"),
        ("b'a' == well", "not allowed"),
        ("x == 1j", "not allowed"),
        ("x == ...", "not allowed"),
        ("x == 1 and " * 50000 + "valid == valid" + ".y" * 10, "not allowed"),
        ("(" * 300 + "x" + ")" * 300, "."),
        ("not " * 100000 + "valid", "."),
        ("x\0 > 3", "null byte"),
        (3, "give a condition as text"),
        (b"x > 3", "give a condition as text"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_all_else_is_refused_with_the_expression(expression, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        holds(expression, lookup())
    assert "where" in str(caught.value)
    assert "write names of columns" in str(caught.value)
    assert repr(expression)[:20] in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_nothing_is_run(capsys):
    with pytest.raises(ValueError, match="not allowed"):
        holds("print('run') or valid", lookup())
    assert capsys.readouterr().out == ""
    assert "valid" not in sys.modules


def test_what_concerns_images_is_computed_once_per_image():
    """A text is compared once for each image, however many patches it has."""

    class Counting(str):
        compared = 0

        def __eq__(self, other):
            Counting.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    images = Group({"well": np.array([Counting(well) for well in WELLS], dtype=object)})
    index = Group({"image": np.repeat([0, 1, 2], 1000)})
    found = holds('well == "A01" or well == "B01"', Lookup(index, images, range(3000)))
    assert found.sum() == 2000
    assert Counting.compared == 6

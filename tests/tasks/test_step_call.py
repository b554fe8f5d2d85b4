"""A function of the user's own: what it gets, what it may return, and what is noticed about it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from patchmill.reader.errors import PatchmillError
from patchmill.tasks.source import SourceError
from patchmill.tasks.step import Window
from patchmill.tasks.step_call import Call, CallToSize
from patchmill.tasks.users_own import loaded, source_sha256, users_function

SOURCE = """
import functools
import numpy as np

kept = np.zeros((1, 1, 4, 6), np.float32)

def plus(pixels, amount=1, **more):
    pixels += amount
    return pixels

def seen(pixels):
    assert pixels.flags.c_contiguous
    seen.got = pixels.copy()
    return pixels

def same_array(pixels):
    return kept

def half(pixels):
    return pixels[:, :, ::2, ::2]

def as_list(pixels):
    return pixels.tolist()

def complex_numbers(pixels):
    return pixels + 1j

def strided(pixels):
    return np.asfortranarray(pixels.astype(np.float64) * 2)

def is_bright(pixels):
    return pixels > 3

def reciprocal(pixels):
    with np.errstate(divide="ignore"):
        return 1 / pixels

def huge(pixels):
    return pixels.astype(np.float64) + 1e300

def fails(pixels):
    raise RuntimeError("no\\nluck")

@functools.wraps(plus)
def wrapped(pixels):
    return pixels

class Adder:
    def __call__(self, pixels):
        return pixels

adder = Adder()
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that can be imported in this test alone."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def call(module: str, function: str, dtype: str = "float32", **options: Any) -> Call:
    name = f"{module}:{function}"
    return Call(name, tuple(options.items()), dtype, loaded(name)[1])


def run(step: Call, pixels: Any = None) -> np.ndarray:
    pixels = np.arange(24) if pixels is None else np.asarray(pixels)
    pixels = pixels.astype(np.float32).reshape(1, 1, 4, 6)
    made = step(pixels, Window(0, 0, (4, 6), (slice(0, 1), slice(0, 4), slice(0, 6))))
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert made.flags.writeable
    return made


def test_it_is_called_with_its_options(module):
    expected = np.arange(24).reshape(1, 1, 4, 6)
    np.testing.assert_array_equal(run(call(module, "plus")), expected + 1)
    np.testing.assert_array_equal(run(call(module, "plus", amount=5, other="x")), expected + 5)
    np.testing.assert_array_equal(run(call(module, "strided")), expected * 2)
    np.testing.assert_array_equal(run(call(module, "is_bright")), expected > 3)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", [-2.5, 0.5, 1.5, 300.25]),
        ("float64", [-2.5, 0.5, 1.5, 300.25]),
        ("uint8", [0, 0, 2, 255]),
        ("int16", [-2, 0, 2, 300]),
    ],
)
def test_it_gets_pixels_of_the_type_it_asks_for(module, dtype, expected):
    values = np.resize([-2.5, 0.5, 1.5, 300.25], 24)
    made = run(call(module, "seen", dtype), values)
    got = sys.modules[module].seen.got
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.ravel(), np.resize(expected, 24))
    np.testing.assert_array_equal(made, got)


def test_what_it_keeps_is_not_written_into(module):
    run(call(module, "same_array"))[...] = 7
    assert (sys.modules[module].kept == 0).all()


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ("half", r"shape \(1, 1, 2, 3\) for one of \(1, 1, 4, 6\); .* output_size = \[y, x\]"),
        ("as_list", "returned a list; write one that returns an array"),
        ("complex_numbers", "an array of complex64; return real numbers"),
        ("reciprocal", "pixels that are not finite, for pixels that are"),
        ("huge", "pixels that are not finite, for pixels that are"),
        ("fails", r"fails \(RuntimeError: no luck, in own_\w+.py, line 42\)"),
    ],
)
def test_what_it_does_wrong_is_said(module, function, found):
    with pytest.raises(SourceError, match=found):
        run(call(module, function))


def test_a_wrong_option_is_no_line_of_ours(module):
    with pytest.raises(SourceError, match=r"unexpected keyword argument 'size'\)$"):
        run(call(module, "seen", size=3))


def test_another_size(module):
    name = f"{module}:half"
    sized = CallToSize(name, (), "float32", loaded(name)[1], 0, (2, 3))
    np.testing.assert_array_equal(run(sized).ravel(), [0, 2, 4, 12, 14, 16])
    wrong = CallToSize(name, (), "float32", loaded(name)[1], 0, (2, 2))
    with pytest.raises(SourceError, match=r"output_size is \[2, 2\]"):
        run(wrong)


def test_pixels_that_are_no_number(module):
    values = np.arange(24.0)
    values[3] = np.nan
    assert np.isnan(run(call(module, "plus"), values).ravel()[3])
    with pytest.raises(SourceError, match=r'no room .* write dtype = "float32"'):
        run(call(module, "plus", "uint8"), values)


def test_another_function_than_the_one_that_was_checked(module):
    step = Call(f"{module}:plus", (), "float32", "0" * 64)
    with pytest.raises(PatchmillError, match="is another one on this worker") as raised:
        run(step)
    # No image is at fault: none shall be skipped.
    assert not isinstance(raised.value, SourceError)
    with pytest.raises(PatchmillError, match="cannot be imported") as raised:
        run(Call("no_such_module:f", (), "float32", ""))
    assert not isinstance(raised.value, SourceError)


def test_which_file_a_function_is_in(module, tmp_path):
    import hashlib

    digest = hashlib.sha256((tmp_path / f"{module}.py").read_bytes()).hexdigest()
    for function in ("plus", "wrapped", "adder", "Adder"):
        name = f"{module}:{function}"
        assert source_sha256(name, users_function(name, "call")) == digest
    # One that a package shows is in the file where it is written.
    (tmp_path / f"{module}_package.py").write_text(f"from {module} import plus\n")
    name = f"{module}_package:plus"
    assert source_sha256(name, users_function(name, "call")) == digest
    del sys.modules[f"{module}_package"]
    with pytest.raises(SourceError, match="is in no file"):
        source_sha256("time:sleep", users_function("time:sleep", "call"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("no_such_module:f", r"call: no_such_module:f cannot be imported \(ModuleNotFoundError"),
        ("math:no_such_function", r"\(AttributeError.*install it for the workers too"),
    ],
)
def test_what_cannot_be_imported(name, found):
    with pytest.raises(SourceError, match=found):
        users_function(name, "call")


def test_what_is_no_function(module, tmp_path):
    with pytest.raises(SourceError, match=":number is a int, and no function"):
        users_function(f"{module}:number", "call")
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    with pytest.raises(SourceError, match=r"own_broken:f cannot be imported \(ZeroDivisionError"):
        users_function("own_broken:f", "call")

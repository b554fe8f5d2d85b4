"""The one rounding and the one saturation, against Python's own arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchmill.tasks.rounded import rounded
from patchmill.tasks.source import SourceError

EVERY = (slice(None),) * 3
INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


@given(
    dtype=st.sampled_from(INTEGERS),
    pixels=hnp.arrays(
        np.float32, (2, 1, 3, 4), elements=st.floats(allow_nan=False, allow_infinity=True, width=32)
    ),
)
def test_half_to_even_and_into_range(dtype, pixels):
    out = np.empty(pixels.shape, dtype)
    clipped = rounded(pixels, EVERY, out, "a.tif")
    limits = np.iinfo(dtype)
    expected = np.zeros((2, 2), int)
    for (channel, *_), value in np.ndenumerate(pixels):
        at = out[(channel, *_)]
        whole = value if math.isinf(value) else round(float(value))
        expected[channel] += [whole < limits.min, whole > limits.max]
        if limits.min <= whole <= limits.max:
            # float64 has no room for the very ends of 64 bit.
            assert abs(int(at) - int(whole)) <= (1024 if limits.bits == 64 else 0)
        else:
            edge = limits.min if whole < limits.min else limits.max
            assert abs(int(at) - edge) <= (2048 if limits.bits == 64 else 0)
    assert clipped.tolist() == expected.tolist()


def test_only_the_patch_s_own_pixels_are_counted():
    pixels = np.full((1, 1, 4, 4), -1, np.float32)
    out = np.empty(pixels.shape, np.uint8)
    own = slice(0, 1), slice(1, 3), slice(0, 3)
    assert rounded(pixels, own, out, "a.tif").tolist() == [[6, 0]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_as_they_are(dtype):
    pixels = np.array([0.1, -2.5, 1e30, np.nan], np.float32).reshape(1, 1, 1, 4)
    out = np.empty(pixels.shape, dtype)
    assert rounded(pixels, EVERY, out, "a.tif").tolist() == [[0, 0]]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out, pixels.astype(dtype))


def test_no_number_is_no_integer():
    pixels = np.array([1, np.nan], np.float32).reshape(1, 1, 1, 2)
    with pytest.raises(SourceError, match=r'a\.tif: has pixels .* store\.dtype = "float32"'):
        rounded(pixels, EVERY, np.empty(pixels.shape, np.uint16), "a.tif")

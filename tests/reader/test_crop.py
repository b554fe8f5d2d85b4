"""Windows of patches, cut while they are copied into the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader import open_store


def windows(pixels, rows, corners, height, width):
    return np.stack(
        [
            pixels[row, ..., y : y + height, x : x + width]
            for row, (y, x) in zip(rows.tolist(), corners.tolist(), strict=True)
        ]
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(1, 12), width=st.integers(1, 10))
def test_each_row_gets_its_window(plain, data, height, width):
    rows = np.array(data.draw(st.lists(st.integers(0, 36), min_size=1, max_size=9)), np.int64)
    corner = st.tuples(st.integers(0, 12 - height), st.integers(0, 10 - width))
    corners = np.array([data.draw(corner) for _ in rows], np.int64)
    out = np.full((len(rows), 2, height, width), 7, np.uint16)
    open_store(plain.path).read_rows_into(rows, {"image": out}, corners)
    np.testing.assert_array_equal(out, windows(plain.pixels, rows, corners, height, width))


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_windows_of_a_view(make_store, codec):
    written = make_store(codec=codec, splits={"train": 21, "val": 16})
    view = open_store(written.path).select(split="val")
    positions = np.array([9, 0, 9], np.int64)
    corners = np.array([[0, 0], [4, 3], [2, 5]], np.int64)
    out = np.empty((3, 2, 8, 5), np.uint16)
    rows = view.read_into(positions, {"image": out}, corners)
    np.testing.assert_array_equal(rows, positions + 21)
    np.testing.assert_array_equal(out, windows(written.pixels, rows, corners, 8, 5))


def test_no_rows(plain):
    out = np.empty((0, 2, 4, 4), np.uint16)
    none = np.empty((0, 2), np.int64)
    open_store(plain.path).read_rows_into(none[:, 0], {"image": out}, none)


@pytest.mark.parametrize(
    ("corners", "shape", "message"),
    [
        ([[0, 0]], (1, 2, 13, 4), "windows of at most 12 x 10"),
        ([[0, 0]], (1, 2, 0, 4), "windows of at most 12 x 10"),
        ([[0, 0]], (1, 3, 4, 4), r"give one of uint16 and \(1, 2\)"),
        ([[0, 0]], (2, 2, 4, 4), "give one of uint16"),
        ([[9, 0]], (1, 2, 4, 4), r"a window of 4 x 4 at \(9, 0\) leaves the patches of 'image'"),
        ([[0, -1]], (1, 2, 4, 4), r"at \(0, -1\) leaves"),
        ([[1, 0]], (1, 2, 12, 10), r"at \(1, 0\) leaves"),
        ([[0, 0], [0, 0]], (1, 2, 4, 4), "corners are int64"),
        ([[0.5, 0]], (1, 2, 4, 4), "corners are float64"),
    ],
)
def test_windows_that_do_not_fit(plain, corners, shape, message):
    out = np.zeros(shape, np.uint16)
    with pytest.raises(ValueError, match=message):
        open_store(plain.path).read_rows_into(
            np.array([3], np.int64), {"image": out}, np.array(corners)
        )


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((1, 2, 12, 10), np.int16), "give one of uint16"),
        (np.zeros((1, 2, 10, 12), np.uint16).swapaxes(2, 3), "in C order"),
        (np.frombuffer(bytes(480), np.uint16).reshape(1, 2, 12, 10), "writable"),
        (np.zeros((1, 2, 4, 4), np.uint16), r"\(1, 2, 12, 10\)"),
    ],
)
def test_targets_that_do_not_fit(plain, out, message):
    with pytest.raises(ValueError, match=message):
        open_store(plain.path).read_rows_into(np.array([3], np.int64), {"image": out})


@pytest.mark.parametrize("rows", [[37], [-1], [0, 10**12]])
def test_rows_outside_the_store(plain, rows):
    out = np.zeros((len(rows), 2, 12, 10), np.uint16)
    with pytest.raises(IndexError, match="not all in the store's 37"):
        open_store(plain.path).read_rows_into(np.array(rows, np.int64), {"image": out})

"""Crop-to-content against the script that is usual for scanned characters, and its corner cases."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from patchmill.tasks.source import SourceError
from patchmill.tasks.step import Window, run_step
from patchmill.tasks.step_content import INTERPOLATIONS, CropToContent, padded_size

HEIGHT, WIDTH, SIZE = 137, 236, 128
#: The script's box is of the image without 5 px at each edge, and is taken for one of the image; so
#: the 10 and 13 px that it adds are 15 and 18 before the content, and 4 and 7 after it.
CHARACTERS = CropToContent(
    channel=0,
    threshold=80.0,
    output_size=(SIZE, SIZE),
    ignore_edge_px=5,
    margin_px=((15, 4), (18, 7)),
    noise=28.0,
    pad_px=16,
    interpolation="linear",
)


def bbox(mask):
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
    ymin, ymax = np.where(rows)[0][[0, -1]]
    xmin, xmax = np.where(columns)[0][[0, -1]]
    return ymin, ymax, xmin, xmax


def script(image, size=SIZE, pad=16):
    """Crop and resize as the script does that is used for the characters of Bengali.AI."""
    ymin, ymax, xmin, xmax = bbox(image[5:-5, 5:-5] > 80)
    xmin = xmin - 13 if xmin > 13 else 0
    ymin = ymin - 10 if ymin > 10 else 0
    xmax = xmax + 13 if xmax < WIDTH - 13 else WIDTH
    ymax = ymax + 10 if ymax < HEIGHT - 10 else HEIGHT
    image = image[ymin:ymax, xmin:xmax].copy()
    image[image < 28] = 0
    lx, ly = xmax - xmin, ymax - ymin
    side = max(lx, ly) + pad
    image = np.pad(image, [((side - ly) // 2,), ((side - lx) // 2,)], mode="constant")
    return cv2.resize(image, (size, size))


def character(seed: int) -> np.ndarray:
    """Bright strokes on a dark, noisy ground, and a line at an edge now and then."""
    rng = np.random.default_rng(seed)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    points = rng.integers((0, 0), (WIDTH, HEIGHT), (rng.integers(2, 7), 2)).reshape(-1, 1, 2)
    low, high = np.sort(rng.uniform(0, 1, 2))
    points = (points * (high - low) + low * np.array([WIDTH, HEIGHT])).astype(np.int32)
    cv2.polylines(image, [points], False, 230, int(rng.integers(1, 9)))
    image = cv2.GaussianBlur(image, (5, 5), 1).astype(np.int64)
    image += rng.integers(0, 45, image.shape)
    if seed % 3 == 0:
        image[:, -3:] = 200
    return np.clip(image, 0, 255).astype(np.uint8)


def in_window(*shape: int, own: tuple[slice, ...] | None = None) -> Window:
    whole = tuple(slice(0, length) for length in shape)
    return Window(0, 0, shape[-2:], own or whole)  # type: ignore[arg-type]


def run(step: CropToContent, image: Any, own: tuple[slice, ...] | None = None) -> np.ndarray:
    """Do the step on a picture (y, x), or on (c, z, y, x)."""
    pixels = np.array(image, np.float32)
    pixels = pixels if pixels.ndim == 4 else pixels[None, None]
    made, window = run_step(step, pixels, in_window(*pixels.shape[1:], own=own))
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert made.shape == (*pixels.shape[:2], *step.output_size)
    assert window.shape == step.output_size
    assert window.own == (slice(0, pixels.shape[1]), *map(slice, (0, 0), step.output_size))
    return made


@pytest.mark.parametrize("seed", range(60))
def test_characters_become_what_the_script_makes(seed):
    image = character(seed)
    made = run(CHARACTERS, image)[0, 0]
    np.testing.assert_array_equal(made, script(image.astype(np.float32)))
    # OpenCV resizes bytes with weights of 11 bits: up to one grey level beside the exact value.
    bytes_made = script(image).astype(np.int64)
    assert np.abs(np.rint(made) - bytes_made).max() <= 1


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.integers(0, 9),
)
def test_a_padded_box_has_the_shape_of_the_picture(box, size, pad):
    full = padded_size(box, size, pad, True)
    assert full[0] >= box[0] + pad
    assert full[1] >= box[1] + pad
    assert full[0] == box[0] + pad or full[1] == box[1] + pad
    # To the nearest pixel of the side that grew.
    assert abs(full[0] / size[0] - full[1] / size[1]) <= 0.5 / min(size) + 1e-9


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 29),
    st.integers(0, 39),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(*[st.integers(0, 15)] * 4),
    st.integers(0, 6),
)
def test_the_box_is_that_of_the_content_and_its_margins(y, x, size, margins, edge):
    image = np.zeros((30, 40))
    image[y : y + size[0], x : x + size[1]] = 10
    inner = image[edge : 30 - edge, edge : 40 - edge]
    assume(inner.any())
    rows, columns = (edge + np.flatnonzero(inner.any(axis=1 - axis)) for axis in range(2))
    top, bottom, left, right = margins
    # Each pixel tells where it is.
    image = np.where(image > 0, 5000, 0) + np.arange(1200).reshape(30, 40)
    expected = image[
        max(0, rows[0] - top) : rows[-1] + 1 + bottom,
        max(0, columns[0] - left) : columns[-1] + 1 + right,
    ]
    step = CropToContent(
        0, 4000, expected.shape, edge, ((top, bottom), (left, right)), keep_aspect=False
    )
    np.testing.assert_array_equal(run(step, image)[0, 0], expected)


def test_content_stays_in_the_middle_and_keeps_its_shape():
    image = np.zeros((60, 60))
    image[10:20, 30:50] = 100
    made = run(CropToContent(0, 50, (40, 20)), image)[0, 0]
    expected = np.pad(np.full((10, 20), 100.0), ((15, 15), (0, 0)))
    np.testing.assert_array_equal(made, expected)
    stretched = run(CropToContent(0, 50, (40, 20), keep_aspect=False), image)
    assert (stretched == 100).all()


@pytest.mark.parametrize("word", INTERPOLATIONS)
def test_pixels_are_resized_as_asked(word):
    image = character(1)
    step = CropToContent(0, 80, (50, 70), keep_aspect=False, interpolation=word)
    y0, y1, x0, x1 = bbox(image > 80)
    content = image[y0 : y1 + 1, x0 : x1 + 1].astype(np.float32)
    expected = cv2.resize(content, (70, 50), interpolation=INTERPOLATIONS[word])
    np.testing.assert_array_equal(run(step, image)[0, 0], expected)


def test_one_channel_decides_for_all_and_for_every_plane():
    pixels = np.zeros((2, 3, 20, 30), np.float32)
    pixels[1, 0, 4:6, 7:9] = 9
    pixels[1, 2, 9:10, 20:22] = 9
    pixels[0] = np.arange(600).reshape(20, 30) + 1000  # bright, and not asked
    step = CropToContent(1, 8, (6, 15), keep_aspect=False)
    np.testing.assert_array_equal(run(step, pixels), pixels[:, :, 4:10, 7:22])


def test_only_pixels_of_the_image_count():
    pixels = np.zeros((1, 1, 20, 20))
    pixels[..., 4:8, 4:8] = 50
    pixels[..., :, 12:] = 90  # its mirror image
    own = slice(0, 1), slice(2, 20), slice(1, 12)
    step = CropToContent(0, 40, (6, 8), margin_px=((9, 0), (9, 9)), keep_aspect=False)
    assert run(step, pixels, own).max() == 50
    found = run(CropToContent(0, 40, (6, 11), 0, ((9, 0), (9, 9)), keep_aspect=False), pixels, own)
    np.testing.assert_array_equal(found, pixels[:, :, 2:8, 1:12])


def test_noise_and_padding_become_the_fill():
    image = np.full((12, 12), 30.0)
    image[2:4, 2:8] = 200
    image[3, 3] = 20
    step = CropToContent(0, 100, (6, 6), noise=40, fill=7)
    made = run(step, image)[0, 0]
    expected = np.full((6, 6), 7.0)
    expected[2:4] = 200
    expected[3, 1] = 7
    np.testing.assert_array_equal(made, expected)


def test_a_window_without_content_becomes_what_was_asked():
    image = np.arange(80.0).reshape(8, 10)
    with pytest.raises(SourceError, match=r'threshold 79 .*empty = "blank" or "whole"') as raised:
        run(CropToContent(0, 79, (4, 4)), image)
    # The same wherever it is.
    assert "x =" not in raised.value.text
    blank = run(CropToContent(0, 79, (4, 4), empty="blank", fill=3), image)
    assert (blank == 3).all()
    whole = run(CropToContent(0, 79, (8, 10), empty="whole"), image)
    np.testing.assert_array_equal(whole[0, 0], image)
    # What lies at the edge alone is no content.
    with pytest.raises(SourceError):
        run(CropToContent(0, 78, (4, 4), ignore_edge_px=1), image)
    with pytest.raises(SourceError):
        run(CropToContent(0, -1, (4, 4), ignore_edge_px=50), image)


def test_what_is_no_number_is_no_content():
    image = np.zeros((8, 10))
    image[1, 1] = np.nan
    image[4:6, 4:6] = 9
    assert (run(CropToContent(0, 5, (2, 2), noise=1), image) == 9).all()

"""The contact sheet puts patches where they belong, in the colours asked for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from patchmill.workflows.contact_sheet import contact_sheet, save_contact_sheet


def ramps(n, channels, side=20):
    ramp = np.linspace(100, 60000, side * side).reshape(side, side).astype(np.uint16)
    return np.tile(ramp, (n, channels, 1, 1))


def test_patches_lie_in_reading_order():
    patches = np.zeros((5, 1, 10, 12), np.uint16)
    patches[:, 0] = 1000 * np.arange(5)[:, None, None]
    sheet = contact_sheet(patches, columns=3, gap_px=2, percentiles=(0, 100))
    assert sheet.shape == (2 * 12 + 2, 3 * 14 + 2, 3)
    tops = [(2, 2), (2, 16), (2, 30), (14, 2), (14, 16)]
    assert [sheet[y, x].tolist() for y, x in tops] == [[v] * 3 for v in (0, 64, 128, 191, 255)]
    assert [sheet[y + 9, x + 11, 0] for y, x in tops] == [0, 64, 128, 191, 255]
    assert np.all(sheet[14:24, 30:] == sheet[0, 0])  # the sixth place is empty


def test_channels_take_their_colours_and_add_up():
    patches = np.zeros((1, 2, 4, 4), np.uint16)
    patches[0, 0, :2] = 900
    patches[0, 1, :, :2] = 900
    colours = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    sheet = contact_sheet(patches, colours=colours, gap_px=0, percentiles=(0, 100))
    assert sheet[0, 3].tolist() == [0, 0, 255]  # blue, green, red
    assert sheet[3, 0].tolist() == [255, 0, 0]
    assert sheet[0, 0].tolist() == [255, 0, 255]
    assert sheet[3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels_has_colours(channels):
    sheet = contact_sheet(ramps(2, channels))
    assert sheet.dtype == np.uint8
    assert sheet.max() > 200


def test_contrast_is_shared_unless_relative():
    patches = ramps(2, 1)
    patches[1] //= 4
    shared = contact_sheet(patches, columns=2, gap_px=0)
    assert shared[:, :20].mean() > 3 * shared[:, 20:].mean()
    relative = contact_sheet(patches, columns=2, gap_px=0, relative=[0])
    assert relative[:, :20].mean() == pytest.approx(relative[:, 20:].mean(), rel=0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_constant_patches_are_black(dtype):
    sheet = contact_sheet(np.full((1, 1, 8, 8), 7, dtype), gap_px=0)
    assert sheet.max() == 0


def test_labels_are_written_into_their_patch():
    patches = np.zeros((2, 1, 64, 64), np.uint16)
    sheet = contact_sheet(patches, columns=2, gap_px=0, labels=["", "B02"])
    assert sheet[:, :64].max() == 0
    assert sheet[40:, 64:].max() > 200


def test_masks_lie_beside_their_patches():
    patches = np.zeros((2, 2, 12, 10), np.uint16)
    patches[:, 1] = np.arange(12 * 10).reshape(12, 10)
    masks = np.zeros((2, 12, 10), np.uint8)
    masks[0, 2:7, 3:8] = 1
    masks[1, 4:, :] = 2
    colours = {1: (0.0, 1.0, 0.0), 2: (1.0, 0.0, 0.0)}
    sheet = contact_sheet(
        patches, masks=masks, mask_colours=colours, under=1, columns=2, gap_px=3, relative=[]
    )
    assert sheet.shape == (12 + 6, 2 * 20 + 9, 3)
    alone = contact_sheet(patches[:, 1:], columns=2, gap_px=3)
    for number, x in enumerate((13, 36)):
        tile = sheet[3:15, x : x + 10].astype(int)
        ground = alone[3:15, 3 + 13 * number : 13 + 13 * number].astype(int)
        mask = masks[number]
        assert np.array_equal(tile[mask == 0], ground[mask == 0])  # grey where there is no class
    assert sheet[3 + 2, 13 + 3].tolist() == [0, 255, 0]  # the outline
    green, inner = sheet[3 + 4, 13 + 5], sheet[3 + 6, 13 + 5]
    assert green[1] > green[0] + 25  # the tint
    assert inner.tolist() == [0, 255, 0]
    assert sheet[3 + 4, 36 + 5].tolist() == [0, 0, 255]
    # A class that goes on beyond the patch has no outline along its edge.
    assert sheet[3 + 11, 36 + 5].tolist() != [0, 0, 255]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 1, 4, 4), {}, r"\(0, 1, 4, 4\)"),
        ((3, 4, 4), {}, r"needs \(n, c, y, x\)"),
        ((2, 3, 4, 4), {"colours": [(1.0, 1.0, 1.0)]}, "1 colours for 3 channels"),
        ((2, 1, 4, 4), {"labels": ["a"]}, "1 labels for 2 patches"),
        ((2, 1, 4, 4), {"masks": np.zeros((2, 4, 5))}, r"need \(2, 4, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(np.zeros(shape, np.uint16), **options)


def test_the_picture_is_what_was_made(tmp_path):
    patches = ramps(3, 3)
    path = save_contact_sheet(tmp_path / "sheet.png", patches, columns=2)
    assert np.array_equal(cv2.imread(str(path)), contact_sheet(patches, columns=2))

"""A picture of a profile of light, with a scale and lines of equal light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Of the longer side of the profile in the picture.
SIDE_PX = 480
_BAR_PX, _GAP_PX, _TITLE_PX, _SCALE_PX = 16, 12, 30, 64
_WHITE, _BLACK = (255, 255, 255), (20, 20, 20)


def profile_picture(profile: NDArray[np.float32], shape: tuple[int, int], title: str) -> bytes:
    """Return a PNG: the profile in false colour, divided by its mean.

    Parameters
    ----------
    profile
        float32, shape (y, x): flat - dark, at any number of places that cover the field.
    shape
        (height, width) of the field, for the sides of the picture.
    title
        Written above; characters that are not ASCII become "?".
    """
    longest = max(shape)
    height, width = (max(1, round(length * SIDE_PX / longest)) for length in shape)
    values = cv2.resize(profile / profile.mean(), (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-6)
    field = _coloured((values - low) / span)
    lines = _lines(low, high)
    for level in lines:
        edges, _ = cv2.findContours(
            (values >= level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        inside = np.zeros(values.shape, np.uint8)
        cv2.drawContours(inside, edges, -1, 1, 1)
        inside[[0, -1]] = 0  # where the field ends, not where the light does
        inside[:, [0, -1]] = 0
        field[inside > 0] = _WHITE
    sheet = np.full(
        (height + _TITLE_PX + _GAP_PX, max(width, 320) + _BAR_PX + _SCALE_PX + 3 * _GAP_PX, 3),
        _BLACK,
        np.uint8,
    )
    sheet[_TITLE_PX : _TITLE_PX + height, _GAP_PX : _GAP_PX + width] = field
    left = width + 2 * _GAP_PX
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(_BAR_PX, 1)
    sheet[_TITLE_PX : _TITLE_PX + height, left : left + _BAR_PX] = _coloured(ramp)
    for level in [low, *lines, high]:
        y = _TITLE_PX + round((high - level) / span * (height - 1))
        _write(sheet, f"{level:.2f}", (left + _BAR_PX + 4, y + 4), 0.38)
    _write(sheet, title.encode("ascii", "replace").decode(), (_GAP_PX, _TITLE_PX - 10), 0.45)
    _, data = cv2.imencode(".png", sheet)
    return data.tobytes()


def _lines(low: float, high: float) -> list[float]:
    """Return round levels between two, at most about eight."""
    step = next(
        s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 1e9) if high - low < 8 * s
    )
    first = int(np.floor(low / step)) + 1
    levels = [round(n * step, 2) for n in range(first, int(np.ceil(high / step)))]
    # Not where the ends of the scale are written.
    return [level for level in levels if min(level - low, high - level) > 0.04 * (high - low)]


def _coloured(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), np.uint8)


def _write(sheet: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _WHITE, 1, cv2.LINE_AA)

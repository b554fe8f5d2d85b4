"""How sharp a plane is: Vollath's autocorrelation, which camera noise does not raise.

Sharp planes differ most at the finest scale, but so do noisy ones: measures that sum squared
differences of neighbours (Brenner 1976, Tenengrad, the variance of the Laplacian) prefer a dim,
noisy plane to a sharp one. Vollath's F4 (J. Microsc. 147:279, 1987), among the best in the
comparison of Sun, Duthaler and Nelson (Microsc. Res. Tech. 65:139, 2004), is the autocorrelation
at a distance of one pixel less that at two. Noise is independent from pixel to pixel, so it adds
nothing to either, on average; neither do hot pixels.

Here it is written in differences, with a = I(x+1) - I(x) and b = I(x+2) - I(x+1), as the mean of
(a² + b² + 4ab) / 4 along rows and along columns, which differs from F4 at the borders alone, and
does not change with a camera's offset. It is not divided by the mean, which an offset would spoil;
planes are compared with each other, of one channel and one exposure.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What is worked on at once, in pixels: little enough to stay in the cache, and for memory that is
#: used again rather than asked of the system, which is four times as fast.
_BLOCK_PX = 1 << 13


class FocusScore:
    """The sharpness of a plane that comes in bands of rows, from the first to the last.

    The bands' heights do not matter, to the last bit.

    Examples
    --------
    >>> plane = np.random.default_rng(0).poisson(50, (64, 64))
    >>> score = FocusScore()
    >>> for band in np.split(plane, 4):
    ...     score.add(band)
    >>> score.value == sharpness(plane)
    True
    """

    def __init__(self) -> None:
        self._along_rows = 0.0
        self._along_columns = 0.0
        self._rows = 0
        self._width = 0
        self._last: NDArray[np.float64] | None = None

    def add(self, band: NDArray[Any]) -> None:
        """Add the next rows.

        Parameters
        ----------
        band
            Shape (rows, x), of any integer or float dtype.

        Raises
        ------
        ValueError
            Where it is not 2-D, or not as wide as those before.
        """
        if band.ndim != 2 or (self._rows and band.shape[1] != self._width):
            raise ValueError(f"a band has shape {band.shape}; give rows of one plane, all as wide")
        self._width = band.shape[1]
        # Overflow and NaN make a score of -inf, which says enough.
        with np.errstate(over="ignore", invalid="ignore"):
            step = max(1, _BLOCK_PX // max(1, self._width))
            for start in range(0, len(band), step):
                # In C's order, in which a row is summed the same way whatever the band is.
                self._add(band[start : start + step].astype(np.float64, order="C"))

    def _add(self, rows: NDArray[np.float64]) -> None:
        self._rows += len(rows)
        self._along_rows = _added(self._along_rows, rows[:, :-2], rows[:, 1:-1], rows[:, 2:])
        # A step along columns needs the last two rows of the block before.
        rows = rows if self._last is None else np.concatenate([self._last, rows])
        self._along_columns = _added(self._along_columns, rows[:-2], rows[1:-1], rows[2:])
        self._last = rows[-2:]

    @property
    def value(self) -> float:
        """In squared grey values; 0 for a constant plane, -inf where a pixel is not finite."""
        across, down = self._width - 2, self._rows - 2
        parts = []
        if across > 0 and self._rows:
            parts.append(self._along_rows / (4 * self._rows * across))
        if down > 0 and self._width:
            parts.append(self._along_columns / (4 * down * self._width))
        value = sum(parts) / max(1, len(parts))
        return value if math.isfinite(value) else -math.inf


def sharpness(plane: NDArray[Any]) -> float:
    """Return how sharp a plane is, see `FocusScore`; the sharpest of a stack has the most.

    Parameters
    ----------
    plane
        Shape (y, x), of any integer or float dtype.

    Examples
    --------
    >>> sharpness(np.full((8, 8), 1000, np.uint16))
    0.0
    """
    score = FocusScore()
    score.add(plane)
    return score.value


def _added(
    total: float,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    third: NDArray[np.float64],
) -> float:
    """Return a total with a² + b² + 4ab of each triple added, row by row."""
    if not first.size:
        return total
    # a² + b² + 4ab = (a + b)² + 2ab
    terms = third - first
    terms *= terms
    a, b = second - first, third - second
    a *= b
    a *= 2
    terms += a
    for row in terms.sum(axis=1).tolist():
        total += row
    return total

"""The step that calls a function of the user's own: `f(pixels, **options)`."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import PatchmillError
from .rounded import rounded
from .source import SourceError
from .step import Pixels, Window
from .users_own import loaded


@dataclass(frozen=True)
class Call:
    """Calls a function of the user's own.

    Attributes
    ----------
    function
        "package.module:function".
    options
        Keyword arguments, by name, in order.
    dtype
        In which it gets the pixels; integers are rounded half to even and saturated.
    sha256
        Of its source file, when it was checked; what is measured of later steps depends on it.
    halo_px
        As `Step.halo_px`.
    """

    function: str
    options: tuple[tuple[str, Any], ...]
    dtype: str
    sha256: str
    halo_px: int = 0

    #: So that it gets windows of one size, whatever a shard holds: nobody knows whether its last
    #: bits, or all of them, depend on that.
    is_of_patch: ClassVar[bool] = True

    def made_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what the function must return for pixels of a shape."""
        return shape

    def __call__(self, pixels: Pixels, window: Window) -> Pixels:
        """Call it, see `Step`.

        Raises
        ------
        PatchmillError
            Where it cannot be called, or is not the function that was checked.
        SourceError
            Where it fails on these pixels, or does not return what it must.
        """
        try:
            function, sha256 = loaded(self.function)
        except SourceError as error:
            raise PatchmillError(error.text) from error  # no image is at fault
        if sha256 != self.sha256:
            raise PatchmillError(
                f"call: {self.function} is another one on this worker than the one that was "
                "checked; install the same file for all workers and restart the cluster"
            )
        handed, is_finite = self._handed(pixels), bool(np.isfinite(pixels).all())
        shape = self.made_shape(pixels.shape)
        try:
            made = function(handed, **dict(self.options))
        except Exception as error:
            # The reason that is kept is the same wherever in the image it fails first.
            detail = _last_line(error)
            raise SourceError(f"call: {self.function} fails", detail=detail) from error
        return self._taken(made, shape, is_finite)

    def _handed(self, pixels: Pixels) -> NDArray[Any]:
        """Return what the function gets; it may write into it."""
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            return pixels.astype(dtype, copy=False)
        if np.isnan(pixels).any():
            raise SourceError(
                f"call: {self.function} gets pixels of {dtype}, which has no room for those that "
                'are no number; write dtype = "float32"'
            )
        handed = np.empty(pixels.shape, dtype)
        rounded(pixels, (slice(None),) * 3, handed, "")
        return handed

    def _taken(self, made: Any, shape: tuple[int, ...], is_finite: bool) -> Pixels:
        """Return what the function returned, checked, as an array of our own."""
        if not isinstance(made, np.ndarray):
            raise self._fault(f"a {type(made).__name__}", "write one that returns an array")
        if made.dtype.kind not in "biuf":
            raise self._fault(f"an array of {made.dtype}", "return real numbers")
        if made.shape != shape:
            raise self._fault(f"an array of shape {made.shape} for one of {shape}", self._hint())
        with np.errstate(over="ignore"):
            taken: Pixels = np.array(made, np.float32, order="C")  # later steps write into it
        halo = self.halo_px
        used = taken[:, :, halo : taken.shape[2] - halo, halo : taken.shape[3] - halo]
        if is_finite and not np.isfinite(used).all():
            raise self._fault(
                "pixels that are not finite, for pixels that are", "return finite numbers"
            )
        return taken

    def _hint(self) -> str:
        return "return the shape (c, z, y, x) that it gets, or write output_size = [y, x]"

    def _fault(self, found: str, wanted: str) -> SourceError:
        return SourceError(f"call: {self.function} returned {found}; {wanted}")


@dataclass(frozen=True)
class CallToSize(Call):
    """Calls a function that makes a picture of another size out of a window.

    Attributes
    ----------
    output_size
        (y, x) of the picture.
    """

    output_size: tuple[int, int] = (0, 0)

    def made_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what the function must return for pixels of a shape."""
        return *shape[:2], *self.output_size

    def _hint(self) -> str:
        return f"output_size is {list(self.output_size)}: return (c, z, y, x) of that size"


def _last_line(error: Exception) -> str:
    """Return the last line of a traceback, and where in whose file it was."""
    (*_, last) = traceback.format_exception_only(error)
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first one is ours
    where = f", in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return last.strip().replace("\n", " ")[:300] + where

"""TIFFs to read, and tifffile's own answer to what is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from patchmill.tasks.cut import PatchSpec
from patchmill.tasks.read import read_windows
from patchmill.tasks.source import FileInfo, ImageSource
from patchmill.tasks.tiff import describe


@dataclass
class Described:
    """A file as the survey sees it and as tasks get it."""

    info: FileInfo
    source: ImageSource

    def read(self, t: int, z: int, windows: Any) -> list[NDArray[Any]]:
        windows = np.asarray(windows, np.int64).reshape(-1, 4)
        channels = self.source.planes.shape[1]
        out = [
            np.full((channels, y1 - y0, x1 - x0), 77, self.source.dtype)
            for y0, y1, x0, x1 in windows.tolist()
        ]
        read_windows(self.source, t, z, windows, out)
        return out


def describe_file(path: Path, axes: str | None = None) -> Described:
    info = describe(str(path), axes)
    n_t, n_c, n_z, height, width = info.shape
    planes = np.empty((n_t, n_c, n_z, 3), np.int32)
    for t, c, z in np.ndindex(n_t, n_c, n_z):
        planes[t, c, z] = (0, *info.plane(t, c, z))
    dtype = np.dtype(info.dtype)
    shape = (height, width)
    source = ImageSource("image", (str(path),), (info.identity,), planes, shape, dtype)
    return Described(info, source)


def read_by_tifffile(path: Path, axes: str | None = None) -> NDArray[Any]:
    """Return all of the image, shape (t, c, z, y, x): samples of a pixel are channels."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        pixels, own = series.asarray(), str(series.keyframe.axes)
        leading = (axes or str(series.axes))[: -len(own)]
    if own == "YXS":
        pixels = np.moveaxis(pixels, -1, -3)
    # Beside samples of a pixel a channel axis has one plane, as has one of an unknown name.
    drop = {n for n, axis in enumerate(leading) if axis not in ("TZ" if "S" in own else "TCZ")}
    pixels = pixels.squeeze(tuple(drop))
    names = "".join(axis for n, axis in enumerate(leading) if n not in drop)
    names += "CYX" if "S" in own else "YX"
    pixels = pixels.transpose([names.index(axis) for axis in "TCZYX" if axis in names])
    lengths = dict(zip((a for a in "TCZYX" if a in names), pixels.shape, strict=True))
    return pixels.reshape([lengths.get(axis, 1) for axis in "TCZYX"])


@pytest.fixture
def described() -> Callable[..., Described]:
    """Return what the survey and the tasks know of a file."""
    return describe_file


@pytest.fixture
def whole() -> Callable[..., NDArray[Any]]:
    """Return all of an image as tifffile reads it, shape (t, c, z, y, x)."""
    return read_by_tifffile


@pytest.fixture
def patch_spec() -> Callable[..., PatchSpec]:
    def make(dtype: Any = "uint16", **changes: Any) -> PatchSpec:
        options: dict[str, Any] = {
            "channels": 1,
            "size": (8, 8),
            "dtype": np.dtype(dtype),
            "pad": "reflect",
            "codec": "lz4",
            "level": 5,
            "rows_per_shard": 8,
        }
        return PatchSpec(**options | changes)

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)

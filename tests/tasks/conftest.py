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

from patchmill.tasks.copied import copying
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.patches import PatchSpec
from patchmill.tasks.read import read_boxes
from patchmill.tasks.resolution import Resolution, as_level
from patchmill.tasks.source import FileInfo, ImageKind, ImageSource
from patchmill.tasks.survey import describe


@dataclass
class Described:
    """A file as the survey sees it and as tasks get it."""

    info: FileInfo
    source: ImageSource
    options: ImageOptions

    def read(self, t: int, z: int, windows: Any) -> list[NDArray[Any]]:
        """Return windows (y0, y1, x0, x1) of one plane, each of shape (c, y, x)."""
        windows = np.asarray(windows, np.int64).reshape(-1, 4)
        planes = np.tile(np.array([t, t + 1, z, z + 1], np.int64), (len(windows), 1))
        return [box[:, 0] for box in self.read_boxes(np.concatenate([planes, windows], axis=1))]

    def read_boxes(self, boxes: NDArray[np.int64]) -> list[NDArray[Any]]:
        """Return boxes (t, z, y, x; first and one past the last), each of shape (c, z, y, x)."""
        channels = self.source.kind.planes.shape[1]
        out = [
            np.full((channels, z1 - z0, y1 - y0, x1 - x0), 77, self.source.kind.dtype)
            for _, _, z0, z1, y0, y1, x0, x1 in boxes.tolist()
        ]
        read_boxes(self.source, self.options, boxes, copying(out, boxes))
        return out


def describe_file(
    path: Path,
    axes: str | None = None,
    *,
    item: int = 0,
    resolution: Callable[[Any], Resolution] | None = None,
    **options: Any,
) -> Described:
    """Survey a file, and make a source of all that is in it.

    `resolution` takes the shapes of the levels, (z, y, x); by default level 0 as it is.
    """
    chosen = ImageOptions(axes=axes, **options)
    info = describe(str(path), chosen)
    shapes = [level.shape for level in info.levels]
    own = resolution(shapes) if resolution else as_level(shapes, 0)
    n_t, n_c, n_z = *info.shape[:2], own.shape[0]
    planes = np.zeros((n_t, n_c, n_z, 4), np.int32)
    planes[..., 1:] = np.moveaxis(np.indices((n_t, n_c, n_z)), 0, -1)
    segment = info.levels[own.level].segment
    kind = ImageKind(planes, own, segment, np.dtype(info.dtype))
    source = ImageSource("image", (str(path),), (info.identity,), (info.members,), item, kind)
    return Described(info, source, chosen)


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
            "size": (1, 8, 8),
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

"""Opens whatever bioio opens: CZI, ND2, LIF and more, where the user has it and its plug-in.

bioio (https://github.com/bioio-devs/bioio) gives every file the dimensions TCZYX, with S for
samples of a pixel after them, as lazy Dask arrays.
"""

from __future__ import annotations

import math
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..reader.remote import is_remote
from .axes import axes_of
from .image import ArrayImage, ImageOptions, VoxelSize
from .source import SourceError
from .units import micrometres_of

if TYPE_CHECKING:
    from bioio import BioImage

#: The plug-ins of the commonest formats.
_PLUGINS = {
    ".czi": "bioio-czi",
    ".dv": "bioio-dv",
    ".lif": "bioio-lif",
    ".nd2": "bioio-nd2",
    ".r3d": "bioio-dv",
    ".sldy": "bioio-sldy",
    **dict.fromkeys((".gif", ".mp4", ".avi"), "bioio-imageio"),
    **dict.fromkeys((".oib", ".oif", ".oir", ".vsi", ".lsm", ".mrxs"), "bioio-bioformats"),
}
#: Scenes that an error names.
_NAMED = 12


def open_bioio(path: str, options: ImageOptions) -> ArrayImage:
    """Open one scene of a file with bioio.

    Parameters
    ----------
    path
        Of the file.
    options
        `dataset` is the scene, by its name or its number from 0; `axes` replaces what bioio says.

    Returns
    -------
    image
        Axes TCZYX, or TZYXC where pixels have samples (RGB), with the levels that bioio offers.
        Mosaics are as bioio puts them together.

    Raises
    ------
    SourceError
        Where bioio or the plug-in for the file is not installed, or where it is not clear which
        scene is meant.
    """
    if is_remote(path):
        raise SourceError(
            f"{path}: is of a kind that only bioio reads, from a mounted file system; copy it there"
        )
    image = _open(path)
    image.set_scene(_scene(path, image.scenes, options.dataset))
    voxel_um, notes = _voxel_of(image)
    names = [str(name) for name in image.channel_names or ()]
    levels = []
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        levels.append(image.dask_data)
    own = str(image.dims.order)
    if own == "TCZYXS":
        if levels[0].shape[1] > 1:
            raise SourceError(
                f"{path}: has both channels (C) and samples of a pixel (S), which is not read; "
                "write them as channels"
            )
        levels = [level[:, 0] for level in levels]
        own, names = "TZYXC", list("RGBA")[: levels[0].shape[-1]]
    lock = threading.Lock()
    axes = axes_of(path, levels[0].shape, tuple(own), options)
    as_it_is = axes == own
    return ArrayImage(
        [_Lazy(level, lock) for level in (levels if as_it_is else levels[:1])],
        axes,
        channels=names if as_it_is else (),
        voxel_um=voxel_um,
        segments=[_segment_of(level.chunks) for level in levels][: None if as_it_is else 1],
        notes=notes,
    )


class _Lazy:
    """A Dask array that is computed where it is read, one thread at a time.

    Plug-ins do not promise that several threads may read. Without a scheduler of its own, the
    array would go to the cluster whose worker reads it.
    """

    def __init__(self, array: Any, lock: threading.Lock) -> None:
        self._array, self._lock = array, lock
        self.shape: tuple[int, ...] = array.shape
        self.dtype = array.dtype

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        with self._lock:
            pixels: NDArray[Any] = self._array[region].compute(scheduler="synchronous")
        return pixels


def _open(path: str) -> BioImage:
    suffix = PurePath(path).suffix.lower()
    plugin = _PLUGINS.get(suffix)
    install = f"bioio {plugin}" if plugin else "bioio and the plug-in for it"
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError:
        raise SourceError(
            f"{path}: is of a kind ({suffix or 'no suffix'}) that is read with bioio alone, if at "
            f"all; pip install {install}, for the workers too, or leave it out"
        ) from None
    try:
        return BioImage(path)
    except UnsupportedFileFormatError:
        raise SourceError(
            f"{path}: no plug-in of bioio that is installed reads it; it is damaged, or pip "
            f"install {install}, for the workers too (https://github.com/bioio-devs/bioio lists "
            "them), or leave it out"
        ) from None


def _scene(path: str, scenes: tuple[str, ...], wanted: str | None) -> int:
    """Return the number of the scene that is meant."""
    if wanted is None and len(scenes) == 1:
        return 0
    found = [number for number, name in enumerate(scenes) if wanted in (name, str(number))]
    named = [number for number in found if scenes[number] == wanted] or found
    if wanted is not None and len(named) == 1:
        return named[0]
    listed = ", ".join(f"{number} {name!r}" for number, name in enumerate(scenes[:_NAMED]))
    more = f" and {len(scenes) - _NAMED} more" if len(scenes) > _NAMED else ""
    asked = "" if wanted is None else f", and images.dataset = {wanted!r} is not one of them"
    raise SourceError(
        f"{path}: holds {len(scenes)} scenes: {listed}{more}{asked}; choose one by its number or "
        'name, as in images.dataset = "0"'
    )


def _voxel_of(image: BioImage) -> tuple[VoxelSize, tuple[str, ...]]:
    """Return (z, y, x) in micrometres, and what was guessed."""
    sizes, properties = image.physical_pixel_sizes, image.dimension_properties
    found, guessed = [], False
    for axis in "ZYX":
        size, unit = getattr(sizes, axis), getattr(properties, axis).unit
        known = size is not None and size > 0
        guessed = guessed or (known and unit is None)
        scale = 1.0 if unit is None else micrometres_of(str(unit))
        found.append(float(size) * scale if known else math.nan)
    note = "bioio gives its voxel size without a unit; it is taken for micrometres"
    z, y, x = found
    return (z, y, x), (note,) if guessed else ()


def _segment_of(chunks: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return what is read at once: a chunk; all along an axis whose chunks are uneven."""
    return tuple(
        lengths[0]
        if set(lengths[:-1]) <= {lengths[0]} and lengths[-1] <= lengths[0]
        else sum(lengths)
        for lengths in chunks
    )

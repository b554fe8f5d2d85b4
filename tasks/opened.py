"""Images that a worker process keeps open, and regions of them in one order of axes."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reader.remote import is_remote
from .formats import open_image
from .identity import identity_of
from .image import AXES, ImageOptions
from .source import FileIdentity, SourceError, naming

#: Images that a worker process keeps open between tasks.
MAX_OPEN_IMAGES = 32
#: Fewer of them, where they hold more than this together.
MAX_HELD_BYTES = 256_000_000
#: Ranges along (t, c, z, y, x).
Region = tuple[slice, slice, slice, slice, slice]


class OpenImage:
    """One open image, read by several threads; whatever its own order of axes is.

    Parameters
    ----------
    path
        Of a file, a folder, or a URL.
    options
        What the recipe says about it.
    """

    def __init__(self, path: str, options: ImageOptions) -> None:
        self.path = path
        with naming(path, "be opened"):
            reader = open_image(path, options)
            axes = _axes(path, reader.axes, reader.shapes)
            # Dimensions as the reader has them, in our order; and where ours are in its.
            self._order = [axes.index(axis) for axis in AXES if axis in axes]
            self._given = [AXES.index(axis) for axis in axes]
            self.shapes = [self._in_order(shape) for shape in reader.shapes]
            self.segments = [self._in_order(segment) for segment in reader.segments]
            self.reader = reader

    def __del__(self) -> None:
        # The last thread that reads it is done.
        if hasattr(self, "reader"):
            self.reader.close()

    def _in_order(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return lengths along (n, t, c, z, y, x), 1 where the image has no such axis."""
        full = [1] * len(AXES)
        for at, length in zip(self._given, lengths, strict=True):
            full[at] = int(length)
        return tuple(full)

    def read(self, level: int, item: int, region: Region) -> NDArray[Any]:
        """Return pixels, shape (t, c, z, y, x); valid until the same thread reads again.

        Parameters
        ----------
        level
            Of the pyramid.
        item
            Which image it is, where there are several.
        region
            As in `ImageReader.read`, in our order of axes.
        """
        full = (slice(item, item + 1), *region)
        with naming(self.path, "read its pixels", _where(level, region)):
            pixels = self.reader.read(level, tuple(full[at] for at in self._given))
            wanted = tuple(part.stop - part.start for part in region)
            pixels = pixels.transpose(self._order)
            if pixels.size != np.prod(wanted) or pixels.dtype != self.reader.dtype:
                raise ValueError(
                    f"its reader returned {pixels.shape} {pixels.dtype} for {wanted} "
                    f"{self.reader.dtype}"
                )
            return pixels.reshape(wanted)


def _axes(path: str, axes: str, shapes: Any) -> str:
    if len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes) <= set(AXES):
        raise SourceError(f"{path}: its reader says axes {axes!r}; it must be letters of {AXES!r}")
    if any(len(shape) != len(axes) for shape in shapes):
        raise SourceError(f"{path}: its reader says axes {axes!r} and shapes {list(shapes)}")
    return axes


def _where(level: int, region: Region) -> str:
    y, x = region[3:]
    return f"rows {y.start} to {y.stop}, columns {x.start} to {x.stop} of level {level}"


_open: OrderedDict[tuple[str, FileIdentity, ImageOptions], OpenImage] = OrderedDict()
_lock = threading.Lock()


def open_source(
    path: str, identity: FileIdentity, members: tuple[str, ...], options: ImageOptions
) -> OpenImage:
    """Return an image, from the few that this process keeps open.

    One that is pushed out stays open until the last thread that reads it is done.

    Raises
    ------
    SourceError
        Where it is not what was surveyed any more.
    """
    key = (path, identity, options)
    with _lock:
        found = _open.get(key)
        if found is not None:
            _open.move_to_end(key)
    if found is None:
        _check_unchanged(members or (path,), identity, options)
        found = OpenImage(path, options)
        with _lock:
            found = _open.setdefault(key, found)
            while len(_open) > MAX_OPEN_IMAGES or (len(_open) > 1 and _held() > MAX_HELD_BYTES):
                _open.popitem(last=False)
    elif not members:
        # A file may be written anew while it is kept open; folders and objects are many requests.
        _check_file_unchanged(path, identity)
    return found


def _held() -> int:
    return sum(image.reader.held_bytes for image in _open.values())


def _check_file_unchanged(path: str, identity: FileIdentity) -> None:
    if is_remote(path):
        return
    try:
        now = os.stat(path)  # noqa: PTH116 - for each of thousands of small images
    except OSError:
        now = None
    if now is None or not (
        (now.st_size, now.st_mtime_ns) == (identity.size_bytes, identity.mtime_ns)
        or stat.S_ISDIR(now.st_mode)
    ):
        _check_unchanged((path,), identity, ImageOptions())  # which says what is wrong


def _check_unchanged(paths: tuple[str, ...], identity: FileIdentity, options: ImageOptions) -> None:
    now = identity_of(paths, content=False, storage=options.storage)
    if (now.size_bytes, now.mtime_ns) != (identity.size_bytes, identity.mtime_ns):
        raise SourceError(
            f"{paths[0]}: changed since the survey ({identity.size_bytes} bytes then, "
            f"{now.size_bytes} now); run the command again when it no longer changes"
        )

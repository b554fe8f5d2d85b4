"""Where the files of a recipe lie: absolute, relative to it, or inside a zarr folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..reader.remote import is_remote
from ..tasks.folders import ZARR_FILES


class Places:
    """Returns the absolute path of a name, and its path relative to the recipe.

    Parameters
    ----------
    folder
        The recipe's, absolute.
    base
        The folder that names are relative to, absolute.

    Examples
    --------
    >>> place = Places(Path("/data"), Path("/data/lists"))
    >>> place("../plate1/a.tif")
    ('/data/plate1/a.tif', 'plate1/a.tif')
    >>> place("s3://bucket/a.tif")
    ('s3://bucket/a.tif', 's3://bucket/a.tif')
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder = folder
        self._base = base
        self._relative: dict[str, str] = {}
        self._top = str(folder)
        self._in_zarr: dict[str, bool] = {}

    def __call__(self, name: str) -> tuple[str, str]:
        """Return both; the relative one has forward slashes."""
        if is_remote(name):
            return name, name
        head, last = os.path.split(os.path.normpath(os.path.join(self._base, name)))  # noqa: PTH118
        # Only the folder is made relative, once: os.path.relpath is slow for many files.
        if head not in self._relative:
            relative = Path(os.path.relpath(head, self._folder)).as_posix()
            self._relative[head] = "" if relative == "." else f"{relative}/"
        return os.path.join(head, last), self._relative[head] + last  # noqa: PTH118

    def is_in_zarr(self, path: str) -> bool:
        """Say whether an absolute path lies in a zarr folder, at any depth below the recipe's."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self._in_zarr:
            at_top = folder in (self._top, path)
            self._in_zarr[folder] = not at_top and (is_zarr(folder) or self.is_in_zarr(folder))
        return self._in_zarr[folder]


def is_zarr(folder: str) -> bool:
    """Say whether a folder is a zarr group or array."""
    return any(os.path.lexists(os.path.join(folder, name)) for name in ZARR_FILES)  # noqa: PTH118

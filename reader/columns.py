"""The columns of `index` and `images`: arrays by name, each read on first use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError, RemoteStoreError, StoreError
from .remote import Place, RemotePath, zarr_place
from .root import read_json


class Columns(Mapping[str, NDArray[Any]]):
    """The arrays of one group of a store, as a mapping; read through zarr, kept, read-only.

    Parameters
    ----------
    folder
        The group's folder; one that does not exist has no columns.
    length
        Number of entries that each column must have, where that is known.
    names
        Of the columns, which only a folder of this machine can be asked for.
    """

    def __init__(self, folder: Place, length: int | None = None, names: Sequence[str] = ()) -> None:
        self._folder = folder
        self._length = length
        self._opened: dict[str, Any] = {}  # zarr arrays
        self._read: dict[str, NDArray[Any]] = {}
        if not isinstance(folder, RemotePath):
            names = [file.parent.name for file in folder.glob("*/zarr.json")]
        self._names = sorted(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._read:
            column = self._slice(name, slice(None))
            column.flags.writeable = False
            self._read[name] = column
        return self._read[name]

    def __repr__(self) -> str:
        return f"Columns({str(self._folder)!r}: {', '.join(self._names)})"

    @property
    def length(self) -> int:
        """Number of entries that each column has; 0 where there are no columns."""
        if self._length is None and self._names:
            with _reading(self._folder / self._names[0]):
                self._length = int(self._open(self._names[0]).shape[0])
        return self._length or 0

    def part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return the entries from start to stop of a column, which is not kept for that."""
        if name in self._read:
            return self._read[name][start:stop]
        return self._slice(name, slice(start, stop))

    def enumeration(self, name: str) -> tuple[str, ...] | None:
        """Return what the integers of a column stand for, in order; None if it is just a column."""
        self._check(name)
        names = read_json(self._folder / name / "zarr.json").get("attributes", {}).get("names")
        return tuple(str(each) for each in names) if isinstance(names, list) else None

    def meanings(self, name: str) -> tuple[str, ...]:
        """Return what the integers of an enumeration stand for, in order: `split`, `reason`, …"""
        names = self.enumeration(name)
        if names is None:
            raise StoreError(f"{self._folder}: the column {name!r} is not an enumeration")
        return names

    def _check(self, name: str) -> None:
        if name not in self._names:
            known = ", ".join(self._names) or "none"
            raise KeyError(f"{self._folder} has no column {name!r}; it has {known}")

    def _slice(self, name: str, part: slice) -> NDArray[Any]:
        self._check(name)
        with _reading(self._folder / name):
            return np.asarray(self._open(name)[part])

    def _open(self, name: str) -> Any:
        if name not in self._opened:
            import zarr  # takes half a second: only those who ask for a column pay for it

            # The format is said, or zarr asks for files of an older one too: far away, requests.
            files, path = zarr_place(self._folder / name)
            array = zarr.open_array(files, path=path, mode="r", zarr_format=3)
            if array.ndim == 0 or self._length not in (None, array.shape[0]):
                raise DamagedStoreError(
                    f"{self._folder / name} has shape {array.shape}, which should begin with "
                    f"{self._length}; make or copy the store again"
                )
            self._opened[name] = array
        return self._opened[name]


@contextmanager
def _reading(column: Place) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # zarr-python warns of the text codec, which the zarr v3 core does not name.
            warnings.filterwarnings("ignore", message=r".*vlen-utf8", category=UserWarning)
            yield
    except (DamagedStoreError, RemoteStoreError):
        raise
    except Exception as error:  # zarr raises what its codecs raise: any kind
        raise DamagedStoreError(
            f"{column} cannot be read ({error}); make or copy the store again"
        ) from error

"""The columns of `index` and `images`: arrays by name, each read on first use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError, StoreError
from .root import read_json


class Columns(Mapping[str, NDArray[Any]]):
    """The arrays of one group of a store, as a mapping; read through zarr, kept, read-only.

    Parameters
    ----------
    folder
        The group's folder; one that does not exist has no columns.
    length
        Number of entries that each column must have, where that is known.
    """

    def __init__(self, folder: Path, length: int | None = None) -> None:
        self._folder = folder
        self._length = length
        self._read: dict[str, NDArray[Any]] = {}
        self._names = sorted(file.parent.name for file in folder.glob("*/zarr.json"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            known = ", ".join(self._names) or "none"
            raise KeyError(f"{self._folder} has no column {name!r}; it has {known}")
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def __repr__(self) -> str:
        return f"Columns({str(self._folder)!r}: {', '.join(self._names)})"

    def meanings(self, name: str) -> tuple[str, ...]:
        """Return what the integers of an enumeration stand for, in order: `split`, `reason`, …"""
        names = read_json(self._folder / name / "zarr.json").get("attributes", {}).get("names")
        if not isinstance(names, list):
            raise StoreError(f"{self._folder}: the column {name!r} is not an enumeration")
        return tuple(str(each) for each in names)

    def _load(self, name: str) -> NDArray[Any]:
        import zarr  # takes half a second: only those who ask for a column pay for it

        folder = self._folder / name
        try:
            with warnings.catch_warnings():
                # zarr-python warns of the text codec, which the zarr v3 core does not name.
                warnings.filterwarnings("ignore", message=r".*vlen-utf8", category=UserWarning)
                column = np.asarray(zarr.open_array(str(folder), mode="r")[:])
        except Exception as error:  # zarr raises what its codecs raise: any kind
            raise DamagedStoreError(
                f"{folder} cannot be read ({error}); make or copy the store again"
            ) from error
        if column.ndim == 0 or self._length not in (None, len(column)):
            raise DamagedStoreError(
                f"{folder} has shape {column.shape}, which should begin with {self._length}; "
                "make or copy the store again"
            )
        column.flags.writeable = False
        return column

"""Fields in layouts that `decode` does not know, read through zarr: slower, and the same result.

Several patches in a chunk, no shards, other codecs, other orders of bytes: whatever zarr reads.
There an absent chunk is full of the fill value, as zarr says, while it is damage in our layout.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError, StoreError
from .field import Field
from .remote import Place, zarr_place

if TYPE_CHECKING:
    import zarr


def open_foreign(store: Place, name: str) -> zarr.Array[Any]:
    """Open the array of a field through zarr.

    Raises
    ------
    StoreError
        For what zarr cannot read.
    """
    # zarr takes half a second: only stores that need it pay for it.
    import zarr

    from .whole_blosc import with_whole_blosc
    from .whole_store import WholeStore

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of codecs that the zarr v3 core does not name
            files, path = zarr_place(store / name)
            array = zarr.open_array(WholeStore(files), path=path, mode="r", zarr_format=3)
            array = with_whole_blosc(array)
            array.dtype  # noqa: B018  # a data type that it does not know shows here
    except Exception as error:  # zarr raises what its parsers and codecs raise: any kind
        raise StoreError(
            f"{store}: field {name!r} is not laid out as format 1 says, and zarr "
            f"{zarr.__version__} cannot read it either ({_said(error)})"
        ) from error
    return array


def foreign_field(store: Place, name: str) -> Field:
    """Describe a field that is read through zarr; raises `StoreError` as `open_foreign` does."""
    array = open_foreign(store, name)
    if array.dtype.kind not in "biufc":
        raise StoreError(f"{store}: field {name!r} holds {array.dtype}; patches must be numbers")
    if array.ndim < 2 or min(array.shape[1:]) < 1:
        raise StoreError(
            f"{store}: field {name!r} has shape {array.shape}; its first axis must count patches, "
            "and a patch must have pixels"
        )
    chunks = array.chunks if array.shards is None else array.shards
    return Field(
        name=name,
        shape=array.shape[1:],
        dtype=array.dtype.newbyteorder("<"),
        rows=array.shape[0],
        rows_per_shard=chunks[0],
        codec="zarr",
        level=0,
        is_fast=False,
    )


class ZarrReader:
    """Reads the patches of one field through zarr, on any number of threads.

    Parameters
    ----------
    store
        The store's folder.
    field
        What to read.
    """

    def __init__(self, store: Place, field: Field) -> None:
        self.field = field
        self._store = store
        self._array = open_foreign(store, field.name)

    def read_into(
        self,
        rows: NDArray[np.int64],
        out: NDArray[Any],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Read rows of the store, as `FieldReader.read_into` does.

        Raises
        ------
        DamagedStoreError
            For the first row that zarr cannot read.
        """
        if len(rows) == 0:
            return
        wanted, places = np.unique(rows, return_inverse=True)
        patches = self._read(wanted)
        if corners is None:
            np.take(patches, places, axis=0, out=out, mode="clip")
            return
        height, width = out.shape[-2:]
        for target, place, (y, x) in zip(out, places.tolist(), corners.tolist(), strict=True):
            target[...] = patches[place, ..., y : y + height, x : x + width]

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read ascending rows, each chunk once."""
        try:
            return self._select(rows)
        except Exception as error:  # zarr raises what its codecs raise: any kind
            if len(rows) > 1:
                for row in rows:
                    self._read(row[None])  # raises for the first one that is damaged
            raise DamagedStoreError(
                f"{self._store}: field {self.field.name!r}, patch {rows[0]} cannot be read "
                f"through zarr ({_said(error)}); make or copy the store again"
            ) from error

    def _select(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        selected = np.asarray(self._array.oindex[rows])
        return selected.astype(self.field.dtype, order="C", copy=False)


def _said(error: Exception) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__

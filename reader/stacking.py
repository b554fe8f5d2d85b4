"""Samples into a batch's arrays: one piece of memory, the rows that are missing zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buffers import Layout, Memory, take_arrays
from .options import Batch
from .sources import DATA

#: What every batch has beside its fields.
INDEX, VALID = "index", "valid"


def batch_layout(layout: Layout, batch_size: int) -> Layout:
    """Return shapes and dtypes of a batch's arrays, for those of a sample."""
    arrays = {name: ((batch_size, *shape), dtype) for name, (shape, dtype) in layout.items()}
    return arrays | {
        INDEX: ((batch_size,), np.dtype(np.int64)),
        VALID: ((batch_size,), np.dtype(np.bool_)),
    }


def take_batch(memory: Memory, layout: Layout, batch_size: int) -> Batch:
    """Return a batch for samples of a layout, its content undefined."""
    return take_arrays(memory, batch_layout(layout, batch_size))


def mark_rows(batch: Batch, rows: NDArray[np.int64]) -> None:
    """Say which rows a batch holds at its beginning, and make the rest zero and not valid."""
    filled = len(rows)
    for array in batch.values():
        array[filled:] = np.zeros((), array.dtype)
    batch[INDEX][:filled] = rows
    batch[INDEX][filled:] = -1
    batch[VALID][:filled] = True


def stacked(
    samples: Sequence[Any], rows: NDArray[np.int64], batch_size: int, memory: Memory
) -> Batch:
    """Copy samples into a batch.

    Parameters
    ----------
    samples
        Dicts of arrays, or arrays, of the same shapes and dtypes; at least one.
    rows
        What they are called in `index`.

    Raises
    ------
    ValueError
        For samples that are not alike; names two of them and both layouts.
    TypeError
        For a sample that no array holds.
    """
    alike = [_as_arrays(sample) for sample in samples]
    layout = _layout(alike[0])
    for number, sample in enumerate(alike):
        if _layout(sample) != layout:
            raise ValueError(
                f"row {rows[number]} is {_described(_layout(sample))} and row {rows[0]} is "
                f"{_described(layout)}; make samples alike, or pass `collate`"
            )
    batch = take_batch(memory, layout, batch_size)
    for name in layout:
        for number, sample in enumerate(alike):
            batch[name][number] = sample[name]
    mark_rows(batch, rows)
    return batch


def _as_arrays(sample: Any) -> dict[str, NDArray[Any]]:
    parts = sample if isinstance(sample, Mapping) else {DATA: sample}
    arrays = {str(name): np.asarray(part) for name, part in parts.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(
                f"a sample's {name!r} is {type(parts[name]).__name__}, which no array holds; "
                "return arrays and numbers from `transform`, or pass `collate`"
            )
    return arrays


def _layout(sample: Mapping[str, NDArray[Any]]) -> Layout:
    return {name: (array.shape, array.dtype) for name, array in sample.items()}


def _described(layout: Layout) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in layout.items())

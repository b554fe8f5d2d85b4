"""NumPy batches as tensors that share their memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def as_tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch with each array as a tensor on the same memory.

    A tensor holds its array, so memory that is used again once nobody holds it stays as it is
    for as long as the tensor lives. Arrays that no tensor can look at are copied: those with
    negative strides (a flip), read-only ones, and those of a foreign byte order. What is no array
    of numbers stays what it is.

    Examples
    --------
    >>> as_tensors({"image": np.ones((1, 2), np.uint16), "path": "a.tif"})
    {'image': tensor([[1, 1]], dtype=torch.uint16), 'path': 'a.tif'}
    """
    return {name: _as_tensor(value) for name, value in batch.items()}


def _as_tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(_fit_for_torch(value))
    return value


def _fit_for_torch(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that torch.from_numpy takes: itself where it does."""
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        return array.copy()
    return array

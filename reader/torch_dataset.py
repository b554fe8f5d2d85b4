"""`PatchDataset`: a view as a map style dataset, of which DataLoader fetches whole batches."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate, get_worker_info

from .field import Field
from .several import SeveralStores
from .store import Store
from .view import View

Sample = dict[str, Any]


class SampleBlock(Sequence[Sample]):
    """Samples that lie in one tensor per field; `collate` hands that out as it is.

    To anything else (`default_collate`, a collation of your own, `Subset`) it is a sequence of
    samples, each a dict of tensors that share the block's memory.

    Parameters
    ----------
    batch
        Field names to tensors (n, c, y, x), and "index" (n,), int64.
    """

    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["index"])

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> SampleBlock: ...
    def __getitem__(self, position: int | slice) -> Sample | SampleBlock:
        part = {name: tensor[position] for name, tensor in self.batch.items()}
        return SampleBlock(part) if isinstance(position, slice) else part


def collate(samples: Sequence[Any]) -> Any:
    """Return the batch of some samples; for DataLoader's `collate_fn`.

    A `SampleBlock`, which is what a `PatchDataset` without a transform gives, is a batch already
    and is not copied. Everything else goes to torch's `default_collate`, which copies the samples
    into one new batch.
    """
    return samples.batch if isinstance(samples, SampleBlock) else default_collate(list(samples))


class PatchDataset(Dataset[Sample]):
    """The patches of a view, by position; a sample is a dict of tensors.

    DataLoader fetches a batch at once (`__getitems__`), which is decoded into one tensor per
    field: in DataLoader's worker processes into shared memory, so that no pixel is copied on its
    way. Give DataLoader `collate_fn=collate` for that; without it every batch is copied once.

    It holds nothing but the view, which survives a fork and opens its store again when it is
    sent to a spawned process.

    Parameters
    ----------
    source
        The view or the store to read, or several stores as one.
    transform
        Called with each sample, a dict of tensors (c, y, x) of its own memory and "index" (row in
        the store); what it returns is the sample. A map style dataset knows no epoch: randomness
        in here comes from torch's generator, which DataLoader seeds in each worker, and differs
        with the number of workers. For augmentation that is a function of seed, epoch and row
        alone, give `transform` to a loader and use `PatchIterable` or `Loader.torch`.
    fields
        Names of the fields to read; all by default.
    """

    def __init__(
        self,
        source: View | Store | SeveralStores,
        *,
        transform: Callable[[Sample], Any] | None = None,
        fields: Sequence[str] | None = None,
    ) -> None:
        self.view = source if isinstance(source, View) else source.view
        self.transform = transform
        self._fields = [field.name for field in self.view.choose_fields(fields)]
        for name in self._fields:
            _tensor_dtype(self.view.fields[name])

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, position: SupportsIndex) -> Any:
        """Return one sample: each field's tensor (c, y, x), and "index", its row in the store."""
        return self.__getitems__([operator.index(position)])[0]

    def __getitems__(self, positions: Sequence[int]) -> Sequence[Any]:
        """Return several samples, decoded at once; negative positions count from the end.

        Raises
        ------
        IndexError
            For a position that the view does not have.
        """
        chosen = _check_positions(positions, len(self))
        batch = {name: _new_tensor(len(chosen), self.view.fields[name]) for name in self._fields}
        rows = self.view.read_into(chosen, {name: t.numpy() for name, t in batch.items()})
        block = SampleBlock(batch | {"index": torch.from_numpy(np.array(rows))})
        return block if self.transform is None else [self.transform(sample) for sample in block]

    def __repr__(self) -> str:
        return f"PatchDataset({self.view!r}, fields={self._fields})"


def _check_positions(positions: Sequence[int], length: int) -> NDArray[np.int64]:
    chosen = np.asarray(positions, dtype=np.int64)
    outside = (chosen < -length) | (chosen >= length)
    if outside.any():
        raise IndexError(f"patch {chosen[outside][0]} is not in this view, which has {length}")
    return np.where(chosen < 0, chosen + length, chosen)


def _tensor_dtype(field: Field) -> torch.dtype:
    """Return the dtype of a field's tensors; a ValueError says that torch has none."""
    try:
        return torch.from_numpy(np.empty(0, field.dtype)).dtype
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"field {field.name!r} is {field.dtype}, which torch {torch.__version__} has no "
            "dtype for; leave the field out with `fields`"
        ) from error


def _new_tensor(count: int, field: Field) -> torch.Tensor:
    """Return a tensor (count, *field.shape), its content undefined."""
    shape, dtype = (count, *field.shape), _tensor_dtype(field)
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, field.dtype))
    # What a worker sends lies in shared memory in the end. torch's own collation begins there
    # too, by the same means: elsewhere, every pixel would be copied once more.
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * field.dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)

"""PyTorch: a map style and an iterable dataset for its DataLoader, and loaders of tensors.

The one module of the reader, with those beside it that begin with `torch_`, that imports torch;
nothing else imports them. Install it with the extra `torch`, or bring your own.
"""

from __future__ import annotations

from .torch_dataset import PatchDataset, SampleBlock, collate
from .torch_iterable import PatchIterable
from .torch_loader import TensorLoader

__all__ = ["PatchDataset", "PatchIterable", "SampleBlock", "TensorLoader", "collate"]

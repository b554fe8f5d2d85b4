"""The reader: a prepared store in, shuffled batches out.

It imports nothing else of patchmill, and of others only numpy, numcodecs and google_crc32c;
zarr alone for the columns of `index` and `images`, inside the function that reads them.

==================  ===================================================================
`format.py`         format 1 of the store, shared with the writer
`errors.py`         the errors of all rooms
`root.py`           the store's own attributes, read and checked
`field.py`          one field's zarr metadata, read and checked
`shards.py`         shard files as memory maps, a bounded number of them
`decode.py`         rows of a field into an array: one slice, one decompression a patch
`columns.py`        the 1-D columns of `index` and `images`, read on first use
`statistics.py`     statistics per channel: of a split, of several splits
`order.py`          the order of an epoch, from seed and epoch alone
`buffers.py`        batch memory that is re-used once nobody holds it
`prefetch.py`       work done ahead on threads, delivered in order
`loader.py`         `Loader`: batches, each sample once per epoch
`view.py`           `View`: some rows of a store
`store.py`          `open_store` and `Store`
==================  ===================================================================
"""

from __future__ import annotations

from .errors import DamagedStoreError, IncompleteStoreError, PatchmillError, StoreError
from .field import Field
from .loader import Loader
from .store import Store, open_store
from .view import View

__all__ = [
    "DamagedStoreError",
    "Field",
    "IncompleteStoreError",
    "Loader",
    "PatchmillError",
    "Store",
    "StoreError",
    "View",
    "open_store",
]

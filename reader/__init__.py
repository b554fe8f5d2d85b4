"""The reader: a prepared store in, shuffled batches out.

It imports nothing else of patchmill, and of others only numpy, numcodecs and google_crc32c;
zarr alone for the columns of `index` and `images` and for fields in other layouts, inside the
functions that read them, and obstore for stores that are elsewhere.

==================  ===================================================================
`format.py`         format 1 of the store, shared with the writer
`errors.py`         the errors of all rooms
`folders.py`        folders whose names outlive a power cut
`root.py`           the store's own attributes, read and checked
`field.py`          one field's zarr metadata, read and checked
`targets.py`        the arrays that reading fills, checked once per call
`mounts.py`         whether a folder lies on a local file system
`native.py`         crc32c and blosc on addresses, without Python's lock
`shards.py`         open shard files, a bounded number of them
`mapped.py`         a shard file as a memory map
`pread.py`          a shard file read with `pread`, where a map is no good
`decode.py`         rows of a field into an array: one checksum, one decoding a patch
`foreign.py`        fields in other layouts, read through zarr
`whole_store.py`    zarr that notices a file cut short
`whole_blosc.py`    blosc for zarr that notices a chunk cut short
`ways.py`           which of these reads a store's fields
`parts.py`          what a store is read with, by where it lies
`remote.py`         where a remote store lies: a URL that is read like a path
`remote_client.py`  requests to its server, through obstore, which this file alone imports
`remote_fetch.py`   chunks of remote shards, fetched all at once for one call
`remote_reader.py`  rows of a field from remote shards
`remote_cache.py`   whole shards of remote stores, kept on this machine up to a limit
`remote_cached.py`  rows of a field from shards in that cache
`remote_ways.py`    which of these reads a remote store's fields
`columns.py`        the 1-D columns of `index` and `images`, read on first use
`lookup.py`         a column of `index` or `images`, an entry per position of a view
`where.py`          conditions on columns, in Python's syntax, without running any
`selection.py`      the rows of splits and groups, and those that a condition keeps
`histograms.py`     percentiles of counted values
`statistics.py`     statistics per channel: of a split, merged over several
`some_rows.py`      statistics of any rows, from what the store keeps of images and patches
`randomness.py`     random numbers that are the same with every version of NumPy
`order.py`          the order of an epoch, from seed and epoch alone
`sampling.py`       draws by weight, or with equal shares for the classes of a column
`cap.py`            an order with a limit on samples of one image in a batch
`memory.py`         how much memory can still be taken, asked before it is taken
`buffers.py`        batch memory that is re-used once nobody holds it
`prefetch.py`       work done ahead on threads, delivered in order
`segments.py`       shared memory without a name, passed on by descriptor
`channel.py`        messages between two processes, their arrays through shared memory
`outcome.py`        what became of a job in a worker process
`worker.py`         a worker process, started as `python -m patchmill.reader.worker`
`spawned.py`        one worker process: how it is started and how it ends
`crew.py`           worker processes that do one function's work, whoever is killed
`processes.py`      work done ahead by a crew, delivered in order
`pool.py`           `WorkerPool`: any function over any iterable, each item exactly once
`pool_items.py`     what a pool's worker does: a few items, each with an outcome of its own
`pool_results.py`   the results of a pool's call, one by one
`pool_async.py`     the results of a pool's call, all at once and later
`pool_threads.py`   a pool's workers as threads
`pool_processes.py` a pool's workers as processes
`values.py`         numbers that callers give, checked
`ranks.py`          which of several training processes this is
`schedule.py`       which positions of an epoch's order are whose batch
`options.py`        the options of a loader, by their types
`sampler.py`        which samples an epoch has, in which order
`sources.py`        what a loader can read: views, arrays, anything with items
`stacking.py`       samples into a batch's arrays
`substitutes.py`    other samples in the place of damaged ones
`batches.py`        a batch out of a job: read, crop, transform, stack
`production.py`     who makes a loader's batches: its own thread, threads or processes
`stats.py`          what a loader has done and what it cost
`loader.py`         `Loader`: batches, each sample once per epoch
`view.py`           `View`: some rows of a store
`several.py`        `SeveralStores`: stores of the same fields as one
`joined.py`         the columns of several stores as one
`whole.py`          what a store does like the view of all its rows
`store.py`          `open_store` and `Store`
`stage.py`          `stage`: a store copied to a disk of this machine, checked and resumed
`stage_files.py`    which files of a store are staged
`stage_run.py`      one staging: every file in place, the marks, and the root last
`stage_copy.py`     copies a file and checks its checksums on the way
`stage_lock.py`     one process at a time stages into a folder
`stage_place.py`    what is already where a store shall be staged
`staged.py`         what the folder of a staged store says of itself
`torch.py`          PyTorch: `PatchDataset`, `PatchIterable`, `TensorLoader`; these files alone
                    import torch, and are imported only where somebody asks for them
`torch_dataset.py`  a view as a map style dataset, fetched in whole batches
`torch_iterable.py` a loader's batches, shared out between DataLoader's workers
`torch_epochs.py`   which epoch an iteration gives that several processes share
`torch_loader.py`   `Loader.torch`: tensors without a copy, or on a GPU
`torch_staging.py`  batches on their way to a GPU, none overwritten in flight
`torch_tensors.py`  NumPy batches as tensors on the same memory
==================  ===================================================================
"""

from __future__ import annotations

from .errors import (
    DamagedStoreError,
    IncompleteStoreError,
    MemoryLimitError,
    PatchmillError,
    RemoteStoreError,
    StoreError,
    WorkerError,
)
from .field import Field
from .loader import Loader
from .pool import WorkerPool
from .several import SeveralStores
from .store import Store, open_store
from .view import View

__all__ = [
    "DamagedStoreError",
    "Field",
    "IncompleteStoreError",
    "Loader",
    "MemoryLimitError",
    "PatchmillError",
    "RemoteStoreError",
    "SeveralStores",
    "Store",
    "StoreError",
    "View",
    "WorkerError",
    "WorkerPool",
    "open_store",
]

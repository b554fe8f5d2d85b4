"""What a loader has done and what it cost, so that a user sees what holds the training back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class LoaderStats:
    """Counts and seconds since the loader was made, of the batches that were received.

    Attributes
    ----------
    batches, samples
        Received; samples without the rows that are not valid.
    distinct, repeats
        Samples of the epoch that was begun last which are different, and the others, which come
        again: 0 unless they are drawn with weights.
    wait_s
        The consumer waited for batches. Where this is near 0, the training holds back the loader;
        otherwise the loader holds back the training, and the next three say by what.
    io_s
        Workers waited while they read: for the disk, mostly, and for other programs. Summed over
        the workers, as the next two are.
    decode_s
        Workers computed while they read: decompression and checksums.
    transform_s
        Workers were in the transforms, or in copying what they returned.
    extra_batches
        Batches that went into fresh memory, because the consumer held all that is used again.
    replaced_workers
        Worker processes that died and were replaced.
    substitutes
        Damaged samples that another took the place of.
    """

    batches: int = 0
    samples: int = 0
    distinct: int = 0
    repeats: int = 0
    wait_s: float = 0.0
    io_s: float = 0.0
    decode_s: float = 0.0
    transform_s: float = 0.0
    extra_batches: int = 0
    replaced_workers: int = 0
    substitutes: int = 0

"""Cuts the shards that are not finished: one task each, on the cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from ..reader.errors import PatchmillError, RemoteStoreError
from ..reader.format import shard_name
from ..tasks.cut import ShardResult, ShardSpec, cut_shard
from ..tasks.source import SourceError
from .candidates import corners_read
from .ledger import Ledger
from .planned import Plan
from .progress import Progress
from .run_folder import RunFolder
from .window import result_of, run_windowed


def shard_spec(plan: Plan, run: RunFolder, shard: int, void: frozenset[int]) -> ShardSpec:
    """Say what the task of a shard does."""
    rows = plan.shard_rows(shard)
    columns = {name: values[rows] for name, values in plan.rows.columns.items()}
    images, source = np.unique(columns["image"], return_inverse=True)
    return ShardSpec(
        shard=shard,
        targets=tuple(
            run.store.shard(f"{name}/{shard_name(shard, 1 + len(axes))}", run.tmp)
            for name, axes in plan.field_axes.items()
        ),
        patch=plan.patch,
        fields=plan.annotations,
        options=plan.recipe.images.options,
        images=tuple(images.tolist()),
        sources=tuple(plan.images[image].source for image in images.tolist()),
        source=source.astype(np.int32),
        corners=corners_read(plan.recipe.patches, columns),
        splits=columns["split"].astype(np.uint8),
        void=void & frozenset(images.tolist()),
    )


@dataclass
class Cutting:
    """The state of a run.

    Attributes
    ----------
    failed
        Images (rows in `images/`) that cannot be cut, and why.
    newly_cut
        Shards that this run has finished.
    """

    plan: Plan
    run: RunFolder
    ledger: Ledger
    progress: Progress
    failed: dict[int, str] = field(init=False)
    newly_cut: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.failed = {}
        if self.plan.recipe.images.on_error == "skip":
            # An image whose files have changed since they failed is tried again.
            self.failed = {
                image: reason
                for image, (reason, identity) in self.ledger.failed.items()
                if identity == self.plan.identity(image)
            }

    def unfinished(self) -> list[int]:
        """Return the shards that are still to cut, or to cut again without a failed image."""
        return [shard for shard in range(self.plan.n_shards) if not self._is_finished(shard)]

    def _is_finished(self, shard: int) -> bool:
        entry = self.ledger.shards.get(shard)
        if entry is None or not np.array_equal(entry.valid, self._valid(shard)):
            return False
        doubtful = [i for i, at in self.ledger.failed_at.items() if at > entry.offset]
        images = self.plan.rows.columns["image"][self.plan.shard_rows(shard)]
        if np.isin(images[entry.valid], doubtful).any():
            # It holds pixels of a file that turned out to be damaged, and may be another by now.
            return False
        there = [sizes.get(name) for sizes, name in self._files(shard)]
        return there == [nbytes for nbytes, _ in entry.files]

    def _files(self, shard: int) -> Iterator[tuple[dict[str, int], str]]:
        """Yield the sizes of each field's files, and the name of this shard's."""
        for name, axes in self.plan.field_axes.items():
            yield self._sizes[name], shard_name(shard, 1 + len(axes))

    @cached_property
    def _sizes(self) -> dict[str, dict[str, int]]:
        """For each field the size of each shard that an earlier run has left, by its name."""
        return {name: self.run.store.sizes(name) for name in self.plan.field_axes}

    def _add(self, result: ShardResult) -> None:
        """Take note of a shard that is in its place."""
        for (sizes, name), (nbytes, _) in zip(self._files(result.shard), result.files, strict=True):
            sizes[name] = nbytes
        self.ledger.add_shard(result)
        self.newly_cut.add(result.shard)
        self.progress.advance(result)

    def _valid(self, shard: int) -> NDArray[np.bool_]:
        """Return which rows of a shard are to have a patch."""
        images = self.plan.rows.columns["image"][self.plan.shard_rows(shard)]
        return ~np.isin(images, list(self.failed))

    def cut(self, client: Client, unfinished: Iterable[int]) -> None:
        """Cut shards until every one is finished.

        Raises
        ------
        PatchmillError
            Where an image cannot be cut and `images.on_error` is "raise".
        """
        queue = deque(unfinished)
        futures = run_windowed(
            client,
            "cut",
            cut_shard,
            queue,
            lambda shard: (shard_spec(self.plan, self.run, shard, frozenset(self.failed)),),
        )
        for shard, future in futures:
            try:
                result: ShardResult = result_of(future, f"shard {shard}")
            except SourceError as error:
                self._fail(error, queue)
                queue.append(shard)
            except RemoteStoreError as error:
                raise PatchmillError(
                    f"shard {shard}: {error}; then run the same command again: what is finished "
                    "stays finished"
                ) from error
            except OSError as error:
                raise PatchmillError(
                    f"shard {shard}: cannot write to {self.run.store}: {error}; make room or give "
                    "permission, and run the same command again"
                ) from error
            else:
                if np.array_equal(result.valid, self._valid(shard)):
                    self._add(result)
                else:
                    # Another task found meanwhile that one of its images cannot be cut.
                    queue.append(shard)

    def _fail(self, error: SourceError, queue: deque[int]) -> None:
        """Take note of an image that cannot be cut; its rows become void, in all shards."""
        if error.image in self.failed:
            return
        rows = np.flatnonzero(self.plan.rows.columns["image"] == error.image)
        shards = np.unique(rows // self.plan.patch.rows_per_shard).tolist()
        finished = [shard for shard in shards if self._is_finished(shard)]
        image = self.plan.images[error.image]
        # Not where it was found: another run may come upon another place first.
        reason = image.files.portable(error.text)
        self.ledger.add_failed(error.image, reason, self.plan.identity(error.image))
        if self.plan.recipe.images.on_error == "raise":
            raise PatchmillError(
                f"{image.id}: {error}\n"
                "what is finished stays finished: mend the file and run the same command again, "
                'or write images.on_error = "skip"'
            ) from error
        self.progress.say(f"failed: {image.id}: {error}")
        self.failed[error.image] = reason
        queue.extend(shard for shard in finished if not self._is_finished(shard))

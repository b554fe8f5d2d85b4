"""The job: from a recipe to a complete store, resumed wherever it was left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from distributed import Client, performance_report

from ..cluster import WORKER_BYTES, local_cluster
from ..reader.errors import PatchmillError, StoreError
from ..tasks.records import record_dtype
from .bound_steps import bind_steps
from .create import attributes, create_store
from .cut import Cutting
from .existing import (
    changed_sources,
    has_fields,
    is_plan_of,
    read_attributes,
    refuse_other_plan,
    refuse_other_store,
    remove_store,
)
from .finish import failed_images, finish_store, write_root
from .ledger import Ledger
from .planned import Plan
from .planning import plan
from .progress import Progress, Silent
from .recipe import Recipe
from .run_folder import RunFolder, run_folder_of
from .splits import write_csv


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes
    ----------
    store
        The complete store: its path, or its URL.
    plan
        What it was made by.
    cut, kept
        Shards that this run cut, and those that were finished before.
    failed
        Id and reason of every image that has no patches, or void ones.
    """

    store: Path | str
    plan: Plan
    cut: int
    kept: int
    failed: tuple[tuple[str, str], ...]


def prepare(
    recipe: Recipe | str | Path,
    store: str | Path,
    *,
    client: Client | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | int = "auto",
    overwrite: bool = False,
    report: str | Path | None = None,
    run_folder: str | Path | None = None,
    progress: Callable[[], Progress] = Silent,
) -> Outcome:
    """Cut the images of a recipe into a store; go on where an earlier run was left.

    Parameters
    ----------
    recipe
        What is asked for, or the path of its TOML file.
    store
        The folder to make, usually NAME.zarr; NAME.zarr.run beside it holds what the run keeps.
        Or a URL: s3://bucket/NAME.zarr, gs://… or az://…, with `store.storage` of the recipe.
    client
        Of a running Dask cluster; by default worker processes are started on this machine.
    workers, threads, memory_limit
        Of the worker processes: how many, threads of each, and memory of each.
    overwrite
        Delete a patchmill store that is already there.
    report
        Where Dask's own report is written, HTML.
    run_folder
        For a store with a URL: the folder of this machine that holds what the run keeps, by
        default NAME.zarr.run in the working directory.
    progress
        Shows how the run goes.

    Raises
    ------
    PatchmillError
        Where the run cannot go on; what is finished stays finished.

    Examples
    --------
    >>> prepare("recipe.toml", "train.zarr", workers=4)  # doctest: +SKIP
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe)
    run = run_folder_of(store, run_folder, recipe.store.storage)
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise PatchmillError(f"{report}: there is no such folder for the performance report")
    with ExitStack() as stack:
        shown = stack.enter_context(progress())

        @cache
        def cluster() -> Client:
            """Start the cluster when it is first needed; survey and cut share it."""
            if client is not None:
                return client
            started = stack.enter_context(local_cluster(workers, threads, memory_limit))
            shown.say(f"dashboard: {started.dashboard_link}")
            return started

        planned = plan(recipe, lambda: nullcontext(cluster()))
        try:
            stack.enter_context(run.locked())
            refuse_other_store(run)
            if overwrite:
                remove_store(run)
            if run.store.is_absent():
                # What a step needs may not be there: then nothing is made.
                planned = _bound(planned, run, cluster, shown)
            _begin(planned, run, shown)
            return _go_on(planned, run, cluster, shown, report)
        except PatchmillError:
            raise
        except OSError as error:
            raise PatchmillError(
                f"{run.store}: {error}; make room or give permission, and run the same command "
                "again: what is finished stays finished"
            ) from error


def _begin(planned: Plan, run: RunFolder, shown: Progress) -> None:
    """Have an incomplete or complete store of this plan where the store shall be."""
    own = read_attributes(run.store)
    if own is None and not run.store.is_absent():
        raise StoreError(f"{run.store} is there and is not a patchmill store; choose another path")
    if own is not None and own.get("plan") != planned.digest:
        changed = changed_sources(planned, run, own)
        if changed is None or not set(changed) <= _failed_before(planned, run):
            refuse_other_plan(planned, run, own)
        # Their files have been mended; where patches lie is the same, so the rest still stands.
        _mark_incomplete(planned, run)
    run.clear_tmp()
    if own is None or not is_plan_of(run, own):
        # A ledger without its store speaks of files that are gone, or of another store's.
        run.ledger.unlink(missing_ok=True)
    if own is None or not (own["complete"] or has_fields(planned, run.store)):
        create_store(planned, run)
    elif not own["complete"] and not run.ledger.exists():
        shown.say(f"{run.path} has no ledger of this store: every shard is cut, finished or not")
    run.write_plan(planned.digest, planned.document)
    if planned.splits.header:
        write_csv(run.splits, planned.splits.header, planned.splits.rows)


def _failed_before(planned: Plan, run: RunFolder) -> set[str]:
    """Return the images that an earlier run of the store could not cut."""
    if not run.ledger.exists():
        return set()
    with _ledger(planned, run) as ledger:
        return {planned.images[image].id for image in ledger.failed}


def _ledger(planned: Plan, run: RunFolder) -> Ledger:
    patch = planned.patch
    return Ledger(run.ledger, record_dtype(patch.dtype, patch.channels, planned.annotations))


def _mark_incomplete(planned: Plan, run: RunFolder) -> None:
    run.clear_tmp()
    write_root(run, attributes(planned, complete=False), {})


def _go_on(
    planned: Plan,
    run: RunFolder,
    cluster: Callable[[], Client],
    shown: Progress,
    report: str | Path | None,
) -> Outcome:
    """Cut what is not finished, and finish the store."""
    own = read_attributes(run.store)
    complete = own is not None and own["complete"]
    if complete and not run.ledger.exists():
        # The run folder is only needed while there is something to do.
        return _outcome(planned, run, 0, planned.n_shards)
    with _ledger(planned, run) as ledger:
        cutting = Cutting(planned, run, ledger, shown)
        unfinished = cutting.unfinished()
        kept = planned.n_shards - len(unfinished)
        if unfinished or not complete:
            planned = _bound(planned, run, cluster, shown)
            if planned.steps:
                run.keep_steps(planned.steps, is_begun=bool(ledger.shards))
            cutting.plan = planned
        if unfinished:
            if complete:
                _mark_incomplete(planned, run)
            _check_memory(planned, run, cluster())
            shown.begin(planned, kept)
            with performance_report(filename=str(report)) if report else nullcontext():
                cutting.cut(cluster(), unfinished)
        if unfinished or not complete:
            shown.say("finish: columns and statistics")
            finish_store(planned, run, ledger, cutting.failed)
            run.clear_tmp()
        return _outcome(planned, run, len(cutting.newly_cut), kept)


def _bound(planned: Plan, run: RunFolder, cluster: Callable[[], Client], shown: Progress) -> Plan:
    """Return the plan with its steps bound to the images, if they are not yet."""
    if planned.steps or not planned.recipe.steps:
        return planned
    run.clear_tmp()
    return bind_steps(planned, lambda: nullcontext(cluster()), shown.say, run.keep_picture)


def _outcome(planned: Plan, run: RunFolder, cut: int, kept: int) -> Outcome:
    failed = failed_images(run.store.open().images)
    return Outcome(run.store.path, planned, cut, kept, failed)


def _check_memory(planned: Plan, run: RunFolder, client: Client) -> None:
    """Refuse a plan that cannot fit before it starts."""
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        threads, limit = worker["nthreads"], worker["memory_limit"]
        needed = WORKER_BYTES + threads * (planned.cost.peak_bytes + run.store.writing_bytes)
        if limit and needed > limit:
            raise PatchmillError(
                f"a worker needs up to {needed / 1e6:.0f} MB ({threads} threads), and has "
                f"{limit / 1e6:.0f} MB; write a smaller store.shard_bytes, or give fewer --threads "
                "or a larger --memory-limit"
            )

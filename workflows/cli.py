"""The command line: plan, prepare, info, verify, stage, demo."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from dask.utils import parse_bytes

from ..cluster import ClusterError
from ..reader.errors import PatchmillError
from ..reader.remote import is_remote
from ..reader.stage import NUM_WORKERS, stage
from .demo import run_demo
from .info import describe_plan, describe_store, human_bytes, plan_lines, store_lines
from .job import prepare
from .planning import plan
from .progress import Live
from .recipe import Recipe
from .stage_bar import StageBar
from .verification import verify


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print what the user can mend as one message, with exit status 1 and no traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (PatchmillError, ClusterError) as error:
            raise click.ClickException(str(error)) from None

    return wrapped


def _memory(context: click.Context, option: click.Parameter, value: str) -> str:
    try:
        if value != "auto":
            parse_bytes(value)
    except ValueError:
        raise click.BadParameter(f'{value!r} is no size; write "auto" or such as "4 GB"') from None
    return value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="patchmill")
def cli() -> None:
    """Mill large microscopy images into patches once, and feed them to training fast."""


class AnyStore(click.Path):
    """A path, or a URL as it was written."""

    name = "path or URL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return either, see `click.ParamType.convert`."""
        return value if is_remote(value) else Path(str(super().convert(value, param, ctx)))


class LocalStore(click.Path):
    """The folder of a store; one with an address is an error that says what reads those."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, see `click.ParamType.convert`."""
        if is_remote(value):
            self.fail(
                f"{value} is no folder: this command reads local stores, and "
                "patchmill.reader.open_store those elsewhere",
                param,
                ctx,
            )
        return Path(str(super().convert(value, param, ctx)))


recipe_argument = click.argument("recipe", type=click.Path(path_type=Path))
store_argument = click.argument("store", type=LocalStore())
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@cli.command("plan")
@recipe_argument
@json_option
@plain_errors
def plan_command(recipe: Path, as_json: bool) -> None:
    """Say what a RECIPE will make and cost. Writes nothing."""
    described = describe_plan(plan(Recipe.load(recipe)))
    _print(described, plan_lines, as_json)
    sys.exit(1 if described["failed"] else 0)


@cli.command("prepare")
@recipe_argument
@click.option(
    "-o",
    "--output",
    "store",
    required=True,
    type=AnyStore(),
    help="The store: a folder, s3://…, gs://… or az://….",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; one per core by default.")
@click.option("--threads", type=click.IntRange(1), help="Threads of each; 1 by default.")
@click.option(
    "--memory-limit",
    default="auto",
    callback=_memory,
    help='Of each process, for instance "4 GB".',
)
@click.option("--overwrite", is_flag=True, help="Delete a patchmill store that is there.")
@click.option(
    "--performance-report",
    "report",
    type=click.Path(path_type=Path),
    help="Write Dask's own report to this HTML file.",
)
@click.option(
    "--run-folder",
    type=click.Path(path_type=Path),
    help="For a store with a URL: where the run keeps its ledger; NAME.zarr.run by default.",
)
@plain_errors
def prepare_command(
    recipe: Path,
    store: Path | str,
    workers: int | None,
    threads: int | None,
    memory_limit: str,
    overwrite: bool,
    report: Path | None,
    run_folder: Path | None,
) -> None:
    """Cut the images of a RECIPE into a store; the same command goes on where it was left."""
    outcome = prepare(
        recipe,
        store,
        workers=workers,
        threads=threads,
        memory_limit=memory_limit,
        overwrite=overwrite,
        report=report,
        run_folder=run_folder,
        progress=Live,
    )
    n_cut = f"{outcome.cut:,} shards cut"
    click.echo(f"{outcome.store}: complete, {n_cut}, {outcome.kept:,} were finished before")
    for image, reason in outcome.failed:
        click.echo(f"failed: {image}: {reason}", err=True)
    sys.exit(1 if outcome.failed else 0)


@cli.command("info")
@click.argument("store", type=AnyStore())
@json_option
@plain_errors
def info_command(store: Path | str, as_json: bool) -> None:
    """Say what a STORE holds.

    STORE may be a URL, with keys from the environment.
    """
    _print(describe_store(store), store_lines, as_json)


@cli.command("verify")
@click.argument("store", type=AnyStore())
@plain_errors
def verify_command(store: Path | str) -> None:
    """Decode every patch of a STORE and compare every checksum and column.

    STORE may be a URL on an object store, with keys from the environment.
    """
    found = verify(store)
    for sentence in found.damage:
        click.echo(sentence, err=True)
    if found.damage:
        click.echo(f"{store}: damaged; make or copy it again", err=True)
        sys.exit(1)
    click.echo(f"{store}: {found.patches:,} patches are what was written")


@cli.command("stage")
@store_argument
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--split", multiple=True, help="Only this split; may be repeated.")
@click.option(
    "--threads", type=click.IntRange(1), default=NUM_WORKERS, help="Files at a time; 8 by default."
)
@click.option("--verify", "check", is_flag=True, help="Check what is already there, too.")
@plain_errors
def stage_command(
    store: Path, dest: Path, split: tuple[str, ...], threads: int, check: bool
) -> None:
    """Copy a STORE to DEST, a disk of this machine; the same command goes on where it was left."""
    with StageBar() as bar:
        done = stage(
            store, dest, split=split or None, num_workers=threads, verify=check, progress=bar.show
        )
    copied = f"{done.copied:,} files copied ({human_bytes(done.nbytes)})"
    click.echo(f"{dest}: complete, {copied}, {done.kept:,} were there before")


@cli.command("demo")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("patchmill-demo"))
@click.option("--workers", type=click.IntRange(1), help="Processes; one per core by default.")
@plain_errors
def demo_command(folder: Path, workers: int | None) -> None:
    """Make a small live/dead plate in FOLDER, prepare it, verify it and stream it."""
    run_demo(folder, workers=workers, say=click.echo)


def _print(
    described: dict[str, Any], lines: Callable[[dict[str, Any]], Any], as_json: bool
) -> None:
    if as_json:
        click.echo(json.dumps(described, indent=2))
    else:
        for line in lines(described):
            click.echo(line)

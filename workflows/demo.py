"""The demo: a plate that it makes itself, prepared, verified, streamed and looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ..reader import open_store
from ..reader.errors import PatchmillError
from .contact_sheet import DIM_GREY, GREEN, RED, save_contact_sheet
from .info import human_bytes
from .job import prepare
from .plate import PATTERN, make_plate
from .progress import Live
from .run_folder import run_folder_of
from .verification import verify

RECIPE = f"""\
# The demo plate: three channels per site, one file each.
seed = 0

[images]
paths   = ["plate/*.tif"]
pattern = '{PATTERN}'   # files to images
group   = ["well"]   # a well is never in two splits

[images.channels]   # keys to names, in this order
3 = "brightfield"
1 = "live"
2 = "dead"

[patches]
size   = [256, 256]
stride = [256, 256]
edge   = "drop"

[split]
fractions = {{ train = 0.7, val = 0.15, test = 0.15 }}

[store]
codec       = "lz4"
shard_bytes = "32 MB"
"""
COLOURS = {"brightfield": DIM_GREY, "live": GREEN, "dead": RED}


def run_demo(
    folder: Path,
    workers: int | None = None,
    say: Callable[[str], object] = print,
    shape: tuple[int, int] = (2700, 3600),
) -> Path:
    """Make a plate and a recipe in a folder, and take them all the way to training batches.

    Parameters
    ----------
    folder
        To make; a demo that was cut short goes on in it.
    workers
        Processes; one per core by default.
    say
        Takes the lines that are printed.
    shape
        (y, x) of the images, in pixels.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    PatchmillError
        Where the folder holds something else, or anything goes wrong on the way.
    """
    recipe, store, sheet = folder / "recipe.toml", folder / "demo.zarr", folder / "patches.png"
    plate, unfinished = folder / "plate", folder / "plate-unfinished"
    if folder.exists() and not {path.name for path in folder.iterdir()} <= {
        *(recipe.name, store.name, run_folder_of(store).path.name, sheet.name),
        *(plate.name, unfinished.name),
    }:
        raise PatchmillError(f"{folder} holds something else; name a new folder for the demo")
    if not plate.exists():
        say(f"1. a live/dead plate: {plate}")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_plate(unfinished, shape=shape)
        unfinished.rename(plate)
    if not recipe.exists():
        recipe.write_text(RECIPE)
    say(f"2. patchmill prepare {recipe} -o {store}")
    outcome = prepare(recipe, store, workers=workers, progress=Live)
    say(f"   {len(outcome.plan.rows):,} patches in {outcome.plan.n_shards} shards")
    say(f"3. patchmill verify {store}")
    found = verify(store)
    if found.damage:
        raise PatchmillError("\n".join(found.damage))
    say(f"   {found.patches:,} patches are what was written")
    say("4. an epoch of shuffled batches")
    say(f"   {_stream(store)}")
    _draw(store, sheet)
    say(f"5. some of the patches: {sheet}")
    say(
        "\nNext:\n"
        f"  look at      {sheet}\n"
        f"  ask          patchmill info {store}\n"
        f"  change       {recipe}, then patchmill plan {recipe}\n"
        "  train with   from patchmill.reader import open_store\n"
        f'               train = open_store("{store}").select(split="train")\n'
        "               for batch in train.loader(batch_size=64, shuffle=True, seed=0):\n"
        '                   batch["image"]   # (64, 3, 256, 256) uint16'
    )
    return store


def _stream(store: Path) -> str:
    """Stream an epoch and say how fast that was."""
    view = open_store(store).select(split="train")
    began = time.perf_counter()
    seen = nbytes = 0
    for batch in view.loader(batch_size=64, shuffle=True, seed=0):
        seen += int(batch["valid"].sum())
        nbytes += batch["image"].nbytes
    seconds = time.perf_counter() - began
    rate = f"{seen / seconds:,.0f} patches/s, {human_bytes(nbytes / seconds)}/s"
    return f"{seen:,} of {len(view):,} patches of the training split, {rate}"


def _draw(store: Path, path: Path) -> None:
    """Draw patches from all over the store, each with the well it comes from."""
    opened = open_store(store)
    count = min(24, len(opened))
    rows = [number * len(opened) // count for number in range(count)]
    batch = opened.read(rows)
    images = opened.index["image"][batch["index"]]
    save_contact_sheet(
        path,
        batch["image"],
        colours=[COLOURS[channel] for channel in opened.channels],
        relative=[opened.channels.index("brightfield")],
        labels=[str(opened.images["well"][image]) for image in images],
        columns=6,
    )

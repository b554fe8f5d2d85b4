"""The demo: a plate that it makes itself, prepared, verified, streamed and looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..reader import open_store
from ..reader.errors import PatchmillError
from .contact_sheet import DIM_GREY, GREEN, RED, save_contact_sheet
from .info import human_bytes
from .job import prepare
from .plate import CLASSES, PATTERN, SHAPE, make_plate
from .plate_truth import agreement
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

[foreground]   # patches without cells are left out
method                  = "otsu"
channel                 = ["live", "dead"]
min_foreground_fraction = 0.02

[[steps]]   # uneven light, found from the fields of the training split
name = "illumination"
flat = "estimate"
dark = 100

[[steps]]   # light from beyond the focus, and what shines without a stain
name      = "background"
method    = "opening"
channels  = ["live", "dead"]
radius_px = 60

[[steps]]   # from counts to the store's range, by all pixels of the training split
name = "percentile"
low  = 0.1
high = 99.9

[masks.cells]   # classes, made from the stains by thresholds on what is stored
from     = "thresholds"
classes  = {{ {", ".join(f'{number} = "{name}"' for number, name in CLASSES.items())} }}
rules    = [
    {{ class = "dead", channel = "dead", above = 10000 }},
    {{ class = "live", channel = "live", above = 10000 }},
]
opening_px = 1
min_area_px = 40

[split]
fractions = {{ train = 0.67, val = 0.16, test = 0.17 }}

[store]
codec       = "lz4"
shard_bytes = "32 MB"
"""
COLOURS = {"brightfield": DIM_GREY, "live": GREEN, "dead": RED}
#: Patches on the picture.
_SHOWN = 12


def run_demo(
    folder: Path,
    workers: int | None = None,
    say: Callable[[str], object] = print,
    shape: tuple[int, int] = SHAPE,
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
    say("4. masks made from the stains, against what the plate's maker knows")
    say(f"   {_compare(store, plate)}")
    say("5. an epoch of shuffled batches")
    say(f"   {_stream(store)}")
    _draw(store, sheet)
    say(f"6. some of the patches and their masks: {sheet}")
    say(
        "\nNext:\n"
        f"  look at      {sheet}, and the light in {run_folder_of(store).path / 'pictures'}\n"
        f"  ask          patchmill info {store}\n"
        f"  change       {recipe}, then patchmill plan {recipe}\n"
        "  train with   from patchmill.reader import open_store\n"
        f'               train = open_store("{store}").select(split="train")\n'
        "               for batch in train.loader(batch_size=64, shuffle=True, seed=0):\n"
        '                   batch["image"]         # (64, 3, 256, 256) uint16\n'
        '                   batch["masks/cells"]   # (64, 256, 256) uint8'
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


def _compare(store: Path, plate: Path) -> str:
    """Say how well masks agree with the truth."""
    found = agreement(open_store(store), plate)
    listed = ", ".join(f"{name} {share:.2f}" for name, share in found.items())
    return f"intersection over union: {listed}"


def _draw(store: Path, path: Path) -> None:
    """Draw patches of all wells with their masks, in the order of the wells."""
    opened = open_store(store)
    wells = opened.images["well"][opened.index["image"][:]]
    by_well = np.argsort(wells, kind="stable")
    count = min(_SHOWN, len(opened))
    batch = opened.read(by_well[(2 * np.arange(count) + 1) * len(opened) // (2 * count)])
    save_contact_sheet(
        path,
        batch["image"],
        colours=[COLOURS[channel] for channel in opened.channels],
        labels=[str(well) for well in wells[batch["index"]]],
        masks=batch["masks/cells"],
        mask_colours={number: COLOURS[name] for number, name in CLASSES.items() if number},
        under=opened.channels.index("brightfield"),
        columns=3,
    )

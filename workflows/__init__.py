"""What runs on the driver: recipe, survey, plan, the Dask tasks, the ledger, the command line.

A run reads from top to bottom:

main.py                the console entry: says what is missing, then runs cli.py
cli.py                 the commands: plan, prepare, info, verify, stage, demo
recipe.py              the recipe, validated before any image is opened
planned.py             the plan: every row, what each patch is, what decides the bytes; and its hash
planning.py            makes it, of all that follows
job.py                 the job, begun or resumed

The recipe:

sections.py            the recipe's tables, each with what can be checked inside it
patches_section.py     the one that says how images are cut
foreground_section.py  the tables [foreground] and [filters]
annotations_section.py the tables [masks.NAME] and [labels.NAME], by their kind
annotation_recipe.py   what every kind has
classes_section.py     the tables [classes.NAME]
steps_section.py       the tables [[steps]], by their names
step_recipe.py         what every table [[steps]] has, and what it becomes
steps_illumination.py  its step that takes uneven light out
steps_filters.py       its steps that filter
steps_background.py    its steps that subtract a background
steps_intensity.py     its steps that map intensities
steps_stain.py         its step that gives slides the stain of a reference
steps_content.py       its step that crops windows to what is in them
steps_call.py          its step that calls a function of the user's own
resized.py             what comes after a step that makes another size
values.py              the kinds of value that keys take
dtypes.py              the types that pixels may have
problems.py            turns what is wrong with a recipe into one message
errors.py              what is wrong with a recipe, its files or its splits
digests.py             the sha256 of JSON values

Which files make which images:

files.py               finds files, joins them to images, and columns to these
image_files.py         an image as files and columns
gather.py              files to images, by pattern or manifest
complete.py            whether images have all their files
manifest.py            the table that lists the files
metadata.py            a plate map, or labels, joined to images
wells.py               A1, a01 and A01
text_table.py          CSV and parquet as texts
column_faults.py       whether a name is a column of the images
image_columns.py       which columns a recipe uses, and whether it can
image_lookup.py        columns of images, for conditions
places.py              where files lie
globs.py               finds files, and says why it finds none
remote_globs.py        finds files on an object store
natural.py             sorting as people do

The survey:

survey.py              what every file holds
file_survey.py         looks at files: on the cluster, or from the cache
images.py              one image of the survey: its files joined, plane by plane
resolutions.py         at which resolution they are cut
kinds.py               one type and one set of channels for all
focus.py               the plane of each that is in focus
cache.py               what surveys have found
looking.py             has images looked at that nobody looked at before

Where patches are taken, and which of them are kept:

candidates.py          every place that is considered, kept or rejected; those of a grid
random_places.py       random ones
points.py              those of a table of points
point_columns.py       and what else the table says, as columns
objects.py             those of a label map's objects
centres.py             windows around centres
chance.py              random numbers of an image
chosen.py              which of them become patches
considered.py          all of that together
foreground_binding.py  what [foreground] is for each image
foreground.py          how much of each candidate is foreground: found, or known
filters.py             scores of candidates by their own pixels: found, or known
scores.py              both of them, for planning
saturation.py          at which value a camera is saturated
rejection.py           which scores are beyond limits, and why nothing is left
score_cache.py         what was found in pixels, kept

Masks, label maps and classes:

annotations.py         binds them to the images
annotations_files.py   masks and label maps from files
file_annotations.py    what these have in common
annotation_paths.py    where the files lie
annotation_fit.py      how one lies on its image
annotations_made.py    masks and label maps made by thresholds
annotations_geojson.py of polygons
geojson_survey.py      what files of these hold
classes.py             a label for each patch

Splits and rows:

splits.py              images to splits, by group
assign.py              groups to shares
split_csv.py           the CSV of groups and their splits
blocks.py              spatial splits of large images
spans.py               which pixels windows read
order.py               the order of the rows of one image
rows.py                rows and candidates, as columns
patch_spec.py          what every patch is
cost.py                bytes and decoding
peak.py                the memory of a task

What steps need of images:

bound_steps.py         binds the steps to the images, one after another
measured_step.py       what steps have in common that need numbers of pixels
sampling.py            which images those numbers are for, and which they come from
regions.py             which regions of these are measured
measuring.py           measures them, on the cluster
step_statistics.py     the numbers, new or from the cache
statistics_cache.py    what was measured
acquired.py            whether images are fields as a camera took them
lit_fields.py          of which fields light is estimated
illumination.py        estimates it, from thumbnails
profile_fit.py         the profile that many fields share
references.py          flat and dark fields that are given
bound_illumination.py  the step that takes light out, given or estimated
illumination_picture.py  a picture of a profile

The run:

destination.py         where a store is written: a folder
remote_destination.py  or a place on an object store
existing.py            what is already where a store shall be
run_folder.py          the folder that a run keeps its state in
create.py              the store's metadata
columns.py             arrays of a store, made with zarr
window.py              a bounded number of tasks on the cluster
cut.py                 one task per shard
ledger.py              what is finished
summary.py             merges statistics
split_statistics.py    the statistics of splits, and their histograms
finish.py              columns, statistics, and the mark of completeness
finished_index.py      the columns of rows
finished_images.py     the columns of images
progress.py            how a run goes
stage_bar.py           how a staging goes

What there is to say and to check:

verification.py        checks a store from end to end
verified_patches.py    decodes every patch, and compares it
info.py                what there is to say of a store or a plan

The demo:

demo.py                the demo
plate.py               a synthetic live/dead plate
plate_cells.py         its cells
plate_scene.py         cells on the ground, and the truth
plate_light.py         its light and camera
plate_truth.py         how well masks agree with the truth
contact_sheet.py       a picture of patches and their masks

May import `tasks`, `cluster` and `reader`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Outcome, prepare
    from .planned import Plan
    from .planning import plan
    from .recipe import Recipe
    from .verification import Verification, verify

__all__ = ["Outcome", "Plan", "Recipe", "Verification", "plan", "prepare", "verify"]

_HOME = {
    "Outcome": "job",
    "Plan": "planned",
    "Recipe": "recipe",
    "Verification": "verification",
    "plan": "planning",
    "prepare": "job",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    # On first use, so that `patchmill` can say what is missing where only the reader is installed.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)

"""What recipes may say of filters and backgrounds, and what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from patchmill.tasks.step import OnChannels
from patchmill.tasks.step_background import SubtractConstant, SubtractOpening
from patchmill.tasks.step_filters import Gaussian, Invert, Median
from patchmill.tasks.step_hot_pixels import HotPixels
from patchmill.workflows import Recipe
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.steps_section import read_steps


@dataclass
class Known:
    """As much of a run as these steps ask about: see `step_recipe.Binding`."""

    recipe: Any
    patch: Any
    images: Any
    scales_later: bool = False
    channels: tuple[str, ...] = ("DNA", "actin")
    key: str = "steps[0]"


@dataclass
class Of:
    """Anything that has a dtype, or a source."""

    dtype: Any = None
    kind: Any = None
    source: Any = None


def known(
    images: str = "uint16",
    store: str = "uint16",
    steps: Sequence[Any] = (),
    saturation: float | None = None,
    **options: Any,
) -> Known:
    tables: dict[str, Any] = {
        "images": {"paths": "*.tif"},
        "patches": {"size": 64},
        "steps": list(steps),
    }
    if saturation:
        tables["images"]["saturation"] = saturation
    image = Of(source=Of(kind=Of(dtype=np.dtype(images))))
    recipe = Recipe.from_dict(tables)
    return Known(recipe, Of(dtype=np.dtype(store)), [image, image, image], **options)


def bound(table: dict[str, Any], run: Known | None = None) -> tuple[Any, dict[str, Any]]:
    (recipe,) = read_steps([table])
    result = recipe.bind(run or known())
    assert len(result.steps) == 3
    assert len(set(map(id, result.steps))) == 1
    return result.steps[0], result.record


def opening(**options: Any) -> dict[str, Any]:
    return {"name": "background", "method": "opening", "radius_px": 50} | options


def test_what_a_recipe_says_is_done():
    assert bound({"name": "median", "size_px": 5})[0] == Median(5)
    assert bound({"name": "gaussian", "sigma_px": 2})[0] == Gaussian(2.0)
    assert bound({"name": "invert", "top": 255}) == (Invert(255.0), {"top": 255.0})
    assert bound(opening(shrink=2, shrink_by="min", pedestal=7)) == (
        SubtractOpening(50, 2, "min", None, 7.0),
        {"pedestal": 7.0},
    )
    ball = opening(method="rolling_ball")
    assert bound(ball)[0] == SubtractOpening(50, 6, "mean", 50, 100.0)
    assert bound(ball | {"height": 0.5})[0] == SubtractOpening(50, 6, "mean", 0.5, 100.0)


def test_of_channels():
    step, _ = bound({"name": "gaussian", "sigma_px": 2, "channels": "actin"})
    assert isinstance(step, OnChannels)
    assert (step.step, step.channels) == (Gaussian(2.0), (1,))


@pytest.mark.parametrize(
    ("radius", "shrink"), [(1, 1), (8, 1), (15, 1), (16, 2), (50, 6), (100, 12), (600, 75)]
)
def test_blocks_grow_with_the_radius(radius, shrink):
    (recipe,) = read_steps([opening(radius_px=radius)])
    assert recipe.shrink == shrink
    # What a default came to stands in the recipe that is kept, and can be read again.
    assert read_steps([recipe.model_dump()]) == (recipe,)


def test_hot_pixels_are_told_by_the_noise_or_by_counts():
    assert bound({"name": "hot_pixels"}) == (
        HotPixels(3, 8.0, 1.0),
        {"threshold": 8.0, "min_noise": 1.0},
    )
    floats = known("float32", "float32")
    assert bound({"name": "hot_pixels", "threshold": 5}, floats)[0] == HotPixels(3, 5.0, 0.0)
    step, record = bound({"name": "hot_pixels", "size_px": 5, "threshold_counts": 200})
    assert (step.size_px, step.counts) == (5, 200.0)
    assert record == {"threshold_counts": 200.0}
    (recipe,) = read_steps([{"name": "hot_pixels"}])
    assert recipe.is_of_camera


@pytest.mark.parametrize(
    ("run", "pedestal"),
    [
        (known(), 100.0),
        (known(scales_later=True), 0.0),
        (known(store="float32"), 0.0),
        (known("int16", "int16"), 0.0),
        (known("float32", "uint8"), 100.0),
    ],
)
def test_a_pedestal_where_noise_would_clip(run, pedestal):
    table = {"name": "background", "method": "constant", "value": 120}
    assert bound(table, run) == (SubtractConstant(120.0, pedestal), {"pedestal": pedestal})
    assert bound(table | {"pedestal": 3}, run) == (SubtractConstant(120.0, 3.0), {"pedestal": 3.0})


@pytest.mark.parametrize(
    ("run", "top"),
    [
        (known(), 65535.0),
        (known("uint8", "uint8"), 255.0),
        (known(saturation=4095), 4095.0),
        (known("uint8", "uint16", saturation=250), 250.0),
    ],
)
def test_the_top_of_what_is_inverted(run, top):
    assert bound({"name": "invert"}, run) == (Invert(top), {"top": top})


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (known("uint8", "uint16"), "the images are of uint8, and the store is of uint16"),
        (known("uint8", "float32"), "images of uint8 in a store of float32"),
        (known("int16", "int16"), "images of int16 in a store of int16"),
        (
            known(saturation=4095, steps=[{"name": "percentile", "scope": "patch"}]),
            "images.saturation = 4095",
        ),
    ],
)
def test_a_top_that_nobody_knows(run, found):
    with pytest.raises(RecipeError, match=rf"^steps\[0\]\.top is missing, and {found}.*top = 255"):
        bound({"name": "invert"}, run)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "median"}, r"steps\[0\].size_px: is missing; write an odd number from 3"),
        ({"name": "median", "size_px": 4}, r"size_px: found 4, .* write 3 or 5"),
        ({"name": "median", "size_px": 65}, r"size_px: found 65; write an odd number from 3 to 63"),
        ({"name": "median", "size_px": "5"}, r"size_px: found \"5\"; write an odd number"),
        ({"name": "gaussian", "sigma_px": 0}, r"sigma_px: found 0; write a number of pixels from"),
        ({"name": "gaussian", "sigma_px": True}, r"sigma_px: found true; write a number of pixels"),
        ({"name": "gaussian", "sigma": 1}, r"sigma: unknown key; did you mean .*sigma_px"),
        ({"name": "hot_pixels", "size_px": 7}, r"size_px: found 7; write 3 or 5"),
        (
            {"name": "hot_pixels", "threshold": 5, "threshold_counts": 5, "min_noise": 1},
            r"(?s)threshold: is in widths.*min_noise: is for a threshold in widths",
        ),
        ({"name": "invert", "top": "255"}, r"top: found \"255\"; write counts that become 0"),
        ({"name": "background"}, r"method is missing; write one of constant, opening"),
        (
            {"name": "background", "method": "rollball"},
            r"method = \"rollball\"; .*; rolling_ball\?",
        ),
        ({"name": "background", "method": "constant"}, r"value: is missing; write counts"),
        (opening(radius_px=0), r"radius_px: found 0; write a whole number of pixels"),
        (opening(shrink=51), r"shrink: found 51, and a radius of 50 .* write at most 50"),
        (opening(radius_px=131, shrink=2), r"shrink: found 2, .* 64 blocks.* write at least 3"),
        (opening(shrink_by="max"), r"shrink_by: found \"max\"; write \"mean\" or \"min\""),
        (opening(height=3), r"height: unknown key"),
        (opening(pedestal=-1), r"pedestal: found -1; write counts of at least 0"),
    ],
)
def test_what_is_refused(table, message):
    with pytest.raises(RecipeError, match=message):
        known(steps=[table])


def test_the_least_blocks_that_are_asked_for_do():
    assert read_steps([opening(radius_px=131, shrink=3)])
    assert read_steps([opening(radius_px=129, shrink=2)])


def test_a_channel_that_is_not_there():
    with pytest.raises(RecipeError, match=r'steps\[0\]\.channels: found "PH3"; the channels are'):
        bound({"name": "gaussian", "sigma_px": 2, "channels": ["DNA", "PH3"]})

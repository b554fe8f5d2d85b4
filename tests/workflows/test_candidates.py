"""What is considered, step by step: scores, background, split borders, and how many of an image."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.resolution import as_level
from patchmill.tasks.source import ImageKind, ImageSource
from patchmill.workflows import Recipe
from patchmill.workflows.candidates import EDGE, KEPT, MAX_PER_IMAGE, REASONS, corners_read
from patchmill.workflows.chosen import at_most, with_background, with_blocks
from patchmill.workflows.considered import (
    counts_of_blocks,
    image_counts,
    make_candidates,
    require_kept,
    with_scores,
    with_splits,
)
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.files import ImageFiles, SourceFile
from patchmill.workflows.images import SurveyedImage
from patchmill.workflows.patches_section import PatchesRecipe
from patchmill.workflows.rows import make_rows
from patchmill.workflows.survey import Survey


def make_image(name="i", shape=(1, 1, 1, 64, 64), kind=None):
    planes = np.zeros((shape[0], shape[1], shape[2], 4), np.int32)
    kind = kind or ImageKind(planes, as_level([shape[2:]], 0), (1, 1, 1, 16, 16), np.dtype("u2"))
    source = ImageSource(name, (), (), (), 0, kind)
    files = ImageFiles(name, (), (SourceFile(f"/{name}.tif", f"{name}.tif"),))
    return SurveyedImage(files, source, shape, ("c0",), (np.nan,) * 3, range(shape[0]))


def make_recipe(seed=0, split=None, foreground=False, **patches):
    tables = {"seed": seed, "images": {"paths": "*"}, "patches": {"size": 16, **patches}}
    tables |= {"split": split} if split else {}
    if foreground:
        tables["foreground"] = {"method": "otsu", "min_foreground_fraction": 0.1}
    return Recipe.from_dict(tables)


def no_cluster():
    pytest.fail("asks for a cluster")


def consider(recipe, *images):
    return make_candidates(recipe, Survey(images, ()), (), no_cluster)


def below(limit, *texts):
    """Return a rule that rejects what has a score below the limit, for the first reason."""

    def reject(columns):
        (values,) = columns.values()
        return (values < limit).astype(np.uint8), ("", *(texts or ("foreground",)))

    return reject


def test_images_that_are_alike_share_their_candidates():
    first = make_image("a")
    second = make_image("b", kind=first.source.kind)
    found = consider(make_recipe(), first, second, make_image("c"))
    assert found.candidates[0] is found.candidates[1]
    assert found.candidates[1] is not found.candidates[2]
    assert found.reasons == REASONS


def test_scores_are_columns_and_reasons():
    images = [make_image(name, (2, 1, 1, 40, 40)) for name in "ab"]
    recipe = make_recipe()
    found = consider(recipe, *images)
    windows = [found.windows(recipe.patches, image) for image in images]
    # Two times of a grid of nine, of which those at the ends stick out.
    assert [len(own) for own in windows] == [8, 8]
    scores = {"foreground": [np.linspace(0, 1, 8, dtype=np.float32)] * 2}
    after = with_scores(recipe, found, found.surveyed, scores, below(0.5))
    assert after.reasons == (*REASONS, "foreground")
    assert after.rejected() == {"edge": 2 * 2 * 5, "foreground": 2 * 4}
    for before, own in zip(found.candidates, after.candidates, strict=True):
        looked_at = before.reason == KEPT
        assert np.isnan(own.columns["foreground"][~looked_at]).all()
        np.testing.assert_array_equal(own.columns["foreground"][looked_at], scores["foreground"][0])
        assert (own.reason[~looked_at] == EDGE).all()
        wanted = np.where(scores["foreground"][0] < 0.5, len(REASONS), KEPT)
        np.testing.assert_array_equal(own.reason[looked_at], wanted)
        assert (before.reason[looked_at] == KEPT).all()
    # The share of a split is that of places, whatever the scores.
    assert image_counts(recipe, after).tolist() == [8, 8]
    rows = make_rows(after, recipe.patches, 1, np.zeros(2, np.int8), 100)
    assert len(rows) == 8
    assert (rows.columns["foreground"] >= 0.5).all()
    assert rows.columns["foreground"].dtype == np.float32
    assert rows.reasons[rows.candidates["reason"].max()] == "foreground"
    place = ("image", "t", "y", "x")
    of_row = {
        tuple(key): score
        for *key, score in zip(
            *(rows.candidates[n].tolist() for n in (*place, "foreground")), strict=True
        )
    }
    for *key, score in zip(
        *(rows.columns[n].tolist() for n in (*place, "foreground")), strict=True
    ):
        assert of_row[tuple(key)] == score


def test_an_image_that_cannot_be_scored_is_left_out():
    images = [make_image(name) for name in "abc"]
    recipe = make_recipe()
    found = consider(recipe, *images)
    rest = Survey((images[0], images[2]), ((images[1].files, "damaged"),))
    scores = {"foreground": [np.zeros(16, np.float32), np.ones(16, np.float32)]}
    after = with_scores(recipe, found, rest, scores, below(0.5))
    assert [image.id for image in after.images] == ["a", "c"]
    assert [len(own.kept()) for own in after.candidates] == [0, 16]


def test_a_share_of_the_background_is_kept_and_marked():
    images = [make_image(f"{n}", (1, 1, 1, 128, 128)) for n in range(40)]
    recipe = make_recipe(keep_background=0.1, foreground=True)
    found = consider(recipe, *images)
    scores = {"foreground": [np.arange(64, dtype=np.float32) % 4 / 4] * 40}
    after = with_scores(recipe, found, found.surveyed, scores, below(0.7))
    rejected = 40 * 48
    kept = sum(int(own.columns["background"].sum()) for own in after.candidates)
    # Five standard deviations of a binomial distribution.
    assert abs(kept - 0.1 * rejected) < 5 * (rejected * 0.1 * 0.9) ** 0.5
    assert after.rejected() == {"foreground": rejected - kept}
    for own in after.candidates:
        assert (
            own.columns["background"] == (own.reason == KEPT) & (scores["foreground"][0] < 0.7)
        ).all()
    rows = make_rows(after, recipe.patches, 1, np.zeros(40, np.int8), 10)
    assert rows.columns["background"].dtype == bool
    assert rows.columns["background"].sum() == kept
    drawn = {own.columns["background"].tobytes() for own in after.candidates}
    assert len(drawn) > 20
    other = make_recipe(seed=1, keep_background=0.1, foreground=True)
    again = with_scores(other, found, found.surveyed, scores, below(0.7))
    assert {own.columns["background"].tobytes() for own in again.candidates} != drawn


def test_background_is_drawn_by_place_alone():
    """Whether other candidates are foreground says nothing of one."""
    own = consider(make_recipe(), make_image()).candidates[0]
    all_rejected = replace(own, reason=np.full(16, 7, np.uint8))
    some = np.where(np.arange(16) % 3, 7, KEPT).astype(np.uint8)
    everything = with_background(all_rejected, 0.5, 7, 0, "i").columns["background"]
    part = with_background(replace(own, reason=some), 0.5, 7, 0, "i").columns["background"]
    assert everything.any()
    assert (part == everything & (some == 7)).all()


def test_keeping_background_needs_something_rejected_for_it():
    recipe = make_recipe(keep_background=0.05, foreground=True)
    found = consider(recipe, make_image())
    scores = {"focus": [np.ones(16, np.float32)]}
    with pytest.raises(RecipeError, match=r"patches.keep_background: found 0.05, and nothing"):
        with_scores(recipe, found, found.surveyed, scores, below(0.5, "focus"))
    recipe = make_recipe(keep_background=0.05)
    with pytest.raises(RecipeError, match=r"keep_background: found 0\.05, and nothing"):
        consider(recipe, make_image())


def test_a_recipe_that_leaves_nothing_says_why():
    recipe = make_recipe()
    found = consider(recipe, make_image(shape=(1, 1, 1, 40, 40)))
    require_kept(found)
    scores = {"foreground": [np.zeros(4, np.float32)]}
    after = with_scores(recipe, found, found.surveyed, scores, below(0.5))
    with pytest.raises(RecipeError) as caught:
        require_kept(after, "the best is 0")
    text = "patches: no patch is left of 9 candidates; rejected are: edge 5, foreground 4; the best"
    assert str(caught.value) == f"{text} is 0"
    with pytest.raises(RecipeError, match="no patch is left of 0 candidates: there is no place"):
        require_kept(replace(after, candidates=()))


@given(st.integers(1, 30), st.integers(0, 5))
def test_at_most_so_many_chosen_by_the_seed(most, seed):
    image = make_image()
    own = consider(make_recipe(), image).candidates[0]
    chosen = at_most(own, most, seed, "i")
    assert len(chosen.kept()) == min(most, 16)
    assert Counter(chosen.reason.tolist())[MAX_PER_IMAGE] == max(0, 16 - most)
    # One more keeps the others.
    assert set(chosen.kept()) <= set(at_most(own, most + 1, seed, "i").kept())


def test_which_are_kept_differs_by_image_and_seed():
    own = consider(make_recipe(), make_image()).candidates[0]
    found = {tuple(at_most(own, 4, s, i).kept()) for s in range(3) for i in "abc"}
    assert len(found) == 9
    assert all(kept != (0, 1, 2, 3) for kept in found)


@settings(deadline=None)
@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_limit_lets_no_split_see_the_pixels_of_another(most, random):
    """Rejecting what one split has must not give its places to another one."""
    blocks = np.array([[random.randrange(2) for _ in range(4)] for _ in range(4)], np.int8)
    recipe = make_recipe(
        max_per_image=most, split={"fractions": {"a": 0.5, "b": 0.5}, "blocks_px": 16}
    )
    found = consider(recipe, make_image())
    one = with_splits(recipe, found, [blocks]).candidates[0]
    assert len(one.kept()) <= most
    if min(np.bincount(blocks.ravel(), minlength=2)) >= most:
        assert len(one.kept()) == most
    scores = {"foreground": [np.array([random.random() for _ in range(16)], np.float32)]}
    scores["foreground"][0][blocks.ravel() == 0] = 1
    scored = with_scores(recipe, found, found.surveyed, scores, below(0.5))
    other = with_splits(recipe, scored, [blocks]).candidates[0]
    of_first = one.split == 0
    np.testing.assert_array_equal(one.reason[of_first], other.reason[of_first])


def test_blocks_count_places_whatever_their_scores():
    recipe = make_recipe(split={"fractions": {"a": 0.5, "b": 0.5}, "blocks_px": 32})
    found = consider(recipe, make_image(shape=(2, 1, 1, 64, 40)))
    (counts,) = counts_of_blocks(recipe, found, (32, 32))
    assert counts.tolist() == [[8, 0], [8, 0]]
    scores = {"foreground": [np.zeros(16, np.float32)]}
    after = with_scores(recipe, found, found.surveyed, scores, below(0.5))
    assert counts_of_blocks(recipe, after, (32, 32))[0].tolist() == counts.tolist()
    before = with_blocks(
        after.candidates[0],
        after.images[0].source.kind.resolution,
        recipe.patches,
        np.array([[0, 1], [1, 0]], np.int8),
        (32, 32),
    )
    assert set(before.split.tolist()) <= {0, 1, -1}


def test_max_per_image_counts_at_most_that_much():
    recipe = make_recipe(max_per_image=5)
    found = consider(recipe, make_image("a"), make_image("b", (1, 1, 1, 16, 32)))
    assert image_counts(recipe, found).tolist() == [5, 2]


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"t": 1, "z": 2}, [0, 0, 5, 7]),
        ({"z": "focus"}, [3, 0, 5, 7]),
        ({}, [3, 4, 5, 7]),
    ],
)
def test_workers_count_planes_that_were_chosen_from_0(keys, wanted):
    patches = PatchesRecipe.model_validate({"size": 16, **keys})
    columns = {name: np.array([n]) for name, n in zip("tzyx", [3, 4, 5, 7], strict=True)}
    assert corners_read(patches, columns).tolist() == [wanted]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"at": "random"}, 'patches.count: is missing with at = "random"; write it, such as 100'),
        ({"count": 5}, 'patches.count: is for at = "random", and at is "grid"; leave it out'),
        ({"at": "objects"}, 'patches.objects: is missing with at = "objects"'),
        ({"at": "points"}, 'patches.points: is missing with at = "points"'),
        ({"at": "points", "points": "p.csv", "min_area_px": 3}, "patches.min_area_px: is for at"),
        ({"at": "random", "count": 5, "stride": 8}, 'patches.stride: is for at = "grid"'),
        ({"at": "random", "count": 0}, "patches.count: found 0; write a whole number above 0"),
        ({"at": "there"}, 'patches.at: found "there"; write "grid", "random"'),
        (
            {"at": "objects", "objects": "n", "min_area_px": 9, "max_area_px": 8},
            "patches.max_area_px: found 8, which is below min_area_px = 9; write at least that",
        ),
        ({"keep_background": 1.5}, "patches.keep_background: found 1.5; write a share"),
        ({"max_per_image": 0}, "patches.max_per_image: found 0"),
    ],
)
def test_a_recipe_whose_places_make_no_sense(keys, text):
    with pytest.raises(RecipeError) as caught:
        make_recipe(**keys)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "keys", [{"at": "random", "count": 5}, {"at": "points", "points": "p.csv"}, {"at": "grid"}]
)
def test_the_canonical_recipe_says_the_same(keys):
    recipe = make_recipe(**keys)
    assert Recipe.from_dict(recipe.canonical()) == recipe

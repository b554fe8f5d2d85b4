"""Illumination in a run: given or estimated, of the training fields alone, refused where unsure."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from numpy.polynomial import legendre

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.tasks.source import SourceError
from patchmill.tasks.step import Window, run_steps
from patchmill.workflows import Recipe, plan
from patchmill.workflows.bound_steps import bind_steps, bindings
from patchmill.workflows.errors import RecipeError

HEIGHT, WIDTH, DARK = 96, 128, 100
CHANNELS = ("DNA", "actin")
ESTIMATE = {"name": "illumination", "flat": "estimate", "dark": DARK, "min_fields": 8}


def light(plate, channel):
    """The light of a channel on a plate, mean 1."""
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (HEIGHT, WIDTH))
    at = (0.5, -0.3, 0.2, -0.6)[2 * plate + channel]
    field = np.exp(-((y[:, None] - at) ** 2 + (x - at / 2) ** 2) / 2)
    return field / field.mean()


def raw_of(plate, well, rng):
    """A field of both channels: cells of any brightness on a background of any brightness."""
    fields = []
    for channel in range(2):
        seen = np.full((HEIGHT, WIDTH), rng.lognormal(6, 0.4))
        for _ in range(rng.integers(5, 30)):
            y, x, radius = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), rng.uniform(2, 6)
            down = np.exp(-((np.arange(HEIGHT) - y) ** 2) / radius**2)
            across = np.exp(-((np.arange(WIDTH) - x) ** 2) / radius**2)
            seen += 500 * rng.lognormal(0, 0.5) * np.outer(down, across)
        counts = rng.poisson(seen * light(plate, channel)) + DARK + rng.normal(0, 3, seen.shape)
        fields.append(np.clip(np.rint(counts), 0, 65535))
    return np.stack(fields).astype(np.uint16)


@pytest.fixture
def plates(tmp_path):
    """Two plates of 12 wells, the last two of each for testing; returns the pixels by id."""
    rng = np.random.default_rng(5)
    images = {}
    for plate in range(2):
        (tmp_path / f"p{plate}").mkdir()
        for well in range(12):
            pixels = raw_of(plate, well, rng)
            split = "train" if well < 10 else "test"
            for channel, name in enumerate(CHANNELS):
                path = tmp_path / f"p{plate}/{split}_{well:02}_{name}.tif"
                tifffile.imwrite(path, pixels[channel], rowsperstrip=16)
            images[f"plate=p{plate},set={split},well={well:02}"] = pixels
    return images


def tables(*steps, **more):
    images = {
        "paths": ["p*/*.tif"],
        "pattern": r"(?P<plate>p\d)/(?P<set>train|test)_(?P<well>\d\d)_(?P<channel>[A-Za-z]+)",
    }
    recipe = {
        "images": images | more.pop("images", {}),
        "patches": {"size": [48, 64], "edge": "pad"},
        "split": {"from": "set"},
        "steps": list(steps),
    }
    return recipe | more


@pytest.fixture
def bound(client, tmp_path):
    """Return a function that binds the steps of nested tables."""

    def bind(recipe, connect=None, **options):
        own = connect or (lambda: nullcontext(client))
        recipe = Recipe.from_dict(recipe, options.pop("folder", tmp_path))
        return bind_steps(plan(recipe, own), own, **options)

    return bind


def corrected(raw, own, dark, pedestal):
    """The formula, in float64."""
    own = own.astype(np.float64)
    return (raw - np.float64(dark)) / own * own.mean(axis=(-2, -1), keepdims=True) + pedestal


def check_rows(path, images, wanted):
    """Every patch is the window of its image as `wanted(id, pixels)` gives it, rounded."""
    store = open_store(path)
    names = store.images["id"].tolist()
    whole = {name: wanted(name, pixels) for name, pixels in images.items()}
    assert len(store) == 4 * len(images)
    for row, patch in enumerate(store.read(range(len(store)))["image"]):
        name = names[store.index["image"][row]]
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        own = whole[name][:, y : y + 48, x : x + 64]
        assert np.abs(patch - np.clip(np.rint(own), 0, 65535)).max() <= 1
        assert (patch == np.clip(np.rint(own), 0, 65535)).mean() > 0.99
    return store


def profile(described):
    """The profile that a store describes, by NumPy."""
    rows = described["legendre"]
    matrix = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (HEIGHT, WIDTH))
    return np.exp(legendre.leggrid2d(y, x, matrix))


def test_light_is_estimated_for_each_plate(cut, plates, tmp_path):
    outcome = cut(tables(ESTIMATE | {"by": ["plate"]}))
    (record,) = open_store(outcome.store).attributes["steps"]
    assert (record["name"], record["pedestal"], record["from"]) == ("illumination", 100, ["train"])
    assert list(record["groups"]) == ["plate=p0", "plate=p1"]
    found = {}
    for plate, group in enumerate(record["groups"].values()):
        assert group["fields"] == 10
        for channel, name in enumerate(CHANNELS):
            own = group["channels"][name]
            found[f"p{plate}", channel] = profile(own)
            error = found[f"p{plate}", channel] / light(plate, channel) - 1
            # From ten fields alone.
            assert np.sqrt(np.mean(error**2)) < 0.03
            assert own["used"] == 10
            assert 0 < own["sampling_error"] < 0.05
            assert own["lowest"] < 0.8 < 1.1 < own["highest"]

    def wanted(name, pixels):
        own = np.stack([found[name[6:8], channel] for channel in range(2)])
        return corrected(pixels, own, DARK, 100)

    check_rows(outcome.store, plates, wanted)
    pictures = sorted(path.name for path in (tmp_path / "s.zarr.run/pictures").iterdir())
    assert pictures == [
        f"illumination_{name}_plate=p{plate}.png" for name in CHANNELS for plate in range(2)
    ]
    picture = cv2.imread(str(tmp_path / "s.zarr.run/pictures" / pictures[0]))
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_light_is_of_training_fields_alone(bound, plates, tmp_path):
    """Other pixels of the test images change nothing; of the training images they do."""
    recipe = tables(ESTIMATE | {"by": ["plate"]})
    before = bound(recipe).steps
    for path in tmp_path.glob("p*/test_*.tif"):
        tifffile.imwrite(path, np.full((HEIGHT, WIDTH), 7, np.uint16))
    assert bound(recipe).steps == before
    everything = tables(ESTIMATE | {"by": ["plate"], "from": "all"})
    (of_all,) = bound(everything).steps
    assert of_all["from"] == ["all"]
    assert of_all["groups"]["plate=p0"]["fields"] == 12
    # What the test images show now is no light: those of all say so.
    assert of_all["groups"]["plate=p0"]["channels"]["DNA"]["used"] == 10
    tifffile.imwrite(tmp_path / "p0/train_00_DNA.tif", np.full((HEIGHT, WIDTH), 700, np.uint16))
    assert bound(recipe).steps != before


def test_a_second_run_reads_no_pixel(bound, plates):
    recipe = tables(ESTIMATE)
    before = bound(recipe)

    def connect():
        raise AssertionError("a cluster is asked for")

    assert bound(recipe, connect).steps == before.steps


def test_any_number_of_workers_finds_the_same(bound, plates, tmp_path, monkeypatch):
    recipe = tables(ESTIMATE | {"by": ["plate"]})
    before = bound(recipe)
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "another-cache"))
    with local_cluster(workers=1, dashboard="127.0.0.1:0") as alone:
        after = bound(recipe, lambda: nullcontext(alone))
    assert after.steps == before.steps
    for one, other in zip(before.images, after.images, strict=True):
        assert one.source.steps.after == other.source.steps.after


def test_fields_are_drawn_from_the_seed(bound, plates):
    step = ESTIMATE | {"max_fields": 9}
    (one,), (other,), (same,) = (bound(tables(step, seed=seed)).steps for seed in (1, 2, 1))
    assert one["groups"]["all"]["fields"] == 9
    assert one == same != other


def test_groups_share_one_step(bound, plates):
    images = bound(tables(ESTIMATE | {"by": ["plate"], "channels": "actin"})).images
    steps = [image.source.steps.after[0] for image in images]
    assert len({id(step) for step in steps}) == 2
    raw = plates[images[0].id][:, None].astype(np.float32)
    own = (slice(None), slice(None), slice(None))
    done, _ = run_steps(steps[:1], raw.copy(), Window(0, 0, (HEIGHT, WIDTH), own))
    np.testing.assert_array_equal(done[0], raw[0])
    assert not np.array_equal(done[1], raw[1])


@pytest.fixture
def references(tmp_path):
    """Flat and dark fields of both channels, in several files."""
    rng = np.random.default_rng(9)
    dark = rng.integers(95, 106, (2, HEIGHT, WIDTH)).astype(np.uint16)
    flats = np.stack([np.rint(20_000 * light(0, c)) for c in range(2)]).astype(np.uint16) + dark
    for channel, name in enumerate(CHANNELS):
        tifffile.imwrite(tmp_path / f"flat_{name}.tif", flats[channel])
    # The other way round than the images have them, but named.
    names = {"axes": "CYX", "Channel": {"Name": list(CHANNELS[::-1])}}
    tifffile.imwrite(tmp_path / "flats.ome.tif", flats[::-1], metadata=names)
    tifffile.imwrite(tmp_path / "dark.ome.tif", dark, metadata={"axes": "CYX"})
    np.save(tmp_path / "dark_of_all.npy", dark[0])
    return flats, dark


@pytest.mark.parametrize(
    ("flat", "dark", "which"),
    [
        ("flat_{channel}.tif", "dark.ome.tif", (0, 1)),
        ({"actin": "flat_actin.tif", "DNA": "flat_DNA.tif"}, "dark_of_all.npy", (0, 0)),
        ("flats.ome.tif", {"DNA": 99, "actin": "dark_of_all.npy"}, (99, 0)),
        ("flats.ome.tif", 90.5, (90.5, 90.5)),
    ],
)
def test_given_references(cut, plates, references, flat, dark, which):
    step = {"name": "illumination", "flat": flat, "dark": dark, "pedestal": 50}
    outcome = cut(tables(step))
    flats, darks = references
    offset = np.stack(
        [darks[w] if isinstance(w, int) and w < 2 else np.full((HEIGHT, WIDTH), w) for w in which]
    ).astype(np.float64)
    store = check_rows(
        outcome.store, plates, lambda _, raw: corrected(raw, flats - offset, offset, 50)
    )
    (record,) = store.attributes["steps"]
    own = record["flat"]["actin"]
    assert own["path"] in ("flat_actin.tif", "flats.ome.tif")
    assert own["mean"] == pytest.approx((flats[1] - offset[1]).mean())
    assert len(own["sha256"]) == 64


def test_the_cost_is_that_of_the_fields_that_are_read(client, plates, tmp_path):
    step = ESTIMATE | {"by": ["plate"], "max_fields": 9, "channels": "DNA"}
    planned = plan(Recipe.from_dict(tables(step), tmp_path), lambda: nullcontext(client))
    (own,) = planned.recipe.steps
    ((_, binding),) = bindings(planned.recipe, planned.images, planned.patch)
    binding = replace(binding, split_names=planned.splits.names, image_splits=planned.image_splits)
    assert own.bytes_measured(binding) == 2 * 9 * HEIGHT * WIDTH * 2


def test_saturation_is_what_the_recipe_says(bound, plates):
    """Of a camera of few bits in 16: its highest value is no light."""
    said = tables(ESTIMATE, images={"saturation": 700})
    (record,) = bound(said | {"steps": [ESTIMATE | {"min_fields": 1}]}).steps
    assert record["groups"]["all"]["channels"]["DNA"]["saturated"] > 2


def test_two_steps_of_different_channels(bound, plates, references):
    given = {"name": "illumination", "flat": "flat_DNA.tif", "dark": 100, "channels": "DNA"}
    one, other = bound(tables(given, ESTIMATE | {"channels": "actin"})).steps
    assert list(one["flat"]) == ["DNA"]
    assert list(other["groups"]["all"]["channels"]) == ["actin"]
    with pytest.raises(RecipeError, match=r"steps\[1\].*has corrected DNA; name the others"):
        bound(tables(given, ESTIMATE))


@pytest.mark.parametrize(
    ("step", "more", "message"),
    [
        ({"min_fields": 30}, {}, r"20 fields.*min_fields is 30; write min_fields = 20.*from"),
        ({"by": "well"}, {}, r"from = \"all\""),
        ({"by": "dish"}, {}, r"steps\[0\].by: \"dish\" is not"),
        ({"from": "val"}, {}, r"steps\[0\].from.*\"val\""),
        ({"dark": 30_000}, {}, "light of DNA cannot be estimated: the 20 fields are empty"),
        ({"max_field_px": 1000}, {}, "96 x 128 pixels.*max_field_px = 12288"),
        ({"channels": "GFP"}, {}, "GFP"),
        ({"dark": {"DNA": 3}}, {}, r"dark: found \[\"DNA\"\]; write one for each.*DNA, actin"),
        ({"flat": "missing.tif", "min_fields": 30}, {}, "reference image cannot be used .*missing"),
        ({"flat": "flat_DNA.tif", "min_fields": 30}, {}, "one channel, and the step is for 2"),
        ({"flat": "small.npy", "min_fields": 30}, {}, "small.npy has 5 x 6 pixels, and plate=p0"),
        (
            {"flat": "flat_{channel}.tif", "dark": 20_000, "min_fields": 30},
            {},
            r"\d+ of 12288 pixels of flat_DNA.tif are not above the dark",
        ),
        ({"dark": "nan.npy"}, {}, "1 pixels of nan.npy are no finite numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    bound, plates, references, tmp_path, step, more, message
):
    np.save(tmp_path / "small.npy", np.ones((5, 6)))
    dark = np.full((HEIGHT, WIDTH), 100.0)
    dark[0, 0] = np.nan
    np.save(tmp_path / "nan.npy", dark)
    with pytest.raises(RecipeError, match=message) as caught:
        bound(tables(ESTIMATE | step, **more))
    assert "\n" not in str(caught.value)


def test_another_step_before_it_is_refused(bound, plates):
    with pytest.raises(RecipeError, match='"gaussian" comes before it; move it to the front'):
        bound(tables({"name": "gaussian", "sigma_px": 1}, ESTIMATE))


def test_stitched_images_are_refused(bound, tmp_path):
    """A pyramid, and a large plane; both may be asked for."""
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = raw_of(0, number, rng)[0]
        with tifffile.TiffWriter(tmp_path / f"{number}.tif") as writer:
            writer.write(pixels, subifds=1, tile=(16, 16))
            writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))
    recipe = {"images": {"paths": "*.tif"}, "patches": {"size": 32}}
    with pytest.raises(RecipeError, match=r"0.tif is a pyramid of 2 levels.*allow_pyramids"):
        bound(recipe | {"steps": [ESTIMATE]})
    allowed = ESTIMATE | {"allow_pyramids": True}
    (record,) = bound(recipe | {"steps": [allowed]}).steps
    assert record["groups"]["all"]["fields"] == 8
    coarse = {"patches": {"size": 32, "level": 1}, "steps": [allowed]}
    with pytest.raises(RecipeError, match=r"level 1 of 0\.tif is cut"):
        bound(recipe | coarse)


def test_fields_of_several_sizes_have_no_light_in_common(bound, plates, tmp_path):
    for name in CHANNELS:
        tifffile.imwrite(tmp_path / f"p1/train_00_{name}.tif", np.ones((80, 90), np.uint16))
    with pytest.raises(RecipeError, match=r"several sizes \(80 x 90 and 96 x 128 pixels\)"):
        bound(tables(ESTIMATE))


def test_a_field_that_cannot_be_read(bound, plates, tmp_path):
    path = tmp_path / "p0/train_03_DNA.tif"
    tifffile.imwrite(path, plates["plate=p0,set=train,well=03"][0], compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    data[start : start + 100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="train_03_DNA"):
        bound(tables(ESTIMATE))
    said = []
    skipped = tables(ESTIMATE, images={"on_error": "skip"})
    (record,) = bound(skipped, say=said.append).steps
    assert record["groups"]["all"]["channels"]["DNA"]["used"] == 19
    assert any("train_03_DNA" in sentence for sentence in said)


def test_fields_that_do_not_agree_are_refused(bound, tmp_path):
    """Nothing but noise, of a dark that is too low: no profile is made of it."""
    rng = np.random.default_rng(0)
    for number in range(8):
        noise = rng.normal(100, 30, (8, 8)).repeat(12, 0).repeat(16, 1)
        tifffile.imwrite(tmp_path / f"{number}.tif", np.rint(noise.clip(0)).astype(np.uint16))
    recipe = {"images": {"paths": "*.tif"}, "patches": {"size": 32}, "steps": [ESTIMATE]}
    with pytest.raises(PatchmillError, match=r"not known better than \d+%|cannot be|can be seen"):
        bound(recipe)


def test_real_fields_leave_one_out(bound, data_folder):
    """Position decides less once the light that the other fields have is taken out."""
    folder = data_folder / "fields/cellprofiler_illum/images"
    paths = sorted(folder.glob("AS_09047*.TIF"))
    assert len(paths) == 9
    step = ESTIMATE | {"dark": 0, "min_fields": 8, "pedestal": 0}
    before, after = [], []
    for left_out in paths:
        images = {"paths": "AS_09047*.TIF", "exclude": left_out.name}
        recipe = {"images": images, "patches": {"size": 64}, "steps": [step]}
        (own, *_) = bound(recipe, folder=folder).images
        raw = tifffile.imread(left_out).astype(np.float32)
        window = Window(0, 0, raw.shape, (slice(None),) * 3)
        done, _ = run_steps(own.source.steps.after, raw[None, None].copy(), window)
        before.append(raw)
        after.append(done[0, 0])

    def uneven(fields):
        blocks = np.mean(fields, axis=0).reshape(8, 64, 8, 64).mean(axis=(1, 3))
        return blocks.std() / blocks.mean()

    print(f"block means of the averaged fields vary by {uneven(before):.3f}, {uneven(after):.3f}")
    assert uneven(after) < 0.35 * uneven(before)

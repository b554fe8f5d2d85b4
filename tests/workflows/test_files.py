import os

import pytest

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.survey import survey_files
from patchmill.workflows.files import find_images, group_of
from patchmill.workflows.natural import natural_key
from patchmill.workflows.recipe import Recipe, RecipeError

PATTERN = r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)"


@pytest.fixture
def folder(tmp_path):
    class Folder:
        path = tmp_path

        def touch(self, *names):
            for name in names:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(b"")

        def recipe(self, paths="**/*.tif", **images):
            split = images.pop("split", None)
            data = {"images": {"paths": paths, **images}, "patches": {"size": 8}, "split": split}
            return Recipe.from_dict(data, images.pop("folder", tmp_path))

        def find(self, *args, **images):
            return find_images(self.recipe(*args, **images))

        def error(self, *args, **images):
            with pytest.raises(RecipeError) as caught:
                self.find(*args, **images)
            return str(caught.value)

    return Folder()


def test_files_of_channels_join_and_sort_naturally(folder):
    folder.touch(*(f"p/A01_s{s}_w{w}_x.tif" for s in (10, 2) for w in (2, 1)))
    found = folder.find(pattern=PATTERN)
    assert [image.id for image in found.images] == ["p/well=A01,site=2", "p/well=A01,site=10"]
    assert found.channels == ("1", "2")
    first = found.images[0]
    assert first.groups == (("well", "A01"), ("site", "2"))
    assert [f.relative for f in first.files] == ["p/A01_s2_w1_x.tif", "p/A01_s2_w2_x.tif"]
    assert first.files[0].path == str(folder.path / "p/A01_s2_w1_x.tif")
    assert (first.files[0].channel, first.files[0].z, first.files[0].t) == ("1", None, None)


def test_without_a_pattern_each_file_is_an_image(folder):
    folder.touch("a10.tif", "b/a2.tif", "a2.tif")
    found = folder.find()
    assert [image.id for image in found.images] == ["a2.tif", "a10.tif", "b/a2.tif"]
    assert found.channels is None
    assert group_of(found.images[0], folder.recipe()) == ("a2.tif",)


def test_the_same_well_on_two_plates_is_two_images(folder):
    folder.touch("plate1/A01_s1_w1.tif", "plate2/A01_s1_w1.tif")
    found = folder.find(pattern=PATTERN, group="well")
    assert [image.id for image in found.images] == [
        "plate1/well=A01,site=1",
        "plate2/well=A01,site=1",
    ]
    assert {group_of(i, folder.recipe(pattern=PATTERN, group="well")) for i in found.images} == {
        ("A01",)
    }


def test_a_part_of_the_folder_that_the_pattern_names_is_left_to_it(folder):
    folder.touch(*(f"p/ZStep_{z}/A01_s1_w{w}.tif" for z in (10, 2, 1) for w in (1, 2)))
    found = folder.find(pattern=r"ZStep_(?P<z>\d+)/" + PATTERN, channels={2: "b", 1: "a"})
    (image,) = found.images
    assert image.id == "p/well=A01,site=1"
    assert [(f.channel, f.z) for f in image.files] == [
        ("2", "1"), ("2", "2"), ("2", "10"), ("1", "1"), ("1", "2"), ("1", "10"),
    ]  # fmt: skip
    apart = folder.find(pattern=PATTERN)
    assert len(apart.images) == 3


def test_times_come_before_channels(folder):
    folder.touch(*(f"t{t}_w{w}.tif" for t in (10, 9) for w in (1, 2)))
    (image,) = folder.find(pattern=r"t(?P<t>\d+)_w(?P<channel>\d)").images
    assert image.id == "."
    assert [(f.t, f.channel) for f in image.files] == [
        ("9", "1"), ("9", "2"), ("10", "1"), ("10", "2"),
    ]  # fmt: skip


def test_files_outside_the_recipes_folder(folder):
    folder.touch("data/A01_s1_w1.tif", "recipes/x")
    paths = ["../data/*.tif", str(folder.path / "data" / "*.tif"), "../recipes/../data/A*"]
    recipe = Recipe.from_dict(
        {"images": {"paths": paths, "pattern": PATTERN}, "patches": {"size": 8}},
        folder.path / "recipes",
    )
    (image,) = find_images(recipe).images
    assert image.id == "../data/well=A01,site=1"
    assert image.files[0].path == str(folder.path / "data/A01_s1_w1.tif")


def test_a_name_with_brackets_is_taken_as_it_is(folder):
    folder.touch("a[1].tif", "a1.tif")
    assert [i.id for i in folder.find("a[1].tif").images] == ["a[1].tif"]


def test_exclude_matches_name_or_path(folder):
    folder.touch("a.tif", "a_thumb.tif", "raw/b.tif", "raw/deep/c.tif")
    assert [i.id for i in folder.find(exclude=["*_thumb*", "raw/*"]).images] == ["a.tif"]
    assert "leaves none of the 4 files" in folder.error(exclude=["*"])


def test_two_files_for_one_plane_are_both_named(folder):
    folder.touch("A01_s1_w1_x.tif", "A01_s1_w1_y.tif")
    text = folder.error(pattern=PATTERN)
    assert "A01_s1_w1_x.tif and A01_s1_w1_y.tif are both channel 1 of image well=A01,site=1" in text


def test_missing_channels_are_listed_or_skipped(folder):
    folder.touch("A01_s1_w1.tif", "A01_s1_w2.tif", "A02_s1_w1.tif")
    text = folder.error(pattern=PATTERN)
    assert "1 of 2 images" in text
    assert "well=A02,site=1 lacks channel 2 (has 1)" in text
    found = folder.find(pattern=PATTERN, missing_channel="skip")
    assert [image.id for image in found.images] == ["well=A01,site=1"]
    assert found.left_out == (("well=A02,site=1", "lacks channel 2 (has 1)"),)


def test_skipping_must_leave_something(folder):
    folder.touch("A01_s1_w1.tif", "A02_s1_w2.tif")
    assert "no image is left" in folder.error(pattern=PATTERN, missing_channel="skip")


def test_listed_channels_choose_and_order(folder):
    folder.touch(*(f"A01_s1_w{w}.tif" for w in (1, 2, 3)), "A02_s1_w1.tif", "A02_s1_w2.tif")
    found = folder.find(pattern=PATTERN, channels={"2": "b", "1": "a"})
    assert found.channels == ("2", "1")
    assert found.unused_channels == (("3", 1),)
    assert [[f.channel for f in image.files] for image in found.images] == [["2", "1"]] * 2
    assert "no file has channel 4; the files have 1, 2, 3" in folder.error(
        pattern=PATTERN, channels={"4": "d"}
    )


def test_channels_become_names_of_columns(folder):
    folder.touch("x_.a_.tif")
    assert 'channel ".a", which starts with a dot' in folder.error(pattern="_(?P<channel>.+)_")


def test_uneven_sets_say_what_is_missing(folder):
    folder.touch(*(f"z{z}_w{w}.tif" for z in (1, 2, 3) for w in (1, 2)))
    (folder.path / "z3_w2.tif").unlink()
    text = folder.error(pattern=r"z(?P<z>\d)_w(?P<channel>\d)")
    assert "1 of 1 images are uneven" in text
    assert "lacks channel 2, z 3" in text


def test_every_time_needs_every_depth(folder):
    folder.touch("t1_z1.tif", "t1_z2.tif", "t2_z1.tif")
    assert "lacks z 2, t 2" in folder.error(pattern=r"t(?P<t>\d)_z(?P<z>\d)")


def test_a_file_without_its_pattern(folder):
    folder.touch(*(f"other{n}.tif" for n in range(8)), "A01_s1_w1.tif")
    text = folder.error(pattern=PATTERN)
    assert "not found in 8 of 9 files: other0.tif" in text
    assert "and 3 more" in text


@pytest.mark.parametrize(
    "images",
    [
        {"pattern": r"(?P<well>[A-P])?(?P<site>\d)", "group": "well"},
        {"pattern": r"(?P<site>\d)(_z(?P<z>\d))?"},
        {"pattern": r"(?P<well>[A-P])?(?P<site>\d)", "split": {"folds": 2, "stratify": "well"}},
    ],
)
def test_an_empty_group_is_refused(folder, images):
    folder.touch("A1_z1.tif", "2.tif")
    text = folder.error(**images)
    assert "is empty in 2.tif" in text
    assert "well" in text or "z" in text


def test_an_optional_group_that_nothing_needs_may_be_empty(folder):
    folder.touch("A1.tif", "2.tif")
    found = folder.find(pattern=r"(?P<well>[A-P])?(?P<site>\d)")
    assert [image.id for image in found.images] == ["well=,site=2", "well=A,site=1"]


def test_a_glob_that_matches_nothing(folder):
    folder.touch("sub/a.TIF", "b.tif")
    assert '"c*.tif" matches no file' in folder.error(["b.tif", "c*.tif"])
    assert 'in another case it would match "sub/a.TIF"' in folder.error("sub/*.tif")
    assert 'it is a folder; write "sub/*.tif"' in folder.error("sub")


def test_folders_are_not_images(folder):
    folder.touch("a.tif", "b.tif/c.txt")
    assert [image.id for image in folder.find("*").images] == ["a.tif"]


def test_a_zarr_folder_is_an_image_and_what_is_in_it_is_not(folder):
    folder.touch("a.zarr/.zattrs", "a.zarr/0/.zarray", "a.zarr/0/0.0.tif", "sub/b.zarr/zarr.json")
    folder.touch("sub/b.zarr/c/0/0", "sub/c.tif")
    everything = ["a.zarr", "sub/b.zarr", "sub/c.tif"]
    assert [i.id for i in folder.find("**").images] == everything
    assert [i.id for i in folder.find(["*.zarr", "**/*.*"]).images] == everything
    assert [i.id for i in folder.find("*").images] == ["a.zarr"]
    assert [i.id for i in folder.find("**/*.tif").images] == ["sub/c.tif"]
    assert [i.id for i in folder.find("a.zarr/").images] == ["a.zarr"]
    assert [i.id for i in folder.find("a.zarr/0/0.0.tif").images] == ["a.zarr/0/0.0.tif"]
    assert [i.id for i in folder.find("**", exclude="*.zarr").images] == ["sub/c.tif"]
    assert "matches no file" in folder.error("a.zarr/**/*.tif")


def test_fields_of_a_zarr_plate_are_images(folder):
    for well in ("A/1", "B/12"):
        folder.touch(f"p.zarr/{well}/.zattrs", f"p.zarr/{well}/.zgroup")
        folder.touch(
            *(f"p.zarr/{well}/{f}/{name}" for f in (0, 1) for name in (".zattrs", "0/0.0"))
        )
    folder.touch("p.zarr/.zattrs", "p.zarr/A/.zgroup", "p.zarr/B/zarr.json", "p.zarr/A/1/zarr.json")
    pattern = r"(?P<plate>\w+)\.zarr/(?P<row>[A-P])/(?P<col>\d+)/(?P<site>\d+)"
    found = folder.find("*.zarr/*/*/*", pattern=pattern)
    assert [image.id for image in found.images][1:3] == [
        "plate=p,row=A,col=1,site=1",
        "plate=p,row=B,col=12,site=0",
    ]
    assert found.columns == ("plate", "row", "col", "site")
    assert len(found.images) == 4


def test_a_recipe_may_lie_in_a_folder_that_looks_like_zarr(folder):
    folder.touch("zarr.json", "a.tif")
    assert [i.id for i in folder.find("**/*.tif").images] == ["a.tif"]


def test_a_url_is_a_file(folder):
    folder.touch("a.tif")
    urls = ["s3://bucket/a b/c.tif", "https://host/x/../y.tif"]
    found = folder.find([*urls, "a.tif"], exclude="*z.tif")
    assert [i.files[0].path for i in found.images] == [str(folder.path / "a.tif"), *reversed(urls)]
    assert [i.id for i in found.images] == ["a.tif", *reversed(urls)]
    assert "has wildcards, and a web server says not" in folder.error("https://host/*.tif")


def test_sets_of_different_depth_are_noted(folder):
    folder.touch(*(f"{w}_z{z}.tif" for w in "abc" for z in (1, 2, 10)))
    pattern = r"(?P<well>.)_z(?P<z>\d+)"
    assert folder.find(pattern=pattern).notes == ()
    (folder.path / "b_z10.tif").unlink()
    assert folder.find(pattern=pattern).notes == (
        "1 of 3 images do not have every z that others have: well=b lacks z 10",
    )


def test_a_pattern_that_takes_everything_for_planes_does_not_count_for_ever(folder):
    folder.touch(*(f"z{n}_t{n}.tif" for n in range(3000)))
    text = folder.error(pattern=r"z(?P<z>\d+)_t(?P<t>\d+)")
    assert "lacks z 1, t 0, z 2, t 0" in text
    assert "and 8996995 more" in text


def test_what_cannot_be_read_is_left_to_the_survey(folder):
    folder.touch("a.tif")
    (folder.path / "b.tif").symlink_to("gone.tif")
    os.mkfifo(folder.path / "c.tif")
    images = folder.find().images
    assert [image.id for image in images] == ["a.tif", "b.tif", "c.tif"]
    paths = [image.files[0].path for image in images[1:]]
    answers = survey_files(paths, ImageOptions(), False)
    assert "the file is gone" in answers[0]
    assert "is not a regular file" in answers[1]


def test_natural_order():
    names = ["s10", "s2", "s02", "a", "10", "9", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "s02", "s2", "s10"]
    names.reverse()  # "s02" and "s2" are the same number, and still have one order
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "s02", "s2", "s10"]


def real(data_folder, **images):
    recipe = Recipe.from_dict({"images": images, "patches": {"size": 8}}, data_folder / "fields")
    return find_images(recipe)


def test_projections_of_an_imagexpress(data_folder):
    plate = {"pattern": PATTERN, "exclude": "*_thumb*", "group": "well"}
    found = real(data_folder, paths="faim_imagexpress/*/*/1334/*.tif", **plate)
    assert [image.id.split("/")[-1] for image in found.images] == [
        "well=E07,site=1",
        "well=E07,site=2",
    ]
    assert found.channels == ("1", "2", "3")
    assert all(len(image.files) == 3 for image in found.images)
    with pytest.raises(RecipeError, match="do not have every channel"):
        real(data_folder, paths="faim_imagexpress/*/*/1334/**/*.tif", **plate)
    # With the two channels that all have, depths and projections are kept apart.
    apart = real(
        data_folder, paths="faim_imagexpress/**/*.tif", channels={"1": "a", "2": "b"}, **plate
    )
    assert len(apart.images) == 8
    for image in apart.images:
        assert len({os.path.dirname(file.path) for file in image.files}) == 1  # noqa: PTH120


def test_depths_of_an_imagexpress(data_folder):
    found = real(
        data_folder,
        paths="faim_imagexpress/**/ZStep*/*.tif",
        pattern=r"ZStep_(?P<z>\d+)/.*" + PATTERN,
        exclude="*_thumb*",
        channels={"1": "a", "2": "b"},
    )
    assert len(found.images) == 2
    assert [f.z for f in found.images[0].files] == ["1", "2", "3", "1", "2", "3"]
    assert found.unused_channels == (("4", 2),)


def test_channels_of_a_cellprofiler_example(data_folder):
    found = real(
        data_folder,
        paths="cellprofiler_human/images/*.tif",
        pattern=r"(?P<well>[A-P]\d\d)f(?P<site>\d+)d(?P<channel>\d)",
    )
    (image,) = found.images
    assert image.id == "cellprofiler_human/images/well=D03,site=00"
    assert [f.relative[-6:] for f in image.files] == ["d0.tif", "d1.tif", "d2.tif"]

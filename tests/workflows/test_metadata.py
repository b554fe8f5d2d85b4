import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.workflows.files import find_images, group_of
from patchmill.workflows.metadata import join_metadata
from patchmill.workflows.recipe import Recipe, RecipeError
from patchmill.workflows.wells import loosely, same_well

PATTERN = r"(?P<plate>plate\d)/(?P<well>[A-P]\d+)_s(?P<site>\d)"
ON = ["plate", "well"]


@pytest.fixture
def plate(tmp_path):
    class Plate:
        path = tmp_path

        def images(self, *wells):
            for well in wells:
                for site in (1, 2):
                    file = tmp_path / f"{well}_s{site}.tif"
                    file.parent.mkdir(exist_ok=True)
                    file.write_bytes(b"")

        def write(self, text, name="map.csv"):
            (tmp_path / name).write_text(text, "utf-8")

        def recipe(self, images=None, split=None, **metadata):
            images = {"paths": "plate*/*.tif", "pattern": PATTERN} | (images or {})
            metadata = {"table": "map.csv", "on": ON} | metadata
            data = {"images": images, "patches": {"size": 8}, "metadata": metadata}
            return Recipe.from_dict(data | ({"split": split} if split else {}), tmp_path)

        def find(self, text, **recipe):
            self.write(text)
            return find_images(self.recipe(**recipe))

        def error(self, text, **recipe):
            with pytest.raises(RecipeError) as caught:
                self.find(text, **recipe)
            return str(caught.value)

    return Plate()


def test_columns_are_joined_to_every_image_of_a_well(plate):
    plate.images("plate1/A01", "plate2/A01")
    found = plate.find("well;dose;plate\nA01;3;plate2\nA01;1,5;plate1\nA02;9;plate1\n")
    assert found.columns == ("plate", "well", "site", "dose")
    assert [dict(image.groups)["dose"] for image in found.images] == ["1,5", "1,5", "3", "3"]
    assert [image.id for image in found.images][:2] == [
        "plate=plate1,well=A01,site=1",
        "plate=plate1,well=A01,site=2",
    ]
    assert found.unused_metadata == ("plate1, A02",)


WELLS = st.dictionaries(
    st.sampled_from([f"{row}{column:02}" for row in "AB" for column in range(1, 9)]),
    st.text("ab;,\" '1", max_size=3).map(str.strip),
    min_size=1,
)


@given(WELLS, st.data())
def test_a_join_is_a_dictionary(tmp_path_factory, wells, data):
    folder = tmp_path_factory.mktemp("join")
    lines = ['"' + well + '","' + drug.replace('"', '""') + '"' for well, drug in wells.items()]
    (folder / "map.csv").write_text("\n".join(["well,drug", *lines]), "utf-8")
    images = {"images": {"paths": "*"}, "patches": {"size": 8}}
    recipe = Recipe.from_dict(images | {"metadata": {"table": "map.csv", "on": "id"}}, folder)
    on_well = recipe.metadata.model_copy(update={"on": {"well": "id"}})
    recipe = recipe.model_copy(update={"metadata": on_well})
    used = data.draw(st.lists(st.sampled_from(sorted(wells))))
    joined = join_metadata(recipe, [{"id": well} for well in used])
    assert joined.rows == [{"id": well, "drug": wells[well]} for well in used]
    assert set(joined.unused) == set(wells) - set(used)


def test_joined_columns_serve_group_and_split(plate):
    plate.images("plate1/A01", "plate1/B01")
    text = "plate,well,patient,part\nplate1,A01,p1,train\nplate1,B01,p2,val\n"
    found = plate.find(text, images={"group": "patient"}, split={"from": "part"})
    recipe = plate.recipe(images={"group": "patient"})
    assert [group_of(image, recipe) for image in found.images] == [("p1",)] * 2 + [("p2",)] * 2
    text = plate.error(text, images={"group": "patint"}, split={"from": "parts"})
    assert '"patint" is not a column of the images, which have: plate, well, site, pat' in text
    assert 'split.from: "parts" is not a column' in text


def test_images_without_a_row_are_named(plate):
    plate.images("plate1/A01", "plate1/A02", "plate1/A03")
    text = "plate,well,dose\nplate1,A01,1\n"
    error = plate.error(text)
    assert "map.csv has no row for 4 images, of plate, well: plate1, A02; plate1, A03;" in error
    assert 'metadata.missing = "empty"' in error
    found = plate.find(text, missing="empty")
    assert [dict(image.groups)["dose"] for image in found.images] == ["1", "1"] + [""] * 4
    error = plate.error(text, missing="empty", images={"group": "dose"})
    assert '"dose" is empty for plate=plate1,well=A02,site=1, plate=plate1' in error
    error = plate.error("plate,well,dose\nplate1,A01,\n", missing="empty", images={"group": "dose"})
    assert '"dose" is empty for plate=plate1,well=A01,site=1' in error


def test_a1_is_a01_only_where_the_recipe_says_so(plate):
    plate.images("plate1/A01", "plate1/B12")
    text = "plate,well,dose\nplate1,A1,1\nplate1,b12,2\n"
    error = plate.error(text)
    assert 'The table has "A1" and the images "A01"; write them alike, or metadata.wells' in error
    found = plate.find(text, wells="well")
    assert [dict(image.groups)["dose"] for image in found.images] == ["1", "1", "2", "2"]
    assert dict(found.images[0].groups)["well"] == "A01"
    error = plate.error(text + "plate1,A001,3\n", wells="well")
    assert "two rows have the same plate, well: plate1, A1 and plate1, A001 in line 2 and" in error
    # A plate is no well, so that P1 and P01 stay two plates.
    error = plate.error(text.replace("plate1", "plate01"), wells="well")
    assert 'The table has "plate01" and the images "plate1"; write them alike' in error
    assert "metadata.wells" not in error


def test_unused_rows_are_spelled_as_in_the_table(plate):
    plate.images("plate1/A01")
    found = plate.find("plate,well\nplate1,A1\nplate1,c3\n", wells="well")
    assert found.unused_metadata == ("plate1, c3",)


def test_duplicate_and_empty_keys(plate):
    plate.images("plate1/A01")
    text = plate.error("plate,well,x\nplate1,A01,1\n\nplate1,A01,1\nplate1,,2\n")
    assert "two rows have the same plate, well: plate1, A01 in line 2 and line 4; leave" in text
    assert "plate, well must not be empty, see line 5" in text


def test_columns_that_both_have(plate):
    plate.images("plate1/A01")
    text = plate.error("plate,well,site,z,checksum,Plate\nplate1,A01,1,1,1,1\n")
    for name in ("site", "z", "checksum", "Plate"):
        assert f'the column "{name}" has the name of' in text


def test_a_table_may_call_them_otherwise(plate):
    plate.images("plate1/A01")
    text = "Barcode,Well,dose\nplate1,A01,1\n"
    error = plate.error(text)
    assert "map.csv has no column plate, well, it has Barcode, Well, dose" in error
    assert plate.error(text, on={"Barcode": "plate", "well": "well"}).endswith(
        'write on = { "Well" = "well" }'
    )
    on = {"Barcode": "plate", "Well": "well"}
    found = plate.find(text, on=on)
    assert found.columns == ("plate", "well", "site", "dose")
    recipe = plate.recipe(on=on)
    assert Recipe.from_dict(recipe.canonical(), plate.path) == recipe


def test_on_names_columns_of_the_images(plate):
    plate.images("plate1/A01")
    text = plate.error("plate,wel,x\nplate1,A01,1\n", on=["plate", "wel"])
    assert 'metadata.on: "wel" is not a column of the images, which have: plate, well' in text
    assert '"item" is one of several in a file' in text
    text = plate.error("channel,x\n1,1\n", on="channel")
    assert '"channel" tells planes of one image apart' in text


def test_by_id_without_a_pattern(plate):
    plate.images("plate1/A01")
    found = plate.find(
        "id,y0\nplate1/A01_s1.tif,5\nplate1/A01_s2.tif,6\n", images={"pattern": None}, on="id"
    )
    assert [image.groups for image in found.images] == [(("y0", "5"),), (("y0", "6"),)]


def test_with_a_manifest(plate):
    plate.images("plate1/A01")
    plate.write("image,well\nplate1/A01_s1.tif,A1\nplate1/A01_s2.tif,A1\n", "manifest.csv")
    images = {"paths": [], "pattern": None, "manifest": "manifest.csv"}
    found = plate.find("well,split\nA1,train\n", images=images, on="well")
    assert found.columns == ("well", "split")
    assert found.images[0].groups == (("well", "A1"), ("split", "train"))


def test_items_are_joined_once_they_are_known(plate):
    plate.images("plate1/A01")
    text = "image_id,label\nTrain_0,7\nTrain_1,\nTrain_2,9\n"
    on = {"image_id": "item"}
    found = plate.find(text, on=on, images={"group": "label"})
    assert found.joins_items
    assert found.columns == ("plate", "well", "site", "label")
    assert "label" not in dict(found.images[0].groups)
    recipe = plate.recipe(on=on)
    rows = [{"id": f"f#Train_{n}", "item": f"Train_{n}", "site": "1"} for n in (2, 0)]
    joined = join_metadata(recipe, rows)
    assert joined.columns == ("label",)
    assert joined.rows == [rows[0] | {"label": "9"}, rows[1] | {"label": "7"}]
    assert joined.unused == ("Train_1",)
    with pytest.raises(RecipeError, match="the images have no column item"):
        join_metadata(recipe, [{"id": "a"}])
    with pytest.raises(RecipeError, match=r"has no row for 1 images, of item: \(empty\)"):
        join_metadata(recipe, [{"id": "a"}, rows[0]])
    rows.append({"id": "f#Train_1", "item": "Train_1", "site": "1"})
    with pytest.raises(RecipeError, match='"label" is empty for f#Train_1'):
        join_metadata(plate.recipe(on=on, images={"group": "label"}), rows)


def test_a_split_column_must_say_the_split(plate):
    plate.images("plate1/A01")
    text = "plate,well,split\nplate1,A01,train\n"
    assert 'the column "split" does not say the split' in plate.error(text)
    assert plate.find(text, split={"from": "split"}).columns[-1] == "split"


def test_a_parquet_table(plate):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    plate.images("plate1/A01")
    table = {"plate": ["plate1"], "well": ["A01"], "dose": [0.5]}
    parquet.write_table(pyarrow.table(table), plate.path / "map.parquet")
    found = find_images(plate.recipe(table="map.parquet"))
    assert dict(found.images[0].groups)["dose"] == "0.5"


def test_no_table_there(plate):
    plate.images("plate1/A01")
    with pytest.raises(RecipeError, match=r"metadata.table: .*map.csv is not there"):
        find_images(plate.recipe())


@pytest.mark.parametrize("text", ["A0", "A100", "ABC1", "1A", "A", "", "A1 "])
def test_what_is_no_well(text):
    assert same_well(text) == text


@given(st.sampled_from("AbP"), st.integers(1, 48), st.integers(0, 2))
def test_spellings_of_a_well(row, column, zeros):
    well = f"{row}{'0' * zeros}{column}"
    assert same_well(well) == f"{row.upper()}{column:02}"
    assert loosely(well) == loosely(same_well(well))

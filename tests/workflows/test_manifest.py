import csv
import sys

import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader import open_store
from patchmill.workflows.files import find_images, group_of, settled
from patchmill.workflows.recipe import Recipe, RecipeError
from patchmill.workflows.text_table import delimiter_of, read_table


@pytest.fixture
def folder(tmp_path):
    class Folder:
        path = tmp_path

        def touch(self, *names):
            for name in names:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(b"")

        def write(self, text, name="manifest.csv", encoding="utf-8"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text.encode(encoding))

        def recipe(self, split=None, metadata=None, **images):
            images = {"manifest": "manifest.csv"} | images
            data = {"images": images, "patches": {"size": 8}, "split": split, "metadata": metadata}
            return Recipe.from_dict({k: v for k, v in data.items() if v is not None}, tmp_path)

        def find(self, text, **images):
            self.write(text)
            return find_images(self.recipe(**images))

        def error(self, text, **images):
            with pytest.raises(RecipeError) as caught:
                self.find(text, **images)
            return str(caught.value)

    return Folder()


def test_each_row_is_an_image_with_its_columns(folder):
    folder.touch("a10.tif", "b/a2.tif", "a2.tif")
    found = folder.find("image,dose,mask\na10.tif,1.5,m10.png\na2.tif,,m2.png\nb/a2.tif,3,\n")
    assert [image.id for image in found.images] == ["a2.tif", "a10.tif", "b/a2.tif"]
    assert found.columns == ("dose", "mask")
    assert found.images[0].groups == (("dose", ""), ("mask", "m2.png"))
    assert found.images[0].files[0].path == str(folder.path / "a2.tif")
    assert (found.channels, found.images[0].mpp) == (None, None)


def test_paths_are_relative_to_the_manifest_and_ids_to_the_recipe(folder):
    folder.touch("lists/a.tif", "data/b.tif")
    folder.write(f"image\na.tif\n../data/b.tif\n{folder.path}/data/../c.tif\n", "lists/m.csv")
    folder.touch("c.tif")
    found = find_images(folder.recipe(manifest="lists/m.csv"))
    assert [image.id for image in found.images] == ["c.tif", "data/b.tif", "lists/a.tif"]
    assert [image.files[0].path for image in found.images] == [
        str(folder.path / image.id) for image in found.images
    ]


def test_a_url_stays_one(folder):
    url = "s3://bucket/plate 1//a.tif"
    (image,) = folder.find(f"image\n{url}\n").images
    assert (image.id, image.files[0].path, image.files[0].relative) == (url, url, url)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_write(folder, delimiter, begin, end):
    folder.touch("ä, b.tif", "c.tif")
    lines = [
        ["image", '"say ""x"""', " dose ", "", ""],
        ['"ä, b.tif"', '"1\n2"', " 3 ", "", ""],
        ["", "", "", "", ""],
        ["c.tif", '"a;b\tc,d"', "", "", ""],
    ]
    text = begin + end.join(delimiter.join(line) for line in lines)
    found = folder.find(text + end)
    assert [image.id for image in found.images] == ["c.tif", "ä, b.tif"]
    assert found.images[0].groups == (('say "x"', "a;b\tc,d"), ("dose", ""))
    assert found.images[1].groups == (('say "x"', "1\n2"), ("dose", "3"))


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1), st.sampled_from(",;\t"))
def test_a_csv_comes_back_as_the_csv_module_writes_it(tmp_path_factory, rows, delimiter):
    rows = [row for row in rows if any(row)]
    if not rows:
        return
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("image", "b", "c"), *rows])
    table = read_table(path, "key")
    assert table.names == ("image", "b", "c")
    assert table.rows == rows


def test_the_delimiter_is_that_of_the_header():
    assert delimiter_of("image;a\nx,y,z,w;1\n") == ";"
    assert delimiter_of('"a,b,c";d\n') == ";"
    assert delimiter_of("image\na;b\n") == ","
    assert delimiter_of("") == ","


def test_channels_and_depths_join_by_id(folder):
    folder.touch(*(f"{n}.tif" for n in range(8)))
    rows = [f"{n}.tif,{'ab'[n // 4]},w{n % 2 + 1},{n // 2 % 2 * 10},x" for n in range(8)]
    found = folder.find("\n".join(["image,id,channel,z,dose", *reversed(rows)]))
    assert [image.id for image in found.images] == ["a", "b"]
    assert found.channels == ("w1", "w2")
    assert found.columns == ("dose",)
    files = [(f.relative, f.channel, f.z, f.t) for f in found.images[0].files]
    assert files == [
        ("0.tif", "w1", "0", None),
        ("2.tif", "w1", "10", None),
        ("1.tif", "w2", "0", None),
        ("3.tif", "w2", "10", None),
    ]


def test_an_id_alone_names_the_images(folder):
    folder.touch("a.tif", "b.tif")
    found = folder.find("image,id\nb.tif,first\na.tif,second\n")
    assert [(image.id, image.files[0].relative) for image in found.images] == [
        ("first", "b.tif"),
        ("second", "a.tif"),
    ]
    text = folder.error("image,id\nb.tif,one\na.tif,one\n")
    assert "b.tif and a.tif are both image one" in text


def test_planes_need_an_id(folder):
    folder.touch("a.tif", "b.tif")
    text = folder.error("image,channel,t\na.tif,1,1\nb.tif,2,1\n")
    assert "rows with channel, t are parts of an image; add a column id" in text


def test_rows_of_one_image_say_the_same(folder):
    folder.touch("a.tif", "b.tif")
    text = folder.error("image,id,channel,dose\na.tif,x,1,3\nb.tif,x,2,4\n")
    assert 'image x has dose "3" in line 2 and "4" in line 3' in text


def test_missing_planes_and_channels_are_found_out(folder):
    folder.touch("a.tif", "b.tif", "c.tif")
    rows = "image,id,channel\na.tif,x,1\nb.tif,x,2\nc.tif,y,1\n"
    assert "y lacks channel 2 (has 1)" in folder.error(rows)
    found = folder.find(rows, missing_channel="skip")
    assert [image.id for image in found.images] == ["x"]
    rows = "image,id,z,t\na.tif,x,1,1\nb.tif,x,2,1\nc.tif,x,1,2\n"
    assert "x lacks z 2, t 2" in folder.error(rows)


def test_the_pattern_adds_columns_and_channels(folder):
    folder.touch("p1/A_w1.tif", "p1/A_w2.tif", "p2/A_w1.tif", "p2/A_w2.tif")
    rows = ["image,dose", *(f"p{p}/A_w{w}.tif,{p}" for p in (1, 2) for w in (1, 2))]
    text = "\n".join(rows)
    found = folder.find(text, pattern=r"(?P<plate>p\d)/(?P<well>.)_w(?P<channel>\d)")
    assert [image.id for image in found.images] == ["plate=p1,well=A", "plate=p2,well=A"]
    assert found.images[1].groups == (("dose", "2"), ("plate", "p2"), ("well", "A"))
    assert found.channels == ("1", "2")
    alone = folder.find(text, pattern=r"(?P<plate>p\d)/")
    assert [image.id for image in alone.images] == [row.split(",")[0] for row in rows[1:]]
    assert alone.columns == ("dose", "plate")
    both = folder.error(text, pattern=r"(?P<dose>p\d)/")
    assert "images.pattern: the manifest has a column dose too" in both
    assert "not found in 4 of 4 files" in folder.error(text, pattern="(?P<q>q)")


def test_group_and_split_mean_what_they_say(folder):
    folder.touch("a.tif", "b.tif")
    folder.write("image,group,split\na.tif,x,train\nb.tif,y,val\n")
    recipe = folder.recipe()
    found = find_images(recipe)
    meant = settled(recipe, found.columns)
    assert meant.images.group == ("group",)
    assert meant.split.source == "split"
    assert meant.folder == recipe.folder
    assert [group_of(image, meant) for image in found.images] == [("x",), ("y",)]
    assert Recipe.from_dict(meant.canonical(), folder.path) == meant
    own = folder.recipe(split={"from": "split"}, group="split2")
    assert settled(own, found.columns) is own
    pattern = Recipe.from_dict({"images": {"paths": "*"}, "patches": {"size": 8}})
    assert settled(pattern, ("group", "split")) is pattern


def test_the_recipe_is_checked_against_the_columns(folder):
    folder.touch("a.tif")
    text = folder.error(
        "image,dose,split\na.tif,1,train\n",
        group=["dos", "z"],
        split={"fractions": {"train": 1.0}, "stratify": "wel"},
    )
    assert '"dos" is not a column of the images, which have: dose, split' in text
    assert '"z" tells planes of one image apart' in text
    assert 'split.stratify: "wel" is not a column' in text
    assert 'the column "split" does not say the split; write split.from = "split"' in text
    text = folder.error("image,dose\na.tif,1\n", split={"from": "subset"})
    assert 'split.from: "subset" is not a column of the images, which have: dose; nor' in text
    text = folder.error(
        "image,split\na.tif,x\n", split={"from": "split", "fractions": {"train": 1.0}}
    )
    assert "says every split; leave out fractions" in text
    text = folder.error(
        "image,group\na.tif,x\n", split={"fractions": {"train": 1.0}, "blocks_px": 8}
    )
    assert 'images.group = ["group"] together' in text


@pytest.mark.parametrize("name", ["group", "split", "channel", "z", "id"])
def test_what_is_needed_is_not_empty(folder, name):
    folder.touch("a.tif", "b.tif")
    header = f"image,{name}" + ("" if name == "id" else ",id")
    text = folder.error(f"{header}\na.tif,,u\nb.tif,,v\n" if name != "id" else "image,id\na.tif,\n")
    assert f'the column "{name}" is empty in line 2' in text


def test_mpp_is_a_number_above_zero(folder):
    folder.touch(*"abcdefg")
    found = folder.find("image,mpp\na,0.325\nb,\nc,1e-1\n")
    assert [image.mpp for image in found.images] == [0.325, None, 0.1]
    assert found.images[0].groups == (("mpp", "0.325"),)
    text = folder.error('image,mpp\na,0\nb,-1\nc,"0,5"\nd,nan\ne,inf\nf,1_0\ng,1\n')
    assert "6 rows: mpp is no number above 0" in text
    assert '"0" (line 2), "-1" (line 3), "0,5" (line 4), "nan" (line 5), "inf" (line 6)' in text


def test_all_that_is_wrong_is_listed_at_once(folder):
    folder.touch("a.tif", "b.tif", "sub/c.tif")
    text = folder.error(
        "image,mpp\na.tif,x\n./a.tif,1\n,1\nsub,1\n" + "".join(f"no{n}.tif,1\n" for n in range(7))
    )
    lines = text.splitlines()
    assert lines[0].endswith("manifest.csv has 5 problems:")
    assert "1 rows: image is empty: line 4;" in text
    assert "7 rows: not there: no0.tif (line 6), no1.tif (line 7)" in text
    assert "and 2 more" in text
    assert "folders, and no zarr images: sub (line 5)" in text
    assert "listed twice: ./a.tif in line 2 and line 3" in text
    assert 'mpp is no number above 0: "x" (line 2)' in text


def test_wildcards_in_a_manifest_are_part_of_a_name(folder):
    folder.touch("a1.tif", "a[1].tif")
    assert [image.id for image in folder.find("image\na[1].tif\n").images] == ["a[1].tif"]
    assert "not there: *.tif (line 2)" in folder.error("image\n*.tif\n")
    assert "write forward slashes" in folder.error("image\nsub\\a.tif\n")


def test_exclude_applies_before_anything_is_looked_for(folder):
    folder.touch("a.tif", "b_thumb.tif")
    found = folder.find("image\na.tif\nb_thumb.tif\nx/gone_thumb.tif\n", exclude="*_thumb*")
    assert [image.id for image in found.images] == ["a.tif"]
    text = folder.error("image\na.tif\nb_thumb.tif\n", exclude="*")
    assert 'images.exclude: ["*"] leaves none of the 2 files' in text


@pytest.mark.parametrize("marker", ["zarr.json", ".zattrs", ".zgroup", ".zarray"])
def test_a_zarr_folder_is_a_file(folder, marker):
    folder.touch(f"a.zarr/{marker}")
    assert [image.id for image in folder.find("image\na.zarr/\n").images] == ["a.zarr"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("image,a\n", "has the columns image, a and no rows"),
        ("file,a\nx,1\n", "has the columns file, a and needs one called image"),
        ("image,a\na.tif,1,2\nb.tif\n", "the header has 2 columns, line 2 has 3, line 3 has 1"),
        ("image,a,a\na.tif,1,1\n", "a stands twice in the header"),
        ("image,,a\na.tif,1,1\n", "column 2 has no name"),
        ("image,shape\na.tif,1\n", '"shape" has the name of another column of images/'),
        ("image,Shape\na.tif,1\n", '"Shape" has the name of another column of images/'),
        ("image,Split\na.tif,1\n", '"Split" has the name of another column of images/'),
        ("image,dose,Dose\na.tif,1,2\n", '"Dose" has the name of the column "dose"'),
        ("image,a/b\na.tif,1\n", '"a/b" has a "/" in it'),
        ("image,.a\na.tif,1\n", "starts with a dot"),
        ("image,__a\na.tif,1\n", "zarr keeps for itself"),
        ("image,zarr.json\na.tif,1\n", "zarr keeps for itself"),
        ('image,a\nb,1\na.tif,"x\ny\n', "what begins in line 3 cannot be taken apart"),
        ("image\na\0.tif\n", "is not UTF-8 text, see line 2"),
    ],
)
def test_what_is_no_manifest(folder, text, expected):
    found = folder.error(text)
    assert expected in found
    assert found.startswith(f"images.manifest: {folder.path / 'manifest.csv'}")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding(folder, encoding):
    folder.write("image\nb.tif\nä.tif\n", encoding=encoding)
    with pytest.raises(RecipeError, match=r"is not UTF-8 text, see line [13]; save it as"):
        find_images(folder.recipe())


def test_no_file_there(folder):
    with pytest.raises(RecipeError, match=r"manifest.csv is not there"):
        find_images(folder.recipe())
    (folder.path / "manifest.csv").mkdir()
    with pytest.raises(RecipeError, match=r"manifest.csv is not a regular file"):
        find_images(folder.recipe())


def test_parquet_says_the_same_as_csv(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder.touch("a.tif", "b.tif")
    columns = {
        "image": ["b.tif", "a.tif"],
        "dose": [1.5, float("nan")],
        "site": [10, None],
        "group": pyarrow.array(["x", "y"]).dictionary_encode(),
        "live": [True, False],
        "__index_level_0__": [3, 4],
    }
    parquet.write_table(pyarrow.table(columns), folder.path / "m.parquet")
    found = find_images(folder.recipe(manifest="m.parquet"))
    same = folder.find("image,dose,site,group,live\nb.tif,1.5,10,x,True\na.tif,,,y,False\n")
    assert found == same
    parquet.write_table(pyarrow.table({"image": ["gone.tif"]}), folder.path / "m.parquet")
    with pytest.raises(RecipeError, match=r"not there: gone.tif \(row 1\)"):
        find_images(folder.recipe(manifest="m.parquet"))
    table = pyarrow.table({"image": ["a.tif"], "x": [[1, 2]]})
    parquet.write_table(table, folder.path / "m.parquet")
    with pytest.raises(RecipeError, match='the column "x" holds list'):
        find_images(folder.recipe(manifest="m.parquet"))
    folder.write("image\na.tif\n", "m.parquet")
    with pytest.raises(RecipeError, match="cannot be read as parquet"):
        find_images(folder.recipe(manifest="m.parquet"))


def test_parquet_without_pyarrow(folder, monkeypatch):
    folder.write("x", "m.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecipeError, match=r"needs pyarrow; run pip install 'patchmill\[tables\]'"):
        find_images(folder.recipe(manifest="m.parquet"))


def test_columns_and_splits_arrive_in_the_store(folder, cut, noise, tmp_path):
    rows = ["image;id;channel;well;mpp;split;mask"]
    for number, well in enumerate(["A01", "A02", "B01"]):
        pixels = noise(1, 2, 1, 32, 32, seed=number)
        for channel in range(2):
            name = f"{number}{channel}.tif"
            tifffile.imwrite(tmp_path / name, pixels[0, channel, 0])
            split = "val" if well == "B01" else "train"
            rows.append(f"{name};{well}x;w{channel};{well};0.5;{split};{well}.png")
    folder.write("\n".join(rows))
    folder.write("Well,drug\nA1,none\nA2,dmso\nB1,dmso\n", "map.csv")
    cut(
        {
            "images": {"manifest": "manifest.csv"},
            "patches": {"size": 16},
            "metadata": {"table": "map.csv", "on": {"Well": "well"}, "wells": "well"},
        }
    )
    store = open_store(tmp_path / "s.zarr")
    assert store.channels == ("w0", "w1")
    assert {name: len(store.select(split=name)) for name in store.splits} == {"train": 8, "val": 4}
    (number,) = {*store.select(split="val").column("image").tolist()}
    columns = {name: store.images[name].tolist() for name in ("id", "well", "mask", "drug", "mpp")}
    assert {name: values[number] for name, values in columns.items()} == {
        "id": "B01x",
        "well": "B01",
        "mask": "B01.png",
        "drug": "dmso",
        "mpp": "0.5",
    }
    assert store.images["voxel_um"][number].tolist()[1:] == [0.5, 0.5]
    assert len(store.select(where='drug == "dmso"')) == 8

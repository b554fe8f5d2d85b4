"""`verify` finds whatever is not what was written, and says which shard and patch it is."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import verify
from patchmill.workflows.cli import cli


@pytest.fixture(scope="module")
def original(client, tmp_path_factory, noise):
    """A store of two images and 24 patches in five shards, not to be changed."""
    import tifffile

    from patchmill.workflows import Recipe, prepare

    folder = tmp_path_factory.mktemp("original")
    for number, name in enumerate(("train_a", "val_b")):
        tifffile.imwrite(folder / f"{name}.tif", noise(48, 64, seed=number))
    tables = {
        "images": {"paths": "*.tif", "pattern": "(?P<set>train|val)_"},
        "patches": {"size": 16},
        "split": {"from": "set"},
        "store": {"shard_bytes": 2560},
    }
    return prepare(Recipe.from_dict(tables, folder), folder / "s.zarr", client=client).store


@pytest.fixture
def store(original, tmp_path):
    return shutil.copytree(original, tmp_path / "s.zarr")


@pytest.fixture(scope="module")
def annotated_original(client, tmp_path_factory, annotated):
    """A store with masks, label maps and classes, not to be changed."""
    from patchmill.workflows import Recipe, prepare

    folder = tmp_path_factory.mktemp("annotated")
    recipe = Recipe.from_dict(annotated(folder, wells="ABCD"), folder)
    return prepare(recipe, folder / "s.zarr", client=client).store


@pytest.fixture
def annotated_store(annotated_original, tmp_path):
    return shutil.copytree(annotated_original, tmp_path / "s.zarr")


def flip(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def damage_of(store) -> str:
    """What `patchmill verify` says of a damaged store, on the command line as from Python."""
    done = CliRunner().invoke(cli, ["verify", str(store)])
    assert done.exit_code == 1, done.output
    assert not isinstance(done.exception, AssertionError | KeyError | ValueError)
    try:
        found = verify(store)
    except PatchmillError as error:
        text = str(error)
    else:
        assert found.damage
        text = "\n".join(found.damage)
    assert text in done.output
    return text


def test_an_intact_store(store):
    assert verify(store).patches == 24
    assert verify(store).damage == ()
    done = CliRunner().invoke(cli, ["verify", str(store)])
    assert (done.exit_code, done.output) == (0, f"{store}: 24 patches are what was written\n")


def test_a_flipped_byte_in_a_chunk_names_shard_and_patch(store):
    shard = store / "image/c.2.0.0.0"
    flip(shard, 700)  # the second of its chunks, which are hardly smaller than 512 bytes
    text = damage_of(store)
    assert "c.2.0.0.0" in text
    assert "patch 11" in text
    assert len(text.splitlines()) == 1


def test_a_flipped_byte_in_the_index_of_a_shard(store):
    shard = store / "image/c.1.0.0.0"
    flip(shard, shard.stat().st_size - 20)
    text = damage_of(store)
    assert "c.1.0.0.0" in text
    assert "c.2.0.0.0" not in text


def test_a_missing_shard(store):
    (store / "image/c.3.0.0.0").unlink()
    text = damage_of(store)
    assert "c.3.0.0.0" in text
    assert "patch 15" in text


def test_a_shard_in_the_place_of_another(store):
    """Its checksums are right, and it is not what was written."""
    shutil.copy(store / "image/c.0.0.0.0", store / "image/c.1.0.0.0")
    text = damage_of(store)
    assert "patch 5 " in text


def test_a_patch_that_is_written_anew(store):
    """With zarr, so that every checksum is right."""
    image = zarr.open_group(store, mode="r+")["image"]
    image[7] = image[7] + np.uint16(1)
    assert "patch 7 " in damage_of(store)


@pytest.mark.parametrize("group", ["index", "images", "candidates", "statistics"])
def test_a_flipped_byte_in_any_column(store, group):
    for chunk in sorted((store / group).rglob("c/*")):
        if chunk.is_file():
            original = chunk.read_bytes()
            flip(chunk, len(original) // 2)
            name = chunk.relative_to(store).parts[1]
            assert f"{group}/{name}" in damage_of(store)
            chunk.write_bytes(original)
    assert verify(store).damage == ()


@pytest.mark.parametrize("column", ["index/valid", "index/level", "images/id", "candidates/kept"])
def test_a_missing_column_chunk(store, column):
    chunk = store / column / "c/0"
    chunk.unlink()
    assert column in damage_of(store)


@pytest.mark.parametrize("column", ["index/y", "images/reason", "candidates/reason"])
def test_a_missing_column(store, column):
    shutil.rmtree(store / column)
    assert column in damage_of(store)


@pytest.mark.parametrize(
    ("column", "row"),
    [("index/mean_c0", 3), ("index/min_c0", 9), ("index/split", 1)],
)
def test_a_column_that_is_written_anew(store, column, row):
    array = zarr.open_group(store, mode="r+")[column]
    array[row] = array[row] + 1
    assert column.split("/")[1] in damage_of(store) or f"patch {row} " in damage_of(store)


@pytest.mark.parametrize("name", ["image", "index", "index/y", "images/id", "candidates"])
def test_a_flipped_byte_in_any_metadata(store, name):
    path = store / name / "zarr.json"
    original = path.read_bytes()
    rng = random.Random(5)
    for at in [rng.randrange(len(original)) for _ in range(4)]:
        flip(path, at)
        assert name in damage_of(store), at
        path.write_bytes(original)


def test_a_flipped_byte_in_the_metadata_of_the_root(store):
    """Whatever it hits: keys, braces, numbers, digests."""
    path = store / "zarr.json"
    original = path.read_bytes()
    own = original.index(b'"patchmill"')
    rng = random.Random(7)
    keys = [original.index(key, own) + 2 for key in (b'"sha256"', b'"statistics"', b'"void"')]
    for at in keys + [rng.randrange(len(original)) for _ in range(40)]:
        flip(path, at)
        assert str(store) in damage_of(store), at
        path.write_bytes(original)


@pytest.mark.parametrize(
    "name",
    ["image/c.99.0.0.0", "image/c.0.0.0.0~", "junk.txt", "index/y/c/1", "images/more/zarr.json"],
)
def test_a_file_that_does_not_belong(store, name):
    path = store / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    assert str(path) in damage_of(store)


def test_a_chunk_behind_the_end_of_a_shard(store):
    shard = store / "image/c.0.0.0.0"
    shard.write_bytes(shard.read_bytes() + b"\0" * 8)
    assert "c.0.0.0.0" in damage_of(store)


FIELDS = ["masks/cells", "masks/bright", "labels/nuclei"]


def test_an_intact_store_with_masks(annotated_store):
    assert verify(annotated_store).damage == ()
    assert verify(annotated_store).patches == len(open_store(annotated_store))


@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_byte_in_a_mask(annotated_store, field):
    shard = annotated_store / field / "c.2.0.0"
    original = shard.read_bytes()
    rows = open_store(annotated_store).fields[field].rows_per_shard
    for at in (0, 40, len(original) - 20):
        flip(shard, at)
        text = damage_of(annotated_store)
        assert f"{field}/c.2.0.0" in text
        if at < 40:
            assert f"patch {2 * rows}" in text
        shard.write_bytes(original)


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_shard_of_a_mask(annotated_store, field):
    (annotated_store / field / "c.1.0.0").unlink()
    text = damage_of(annotated_store)
    assert f"{field}/c.1.0.0" in text
    assert "c.1.0.0.0" not in text  # the image's is there


@pytest.mark.parametrize("field", FIELDS)
def test_a_mask_that_is_written_anew(annotated_store, field):
    """With zarr, so that every checksum is right: what columns say of it is wrong then."""
    array = zarr.open_group(annotated_store, mode="r+")[field]
    mask = array[7]
    middle = mask[10, 10]
    mask[10, 10] = 1 - min(middle, 1) if field.startswith("masks") else 77_777
    assert mask.any()  # zarr would leave it out
    array[7] = mask
    text = damage_of(annotated_store)
    assert "patch 7 is not what was written" in text
    kind, _, name = field.partition("/")
    assert f"index/{'fraction' if kind == 'masks' else 'objects'}_{name}" in text


@pytest.mark.parametrize("array", ["value", "count"])
def test_statistics_that_are_damaged(annotated_store, array):
    chunks = [p for p in (annotated_store / "statistics" / array / "c").rglob("*") if p.is_file()]
    original = chunks[0].read_bytes()
    flip(chunks[0], len(original) // 2)
    assert f"statistics/{array}" in damage_of(annotated_store)
    chunks[0].unlink()
    assert f"statistics/{array}" in damage_of(annotated_store)
    chunks[0].write_bytes(original)
    assert verify(annotated_store).damage == ()
    written = zarr.open_group(annotated_store, mode="r+")["statistics"][array]
    flat = written[...]
    flat.reshape(-1)[3] += 1
    written[...] = flat
    assert "statistics/count: the histograms" in damage_of(annotated_store)


@pytest.mark.parametrize(
    "column", ["fraction_cells_live", "fraction_bright_cell", "objects_nuclei", "kind", "count_c0"]
)
def test_columns_of_classes_that_are_damaged(annotated_store, column):
    (chunk,) = (annotated_store / "index" / column / "c").iterdir()
    original = chunk.read_bytes()
    flip(chunk, len(original) // 2)
    assert f"index/{column}" in damage_of(annotated_store)
    chunk.write_bytes(original)
    array = zarr.open_group(annotated_store, mode="r+")["index"][column]
    array[4] = array[4] + 1
    text = damage_of(annotated_store)
    assert f"index/{column}: patch 4 is not what was written" in text


def test_an_incomplete_store_and_no_store(store, tmp_path):
    path = store / "zarr.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(FileNotFoundError, match="not complete"):
        verify(store)
    done = CliRunner().invoke(cli, ["verify", str(tmp_path / "absent")])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1

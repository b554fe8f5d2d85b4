"""The store's arrays as zarr writes them: metadata of format 1, and nothing left out.

Fields are written by us, chunk by chunk; zarr-python and tensorstore must read the same pixels.
"""

import json

import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr

from patchmill.reader.format import INDEX_CODECS, KEY_SEPARATOR, field_codecs, shard_name
from patchmill.tasks.cut import ShardSpec, cut_shard
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.patches import PatchSpec
from patchmill.tasks.resolution import as_level
from patchmill.tasks.shard import ShardFile, encode_chunk, write_shard
from patchmill.tasks.source import ImageKind, ImageSource
from patchmill.tasks.survey import describe
from patchmill.workflows.columns import (
    CHUNK_ROWS,
    add_column,
    add_field,
    every_chunk_written,
    write_column,
    write_texts,
)

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
CODECS = [("lz4", 5), ("lz4", 0), ("zstd", 3), ("zstd", 9), ("none", 0)]


def make_spec(dtype, codec="lz4", level=5, rows_per_shard=4, channels=2, size=(6, 5)):
    size = (1, *size)
    return PatchSpec(channels, size, np.dtype(dtype), "reflect", codec, level, rows_per_shard)


@pytest.fixture
def group(tmp_path):
    with every_chunk_written():
        yield zarr.create_group(tmp_path / "s.zarr")


def metadata(tmp_path, name):
    return json.loads((tmp_path / "s.zarr" / name / "zarr.json").read_text())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("codec", "level"), CODECS)
def test_the_metadata_of_a_field(tmp_path, group, codec, level, dtype):
    spec = make_spec(dtype, codec, level)
    add_field(group, "image", 10, spec, spec.shape, spec.dtype, ("c", "y", "x"))
    found = metadata(tmp_path, "image")
    assert found["zarr_format"] == 3
    assert found["shape"] == [10, 2, 6, 5]
    assert found["data_type"] == dtype
    assert found["fill_value"] == 0
    assert found["dimension_names"] == ["patch", "c", "y", "x"]
    assert found["chunk_grid"] == {
        "name": "regular",
        "configuration": {"chunk_shape": [4, 2, 6, 5]},
    }
    assert found["chunk_key_encoding"] == {
        "name": "default",
        "configuration": {"separator": KEY_SEPARATOR},
    }
    (sharding,) = found["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"] == {
        "chunk_shape": [1, 2, 6, 5],
        "codecs": field_codecs(np.dtype(dtype), codec, level),
        "index_codecs": INDEX_CODECS,
        "index_location": "end",
    }


def open_tensorstore(path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return ts.open(spec, read=True).result().read().result()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("codec", "level"), CODECS)
def test_a_shard_of_ours_is_read_by_others(tmp_path, group, codec, level, dtype):
    rng = np.random.default_rng(0)
    spec = make_spec(dtype, codec, level)
    pixels = rng.poisson(60, (10, 2, 6, 5)).astype(dtype)
    pixels[3] = 0
    add_field(group, "image", 10, spec, spec.shape, spec.dtype, ("c", "y", "x"))
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    for shard in range(3):
        rows = pixels[shard * 4 : shard * 4 + 4]
        path = tmp_path / "s.zarr" / "image" / shard_name(shard, 4)
        write_shard(path, tmp, (encode_chunk(row, codec, level) for row in rows), 4)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "s.zarr" / "image")[:], pixels)
    np.testing.assert_array_equal(open_tensorstore(tmp_path / "s.zarr" / "image"), pixels)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_zarr_writes_the_same_shard(tmp_path, group, codec):
    """The bytes themselves: our chunks are those that zarr-python makes of the metadata."""
    spec = make_spec("uint16", codec, 5)
    pixels = np.random.default_rng(0).poisson(60, (4, 2, 6, 5)).astype("uint16")
    add_field(group, "image", 4, spec, spec.shape, spec.dtype, ("c", "y", "x"))
    group["image"][:] = pixels
    path = tmp_path / "s.zarr" / "image" / shard_name(0, 4)
    theirs = path.read_bytes()
    (tmp_path / "tmp").mkdir()
    write_shard(path, tmp_path / "tmp", (encode_chunk(row, codec, 5) for row in pixels), 4)
    assert path.read_bytes() == theirs


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_field_that_was_cut(tmp_path, group, dtype):
    """From a big-endian TIFF to the two libraries: rows of two shards, one row void."""
    pixels = np.random.default_rng(0).poisson(90, (2, 20, 22)).astype(dtype)
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "byteorder": ">"}
    tifffile.imwrite(path, pixels, compression="zlib", **options)
    info = describe(str(path), ImageOptions())
    planes = np.zeros((1, 2, 1, 4), np.int32)
    planes[0, 1, 0, 2] = 1
    kind = ImageKind(planes, as_level([(1, 20, 22)], 0), info.levels[0].segment, np.dtype(dtype))
    source = ImageSource("i", (str(path),), (info.identity,), ((),), 0, kind)
    spec = make_spec(dtype)
    add_field(group, "image", 6, spec, spec.shape, spec.dtype, ("c", "y", "x"))
    (tmp_path / "tmp").mkdir()
    y, x = np.array([0, 6, 12, 18, 3, 0]), np.array([0, 5, 10, 20, 17, 1])
    of = np.array([0, 0, 0, 0, 0, 1], np.int32)
    for shard, rows in ((0, slice(0, 4)), (1, slice(4, 6))):
        zeros = np.zeros(len(of[rows]), np.int32)
        out = str(tmp_path / "s.zarr" / "image" / shard_name(shard, 4))
        corners = np.stack([zeros, zeros, y[rows], x[rows]], axis=1)
        images, sources, void = (0, 1), (source, source), frozenset([1])
        tmp, options = str(tmp_path / "tmp"), ImageOptions()
        rows_of = (of[rows], corners, np.zeros(len(of[rows]), np.uint8), void)
        target = ShardFile(out, tmp)
        cut_shard(ShardSpec(shard, (target,), spec, (), options, images, sources, *rows_of))
    padded = np.pad(pixels, ((0, 0), (0, 6), (0, 5)), mode="reflect")
    expected = np.stack(
        [padded[:, a : a + 6, b : b + 5] for a, b in zip(y.tolist(), x.tolist(), strict=True)]
    )
    expected[5] = 0  # to others a void row is fill
    for found in (
        zarr.open_array(tmp_path / "s.zarr" / "image")[:],
        open_tensorstore(tmp_path / "s.zarr" / "image"),
    ):
        np.testing.assert_array_equal(found, expected)


def chunk_files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float32", "float64", "uint16"]
)
def test_columns_of_zeros_have_all_their_chunks(tmp_path, group, dtype):
    """zarr leaves out what is all fill value: for a reader of ours that is damage."""
    n = 2 * CHUNK_ROWS + 5
    write_column(group, "zeros", np.zeros(n, dtype), ["patch"], {"names": ["a"]})
    folder = tmp_path / "s.zarr" / "zeros"
    assert chunk_files(folder) == ["c/0", "c/1", "c/2", "zarr.json"]
    assert metadata(tmp_path, "zeros")["attributes"] == {"names": ["a"]}
    assert not zarr.open_array(folder)[:].any()
    assert not open_tensorstore(folder).any()


def test_columns_of_columns_have_all_their_chunks(tmp_path, group):
    write_column(group, "shape", np.zeros((7, 5), "int64"), ["image", "axis"])
    assert chunk_files(tmp_path / "s.zarr" / "shape") == ["c/0/0", "zarr.json"]


@pytest.mark.parametrize("values", [[True, False] * 9, np.arange(9) - 4, np.linspace(0, 1, 7)])
def test_columns_are_read_by_others(tmp_path, group, values):
    values = np.asarray(values)
    write_column(group, "column", values, ["patch"])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "s.zarr" / "column")[:], values)
    np.testing.assert_array_equal(open_tensorstore(tmp_path / "s.zarr" / "column"), values)
    found = metadata(tmp_path, "column")
    assert found["dimension_names"] == ["patch"]
    assert [codec["name"] for codec in found["codecs"]] == ["bytes", "blosc", "crc32c"]


def test_a_flipped_bit_in_a_column_is_noticed(tmp_path, group):
    write_column(group, "column", np.arange(1000), ["patch"])
    path = tmp_path / "s.zarr" / "column" / "c" / "0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(tmp_path / "s.zarr" / "column")[:]


def test_empty_columns(tmp_path, group):
    write_column(group, "column", np.zeros(0, "int32"), ["patch"])
    write_texts(group, "texts", [], "image")
    assert zarr.open_array(tmp_path / "s.zarr" / "column").shape == (0,)
    assert zarr.open_array(tmp_path / "s.zarr" / "texts").shape == (0,)


def test_a_column_that_is_written_in_parts(tmp_path, group):
    column = add_column(group, "column", np.dtype("int64"), (CHUNK_ROWS + 3,), ["patch"])
    for start in range(0, CHUNK_ROWS + 3, 20_000):
        stop = min(start + 20_000, CHUNK_ROWS + 3)
        column[start:stop] = np.arange(start, stop)
    found = zarr.open_array(tmp_path / "s.zarr" / "column")[:]
    np.testing.assert_array_equal(found, np.arange(CHUNK_ROWS + 3))


@pytest.mark.parametrize("texts", [["", ""], ["a/b.tif", "µ-plate/Wellä 1.tif", "", "長い名前"]])
def test_texts(tmp_path, group, texts):
    write_texts(group, "texts", texts, "image")
    folder = tmp_path / "s.zarr" / "texts"
    assert zarr.open_array(folder)[:].tolist() == texts
    assert chunk_files(folder) == ["c/0", "zarr.json"]
    assert metadata(tmp_path, "texts")["data_type"] == "string"


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path, group):
    """File names are bytes; Python shows what is no UTF-8 as lone surrogates."""
    write_texts(group, "texts", [b"caf\xe9.tif".decode("utf-8", "surrogateescape")], "image")
    (found,) = zarr.open_array(tmp_path / "s.zarr" / "texts")[:].tolist()
    assert found.startswith("caf")
    found.encode("utf-8")


def test_the_same_bytes_every_time(tmp_path):
    values = np.random.default_rng(0).poisson(9, 3 * CHUNK_ROWS)
    found = set()
    for number in range(3):
        with every_chunk_written():
            group = zarr.create_group(tmp_path / f"{number}.zarr")
            write_column(group, "column", values, ["patch"])
        files = sorted((tmp_path / f"{number}.zarr").rglob("*"))
        found.add(b"".join(path.read_bytes() for path in files if path.is_file()))
    assert len(found) == 1

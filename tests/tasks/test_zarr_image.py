"""Plain zarr arrays and groups: the pixels that zarr reads whole, or one sentence."""

import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, GzipCodec, ShardingCodec, ZstdCodec

from patchmill.reader.whole_blosc import decode_whole
from patchmill.tasks.folders import folder_identity
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.zarr_image import open_zarr

V2_CODECS = [
    None,
    numcodecs.Blosc("lz4"),
    numcodecs.Blosc("zstd"),
    numcodecs.Zstd(),
    numcodecs.GZip(),
    numcodecs.LZ4(),
    numcodecs.BZ2(),
]
V3_CODECS = [None, BloscCodec(cname="lz4"), BloscCodec(cname="zstd"), ZstdCodec(), GzipCodec()]


def pixels(shape, dtype="u2"):
    return np.random.default_rng(0).integers(1, 250, shape).astype(dtype)


def write(path, data, zarr_format=3, chunks=None, **more):
    array = zarr.create_array(
        path, shape=data.shape, dtype=data.dtype, chunks=chunks or data.shape,
        zarr_format=zarr_format, **more,
    )  # fmt: skip
    array[:] = data
    return data


def opened(path, **options):
    with naming(str(path), "be opened"):
        return open_zarr(str(path), ImageOptions(**options))


def everything(image, level=0):
    return image.read(level, tuple(slice(0, length) for length in image.shapes[level]))


def refusal(path, **options):
    with pytest.raises(SourceError) as caught:
        opened(path, **options).check()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def zipped(folder, below=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as file:
        for found in sorted(folder.rglob("*")):
            if found.is_file():
                file.write(found, f"{below}{found.relative_to(folder)}")
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2", "<u2", ">u2", ">f4", "f8", "f2", "i8", "u8"])
def test_dtypes(tmp_path, zarr_format, dtype):
    data = write(tmp_path / "a.zarr", pixels((40, 30), dtype), zarr_format, (16, 16))
    image = opened(tmp_path / "a.zarr")
    image.check()
    assert image.axes == "YX"
    assert image.dtype == data.dtype.newbyteorder("=")
    assert image.dtype.isnative
    assert image.segments == ((16, 16),)
    assert image.notes == ()
    read = everything(image)
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, data)


def test_true_and_false_become_numbers(tmp_path):
    data = write(tmp_path / "a.zarr", pixels((20, 20)) > 100)
    image = opened(tmp_path / "a.zarr")
    assert image.dtype == np.uint8
    assert "1 and 0" in image.notes[0]
    np.testing.assert_array_equal(everything(image), data.astype(np.uint8))


@settings(max_examples=40, deadline=None)  # zarr writes a file per chunk
@given(st.data())
def test_any_region_is_what_zarr_reads(tmp_path_factory, data):
    """Of chunks and shards of any size, in either format."""
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30)))
    chunks = tuple(data.draw(st.integers(least, 17)) for least in (1, 5, 5))
    zarr_format = data.draw(st.sampled_from([2, 3]))
    more = {}
    if zarr_format == 3 and data.draw(st.booleans()):
        more["shards"] = tuple(n * data.draw(st.integers(1, 3)) for n in chunks)
    path = tmp_path_factory.mktemp("any") / "a.zarr"
    whole = write(path, pixels(shape), zarr_format, chunks, **more)
    image = opened(path, axes="ZYX")
    image.check()
    assert image.segments[0] == tuple(
        min(chunk, length) for chunk, length in zip(chunks, shape, strict=True)
    )
    region = []
    for length in shape:
        start = data.draw(st.integers(0, length - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, length))))
    np.testing.assert_array_equal(image.read(0, tuple(region)), whole[tuple(region)])


def test_the_segment_of_a_shard_is_its_inner_chunk(tmp_path):
    write(tmp_path / "a.zarr", pixels((64, 64)), chunks=(16, 8), shards=(32, 32))
    assert opened(tmp_path / "a.zarr").segments == ((16, 8),)


@pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec")
def test_a_shard_within_another_codec_is_one_segment(tmp_path):
    """It must be decompressed whole, whatever part of it is wanted."""
    data = pixels((64, 64))
    sharding = ShardingCodec(chunk_shape=(16, 8))
    write(tmp_path / "a.zarr", data, 3, (32, 32), serializer=sharding, compressors=GzipCodec())
    image = opened(tmp_path / "a.zarr")
    assert image.segments == ((32, 32),)
    np.testing.assert_array_equal(everything(image), data)


@pytest.mark.parametrize("below", ["", "a.zarr/"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zip(tmp_path, zarr_format, below):
    data = write(tmp_path / "a.zarr", pixels((40, 30)), zarr_format, (16, 16))
    path = zipped(tmp_path / "a.zarr", below)
    image = opened(path)
    image.check()
    assert image.notes == ()
    np.testing.assert_array_equal(everything(image), data)
    image.close()


def test_url(tmp_path):
    data = write(tmp_path / "a.zarr", pixels((40, 30)), 3, (16, 16))
    url = (tmp_path / "a.zarr").as_uri()
    image = opened(url)
    image.check()
    np.testing.assert_array_equal(everything(image), data)
    shutil.rmtree(tmp_path / "a.zarr" / "c")
    assert "none of its 6 chunks" in refusal(url)
    assert "copy it here" in refusal(url + ".zip")


def test_threads(tmp_path):
    data = write(tmp_path / "a.zarr", pixels((200, 200)), 3, (32, 32), shards=(64, 64))
    image = opened(tmp_path / "a.zarr")
    corners = [(y, x) for y in range(0, 200, 32) for x in range(0, 200, 32)] * 4

    def read(corner):
        y, x = corner
        return image.read(0, (slice(y, min(200, y + 32)), slice(x, min(200, x + 32))))

    with ThreadPoolExecutor(8) as threads:
        for (y, x), found in zip(corners, threads.map(read, corners), strict=True):
            np.testing.assert_array_equal(found, data[y : y + 32, x : x + 32])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_axes(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    write(path, pixels((2, 3, 20, 30)), zarr_format)
    text = refusal(path)
    assert "(2, 3, 20, 30)" in text
    assert 'images.axes, for instance "CZYX"' in text
    assert opened(path, axes="ntyx").axes == "NTYX"
    assert "images.axes = 'CYX'" in refusal(path, axes="CYX")
    if zarr_format == 3:
        shutil.rmtree(path)
        write(path, pixels((2, 3, 20, 30)), dimension_names=("time", "Channel", "Y", "x"))
    else:
        zarr.open_array(path).attrs["_ARRAY_DIMENSIONS"] = ["time", "Channel", "Y", "x"]
    assert opened(path).axes == "TCYX"
    assert opened(path, axes="CZYX").axes == "CZYX"


def test_groups(tmp_path):
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    assert "no array in it; leave" in refusal(path)
    group.create_group("deep")
    assert 'images.dataset = "deep"' in refusal(path)
    data = write(path / "deep" / "one", pixels((20, 20)))
    np.testing.assert_array_equal(everything(opened(path, dataset="deep")), data)
    np.testing.assert_array_equal(everything(opened(path, dataset="/deep/one/")), data)
    write(path / "deep" / "two", pixels((20, 20)))
    assert '2 arrays (one, two); name the one that is meant, for instance images.dataset = "deep/o'\
        in refusal(path, dataset="deep")  # fmt: skip
    assert 'has no "nope"' in refusal(path, dataset="nope")


def test_what_is_no_zarr(tmp_path):
    assert "no zarr group or array" in refusal(tmp_path)
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert "np.save" in refusal(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", "nothing")
    assert "without zarr" in refusal(tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:50])
    assert "BadZipFile" in refusal(tmp_path / "b.zip")
    assert "gone" in refusal(tmp_path / "c.zip")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_damaged_metadata(tmp_path, zarr_format):
    write(tmp_path / "a.zarr", pixels((20, 20)), zarr_format)
    metadata = tmp_path / "a.zarr" / {2: ".zarray", 3: "zarr.json"}[zarr_format]
    for text in ("", "{", "[]", metadata.read_text().replace("20", '"x"')):
        metadata.write_text(text)
        assert "mend it or leave it out" in refusal(tmp_path / "a.zarr")


def test_chunks_that_memory_cannot_hold_are_refused(tmp_path):
    """Also where the array is small: a chunk is decoded whole."""
    zarr.create_array(tmp_path / "a.zarr", shape=(10, 10), chunks=(10**6, 10**6), dtype="u1")
    assert "1000000000000 bytes" in refusal(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_no_chunk_at_all(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(40, 40), chunks=(20, 20), dtype="u2", zarr_format=zarr_format)
    assert "none of its 4 chunks" in refusal(path)
    assert "none of its 4 chunks" in refusal(zipped(path))


def test_chunks_under_other_names_do_not_count(tmp_path):
    """zarr does not find chunks whose separator is not the one of the metadata."""
    path = tmp_path / "a.zarr"
    write(path, pixels((40, 40)), 2, (20, 20))
    for name in ("0.0", "0.1", "1.0", "1.1"):
        (path / name[0]).mkdir(exist_ok=True)
        (path / name).rename(path / name.replace(".", "/"))
    assert "none of its 4 chunks" in refusal(path)


def test_some_chunks_absent_are_said(tmp_path):
    path = tmp_path / "a.zarr"
    data = write(path, pixels((40, 40)), 3, (20, 20), fill_value=7)
    (path / "c" / "1" / "0").unlink()
    data[20:, :20] = 7
    image = opened(path)
    image.check()
    assert image.notes == ("the array lacks 1 of 4 chunks: they are read as 7",)
    np.testing.assert_array_equal(everything(image), data)


def test_absent_chunks_that_are_not_defined_are_refused(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, pixels((40, 40)), 2, (20, 20))
    metadata = path / ".zarray"
    metadata.write_text(metadata.read_text().replace('"fill_value": 0', '"fill_value": null'))
    opened(path).check()
    (path / "0.0").unlink()
    assert "lacks 1 of 4 chunks" in refusal(path)


def test_a_zip_whose_directory_lies(tmp_path):
    """Memory is taken for what it says."""
    write(tmp_path / "a.zarr", pixels((64, 64)), 3, (32, 32))
    path = zipped(tmp_path / "a.zarr")
    opened(path).close()
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    for field in (20, 24):  # stored, and unpacked
        damaged = bytearray(data)
        damaged[at + field : at + field + 4] = b"\xf0\xff\xff\x7f"
        path.write_bytes(damaged)
        assert "it is damaged" in refusal(path)


def cut_short(path, key, data, region):
    """Cut a chunk at many places: an error, or the very pixels."""
    chunk = path / key
    content = chunk.read_bytes()
    refused = 0
    for keep in (0, 1, 8, 16, 17, *(len(content) - cut for cut in (1, 2, 3, 4, 5, 9, 40, 300))):
        chunk.write_bytes(content[:keep])
        image = opened(path)
        try:
            with naming(str(path), "read"):
                found = image.read(0, region)
        except SourceError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, data[region], err_msg=f"{keep} bytes")
    return refused


REGIONS = [(slice(0, 64), slice(0, 64)), (slice(0, 32), slice(0, 32))]


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(
    ("zarr_format", "codec"), [(2, codec) for codec in V2_CODECS] + [(3, c) for c in V3_CODECS]
)
def test_chunks_cut_short(tmp_path, zarr_format, codec, region):
    path = tmp_path / "a.zarr"
    data = write(path, pixels((64, 64)), zarr_format, (32, 32), compressors=codec)
    assert cut_short(path, {2: "0.0", 3: "c/0/0"}[zarr_format], data, region) == 13


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("codec", V3_CODECS)
def test_shards_cut_short(tmp_path, codec, location, region):
    path = tmp_path / "a.zarr"
    shards = {"shape": (64, 64), "index_location": location}
    data = write(path, pixels((64, 64)), 3, (32, 32), shards=shards, compressors=codec)
    refused = cut_short(path, "c/0/0", data, region)
    # With the index in front, an inner chunk may be whole though others are not.
    assert refused == 13 or (location == "start" and region == REGIONS[1])


@pytest.mark.parametrize("cname", ["lz4", "zstd", "blosclz", "zlib"])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
def test_blosc_reads_no_further_than_the_chunk(cname, shuffle):
    data = np.random.default_rng(0).integers(0, 500, 60_000).astype("u2").tobytes()
    coded = numcodecs.Blosc(cname, shuffle=shuffle).encode(data)
    assert decode_whole(coded) == data
    assert decode_whole(coded + b"more") == data
    for cut in (1, 2, 3, 100, len(coded) - 15, len(coded)):
        with pytest.raises(ValueError, match="cut short"):
            decode_whole(coded[: len(coded) - cut])


def test_identity_of_a_folder(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, pixels((40, 40)), 2, (20, 20), compressors=None)
    nbytes = 4 * 800 + sum((path / name).stat().st_size for name in (".zarray", ".zattrs"))
    before = folder_identity(str(path))
    assert before[0] == nbytes
    assert before == folder_identity(str(path))
    os.utime(path / "1.1", ns=(0, before[1] + 5))
    assert folder_identity(str(path)) == (nbytes, before[1] + 5)
    (path / "1.1").unlink()
    assert folder_identity(str(path))[0] == nbytes - 800


def test_identity_of_a_folder_with_links(tmp_path):
    """Chunks may lie behind links; a link that leads back is no trap."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0").write_bytes(b"12345")
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    assert folder_identity(str(folder)) == (0, 0)
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (folder / "back").symlink_to(folder)
    (folder / "again").symlink_to(folder)
    assert folder_identity(str(folder))[0] == 5

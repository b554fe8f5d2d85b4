"""Stores whose fields others laid out in their own way: the same pixels, through zarr."""

import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from patchmill.reader import DamagedStoreError, StoreError, open_store

SHAPE = (37, 2, 12, 10)
ONE = (1, *SHAPE[1:])
BLOSC = BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="shuffle", blocksize=0)


def relaid(written, dtype="uint16", *, fill=0, void=(), **options):
    """Lay the pixels of a store out in another way; returns its folder."""
    shutil.rmtree(written.path / "image")
    group = zarr.open_group(written.path, mode="r+")
    options = {"chunks": ONE, "compressors": None, "dimension_names": list("pcyx")} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codecs outside the core of zarr v3
        array = group.create_array("image", shape=SHAPE, dtype=dtype, fill_value=fill, **options)
    for row in sorted(set(range(len(written.pixels))) - set(void)):
        array[row] = written.pixels[row]
    return written.path


LAYOUTS = {
    "several patches a chunk": {"chunks": (5, *SHAPE[1:])},
    "parts of patches a chunk": {"chunks": (3, 1, 5, 10), "compressors": [GzipCodec(level=3)]},
    "no shards, zstd": {"compressors": [ZstdCodec(level=1)]},
    "no shards, gzip": {"compressors": [GzipCodec(level=1)]},
    "no shards, blosc, crc32c": {"compressors": [BLOSC, Crc32cCodec()]},
    "nothing compressed": {},
    "big-endian": {"serializer": BytesCodec(endian="big")},
    "transposed": {"filters": [TransposeCodec(order=(3, 1, 0, 2))]},
    "other separators": {
        "shards": (8, *SHAPE[1:]),
        "compressors": [BLOSC, Crc32cCodec()],
        "chunk_key_encoding": {"name": "default", "separator": "/"},
    },
    "keys of zarr v2": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "shards of several patches a chunk": {"shards": (8, *SHAPE[1:]), "chunks": (2, *SHAPE[1:])},
    "shards without checksums": {"shards": (8, *SHAPE[1:]), "compressors": [BLOSC]},
    "another compression in shards": {
        "shards": (8, *SHAPE[1:]),
        "compressors": [ZstdCodec(level=1), Crc32cCodec()],
    },
    "shards that split patches": {"shards": (8, 2, 6, 10), "chunks": (1, 2, 6, 10)},
    "a shard's index at its start": {
        "chunks": (8, *SHAPE[1:]),
        "serializer": ShardingCodec(
            chunk_shape=ONE,
            codecs=[BytesCodec(endian="little"), BLOSC, Crc32cCodec()],
            index_location="start",
        ),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts(make_store, layout):
    written = make_store()
    store = open_store(relaid(written, **LAYOUTS[layout]))
    assert not store.is_fast
    field = store.fields["image"]
    assert (field.is_fast, field.codec) == (False, "zarr")
    assert (field.shape, field.dtype, field.rows) == (SHAPE[1:], np.dtype("<u2"), 37)
    rows = [30, 3, 3, 36, 0, 8]
    block = store.read(rows)
    assert block["image"].dtype == np.dtype("<u2")
    np.testing.assert_array_equal(block["image"], written.pixels[rows])
    np.testing.assert_array_equal(store.read(range(37))["image"], written.pixels)
    assert store.read([])["image"].shape == (0, 2, 12, 10)


def test_the_fast_layout_is_fast(plain):
    store = open_store(plain.path)
    assert store.is_fast
    assert store.fields["image"].is_fast


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool", "complex64"])
def test_other_data_types(make_store, dtype):
    written = make_store()
    store = open_store(relaid(written, dtype, serializer=BytesCodec(endian="big")))
    block = store.read([3, 0])
    assert block["image"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(block["image"], written.pixels[[3, 0]].astype(dtype))


def test_windows(make_store):
    written = make_store()
    store = open_store(relaid(written, chunks=(5, *SHAPE[1:])))
    rows = np.array([9, 0, 9, 36], np.int64)
    corners = np.array([[0, 0], [4, 3], [2, 5], [4, 5]], np.int64)
    out = np.empty((4, 2, 8, 5), np.uint16)
    store.read_rows_into(rows, {"image": out}, corners)
    for window, row, (y, x) in zip(out, rows, corners, strict=True):
        np.testing.assert_array_equal(window, written.pixels[row, :, y : y + 8, x : x + 5])


@pytest.mark.parametrize("chunk_rows", [1, 5])
def test_an_absent_chunk_is_full_of_the_fill_value(make_store, chunk_rows):
    written = make_store()
    written.pixels[15:20] = 7
    path = relaid(written, fill=7, void=range(15, 20), chunks=(chunk_rows, *SHAPE[1:]))
    np.testing.assert_array_equal(open_store(path).read(range(37))["image"], written.pixels)


def test_a_damaged_chunk_is_named(make_store):
    written = make_store()
    path = relaid(written, compressors=[BLOSC, Crc32cCodec()])
    chunk = path / "image/c/20/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[-9] ^= 1
    chunk.write_bytes(data)
    store = open_store(path)
    np.testing.assert_array_equal(store[19]["image"], written.pixels[19])
    with pytest.raises(DamagedStoreError, match="'image', patch 20 cannot be read through zarr"):
        store.read([3, 20, 4])


@pytest.mark.parametrize("layout", ["chunks", "shards"])
@pytest.mark.parametrize("kept", [0, 1, 15, -3, -2, -1])
def test_a_chunk_that_was_cut_short(make_store, layout, kept):
    """Without a checksum: blosc would read on behind its end, and zarr would fill it."""
    written = make_store()
    shards = {"shards": (37, *SHAPE[1:])} if layout == "shards" else {}
    path = relaid(written, compressors=[BLOSC], chunks=(1, *SHAPE[1:]), **shards)
    name = "0" if layout == "shards" else "20"
    chunk = path / f"image/c/{name}/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(DamagedStoreError, match="cannot be read through zarr"):
        open_store(path).read(range(37))


def test_strings_are_no_patches(make_store):
    written = make_store()
    shutil.rmtree(written.path / "image")
    group = zarr.open_group(written.path, mode="r+")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group.create_array("image", shape=SHAPE, chunks=ONE, dtype="U3")
    with pytest.raises(StoreError, match="patches must be numbers"):
        open_store(written.path)


@pytest.fixture
def path(make_store):
    return relaid(make_store(), chunks=(5, *SHAPE[1:]), compressors=[GzipCodec(level=1)])


@pytest.fixture
def pixels(plain):
    return plain.pixels  # those of every store of this shape


def test_threads(path, pixels):
    store = open_store(path)
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(5):
            rows = rng.integers(0, 37, 9)
            if not np.array_equal(store.read(rows)["image"], pixels[rows]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _send(store, rows, connection):
    connection.send(store.read(rows)["image"])
    connection.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_another_process(path, pixels, method):
    """After a fork too, whose child has none of the threads that zarr has started."""
    store = open_store(path)
    store.read([0])
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(store, list(range(37)), theirs))
    process.start()
    theirs.close()
    assert ours.poll(60)
    np.testing.assert_array_equal(ours.recv(), pixels)
    process.join(60)
    assert process.exitcode == 0
    np.testing.assert_array_equal(store.read(range(37))["image"], pixels)


def test_it_travels(path, pixels):
    store = pickle.loads(pickle.dumps(open_store(path)))
    assert not store.is_fast
    np.testing.assert_array_equal(store.read(range(37))["image"], pixels)


def test_it_warns_of_nothing(path, tmp_path):
    script = (
        "from patchmill.reader import open_store\n"
        f"batches = list(open_store({str(path)!r}).loader(8, shuffle=True, num_workers=2))\n"
        "assert len(batches) == 5\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

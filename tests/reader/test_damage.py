"""Bytes that are not what was written: an error that names store, shard and patch."""

import errno
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader import DamagedStoreError, IncompleteStoreError, open_store
from patchmill.reader.format import MISSING, checksum_bytes, index_nbytes, pack_index, unpack_index


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


def index_of(file):
    data = np.frombuffer(file.read_bytes(), np.uint8)
    return unpack_index(data[-index_nbytes(8) :])


def rewrite_index(file, change):
    index = index_of(file)
    change(index)
    file.write_bytes(file.read_bytes()[: -index_nbytes(8)] + pack_index(index))


def assert_damaged(written, row, reason, *, verify=True):
    """Both ways to read say the same."""
    said = set()
    for io in ("map", "pread"):
        store = open_store(written.path, verify=verify, io=io)
        with pytest.raises(DamagedStoreError, match=reason) as caught:
            store[row]
        said.add(str(caught.value))
        with pytest.raises(DamagedStoreError, match=f"patch {row}: "):
            store.read([row - row % 4 + near for near in (1, 0, 3, 2) if row - row % 4 + near < 37])
    assert len(said) == 1
    shard = f"image/c.{row // 8}.0.0.0"
    assert said.pop().startswith(f"{written.path}: shard {shard}, patch {row}: ")


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_flipped_bit_in_any_byte_of_a_chunk(make_store, codec):
    written = make_store(codec=codec)
    file = written.shard(1)
    whole = file.read_bytes()
    offset, nbytes = (int(value) for value in index_of(file)[3])
    for position in {*range(0, nbytes, 97), nbytes - 1, nbytes - 5}:
        flip(file, offset + position)
        for io in ("map", "pread"):
            with pytest.raises(DamagedStoreError, match="patch 11: its checksum is wrong"):
                open_store(written.path, io=io)[11]
        file.write_bytes(whole)
    flip(file, offset)
    store = open_store(written.path)
    np.testing.assert_array_equal(store[10]["image"], written.pixels[10])  # others can be read
    assert_damaged(written, 11, "its checksum is wrong")


@pytest.mark.parametrize("position", [-1, -5, -index_nbytes(8)])
def test_a_flipped_bit_in_the_index(make_store, position):
    written = make_store()
    flip(written.shard(0), position)
    assert_damaged(written, 0, "the checksum of the file's index is wrong")


@pytest.mark.parametrize("keep", [0, 3, index_nbytes(8) - 1, 500, -1])
def test_a_file_cut_short(make_store, keep):
    written = make_store()
    written.shard(0).write_bytes(written.shard(0).read_bytes()[:keep])
    assert_damaged(written, 0, "less than its index needs|index is wrong")


def test_a_missing_shard(make_store):
    written = make_store()
    written.shard(4).unlink()
    assert_damaged(written, 32, "the file is missing")


def test_a_missing_shard_of_an_unfinished_store_is_no_damage(make_store):
    written = make_store(complete=False)
    written.shard(4).unlink()
    store = open_store(written.path, allow_incomplete=True)
    np.testing.assert_array_equal(store[31]["image"], written.pixels[31])
    with pytest.raises(IncompleteStoreError, match="patch 33 is not written yet"):
        store[33]


def test_an_absent_chunk_of_a_valid_row(make_store):
    written = make_store()
    rewrite_index(written.shard(1), lambda index: index[2].fill(MISSING))
    assert_damaged(written, 10, "the shard has no chunk for it")


ELSEWHERE = [
    *((0, 2**40), (2**40, 100), (2**63, 2**63), (MISSING - 50, 100), (MISSING, 1)),
    *((0, 0), (0, 3), (5, 0)),
]


@pytest.mark.parametrize(
    ("codec", "entry"),
    [
        *(("lz4", entry) for entry in ELSEWHERE),
        *(("none", entry) for entry in ELSEWHERE),
        *(("lz4", (0, 10)), ("lz4", (0, 20)), ("lz4", (0, 1000))),  # of no possible size
    ],
)
def test_an_index_that_points_elsewhere(make_store, codec, entry):
    written = make_store(codec=codec)
    rewrite_index(written.shard(1), lambda index: index.__setitem__(2, entry))
    reason = "has no chunk for it" if entry[0] == MISSING else "points outside its chunks"
    assert_damaged(written, 10, reason)


def test_a_chunk_of_another_size(make_store, tmp_path):
    """Its checksum is right: the header alone keeps blosc from writing past the patch."""
    written = make_store()
    file = written.shard(1)
    data = bytearray(file.read_bytes())
    offset, nbytes = (int(value) for value in index_of(file)[2])
    for decoded in (written.pixels[0].nbytes * 2, 16, 2**31 - 1):
        struct.pack_into("<I", data, offset + 4, decoded)
        end = offset + nbytes - 4
        data[end : end + 4] = checksum_bytes(bytes(data[offset:end]))
        file.write_bytes(data)
        assert_damaged(written, 10, f"it holds {decoded} bytes, not 480")
        assert_damaged(written, 10, f"it holds {decoded} bytes, not 480", verify=False)


def test_an_uncompressed_chunk_of_another_size(make_store):
    written = make_store(codec="none")
    rewrite_index(written.shard(1), lambda index: index.__setitem__((2, 1), 104))
    assert_damaged(written, 10, "it holds 100 bytes, not 480", verify=False)


def test_without_verification_blosc_may_notice(make_store):
    written = make_store(shape=(1, 64, 64))  # smaller ones blosc stores as they are
    file = written.shard(1)
    offset, nbytes = (int(value) for value in index_of(file)[2])
    data = bytearray(file.read_bytes())
    data[offset + 16 : offset + nbytes - 4] = b"\xff" * (nbytes - 20)
    file.write_bytes(data)
    assert_damaged(written, 10, "it cannot be decompressed", verify=False)


@pytest.mark.parametrize("codec", ["lz4", "none"])
@pytest.mark.parametrize("keep", [0, 700, -3])
def test_a_file_cut_short_while_it_is_open(make_store, codec, keep):
    """As another host may do it: a map would end the process, which is why `pread` is there."""
    written = make_store(codec=codec)
    store = open_store(written.path, io="pread")
    np.testing.assert_array_equal(store[8]["image"], written.pixels[8])
    offset, nbytes = (int(value) for value in index_of(written.shard(1))[7])
    os.truncate(written.shard(1), keep if keep >= 0 else offset + nbytes + keep)
    with pytest.raises(DamagedStoreError, match=r"patch 15: the file ends .* bytes too early"):
        store[15]


def test_a_failing_disk_is_named(make_store, monkeypatch):
    written = make_store()
    store = open_store(written.path, io="pread")
    np.testing.assert_array_equal(store[8]["image"], written.pixels[8])

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.preadv", fail)
    with pytest.raises(DamagedStoreError, match=r"patch 9: it cannot be read \(Input/output error"):
        store[9]


@pytest.mark.parametrize("codec", ["lz4", "none"])
@pytest.mark.parametrize("at_once", [1, 7])
def test_reads_that_give_less_than_asked_for(make_store, monkeypatch, codec, at_once):
    """As network file systems may."""
    preadv = os.preadv
    written = make_store(codec=codec, rows=3, shape=(1, 5, 9))

    def give_less(file, buffers, offset):
        return preadv(file, [memoryview(buffers[0]).cast("B")[:at_once]], offset)

    monkeypatch.setattr("os.preadv", give_less)
    store = open_store(written.path, io="pread")
    np.testing.assert_array_equal(store.read(range(3))["image"], written.pixels)


@pytest.fixture(scope="module")
def fuzzed(new_store):
    """Stores of one shard, and what is in its file."""
    codecs = ("lz4", "zstd", "none")
    stores = {codec: new_store(codec=codec, rows=6, shape=(1, 20, 16)) for codec in codecs}
    return {codec: (written, written.shard(0).read_bytes()) for codec, written in stores.items()}


@settings(max_examples=150, deadline=None)
@given(
    codec=st.sampled_from(["lz4", "zstd", "none"]),
    io=st.sampled_from(["map", "pread"]),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4
    ),
    is_index_signed=st.booleans(),
)
def test_whatever_is_flipped_it_is_damage_or_the_right_pixels(
    fuzzed, codec, io, changes, is_index_signed
):
    """Also where the index was written again, with its right checksum, after it was damaged."""
    written, whole = fuzzed[codec]
    data = bytearray(whole)
    for where, bits in changes:
        data[int(where * len(data))] ^= bits
    if is_index_signed:
        data[-4:] = checksum_bytes(bytes(data[-index_nbytes(8) : -4]))
    written.shard(0).write_bytes(data)
    store = open_store(written.path, io=io)
    for row in range(6):
        try:
            pixels = store[row]["image"]
        except DamagedStoreError:
            continue
        np.testing.assert_array_equal(pixels, written.pixels[row])


@settings(max_examples=80, deadline=None)
@given(
    io=st.sampled_from(["map", "pread"]),
    codec=st.sampled_from(["lz4", "none"]),
    entry=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
    | st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)
def test_whatever_the_index_says(fuzzed, io, codec, entry):
    written, whole = fuzzed[codec]
    written.shard(0).write_bytes(whole)
    right = tuple(int(value) for value in index_of(written.shard(0))[2])
    rewrite_index(written.shard(0), lambda index: index.__setitem__(2, entry))
    store = open_store(written.path, io=io)
    if entry == right:
        np.testing.assert_array_equal(store[2]["image"], written.pixels[2])
        return
    with pytest.raises(DamagedStoreError, match="patch 2: "):
        store[2]

"""Bytes that are not what was written: an error that names store, shard and patch."""

import struct

import numpy as np
import pytest

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
    store = open_store(written.path, verify=verify)
    with pytest.raises(DamagedStoreError, match=reason) as caught:
        store[row]
    shard = f"image/c.{row // 8}.0.0.0"
    assert str(caught.value).startswith(f"{written.path}: shard {shard}, patch {row}: ")
    with pytest.raises(DamagedStoreError, match=f"patch {row}: "):
        list(store.loader(4, num_workers=2))


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_flipped_bit_in_any_byte_of_a_chunk(make_store, codec):
    written = make_store(codec=codec)
    file = written.shard(1)
    whole = file.read_bytes()
    offset, nbytes = (int(value) for value in index_of(file)[3])
    for position in {*range(0, nbytes, 97), nbytes - 1, nbytes - 5}:
        flip(file, offset + position)
        with pytest.raises(DamagedStoreError, match="patch 11: its checksum is wrong"):
            open_store(written.path)[11]
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


@pytest.mark.parametrize(
    "entry",
    [(0, 2**40), (2**40, 100), (2**63, 2**63), (MISSING - 50, 100), (0, 3), (0, 10), (5, 0)],
)
def test_an_index_that_points_elsewhere(make_store, entry):
    written = make_store()
    rewrite_index(written.shard(1), lambda index: index.__setitem__(2, entry))
    assert_damaged(written, 10, "points outside its chunks")


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

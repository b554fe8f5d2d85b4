"""The C functions that are called by address, and what stands in for them, do the same."""

import ctypes

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import blosc

from patchmill.reader import DamagedStoreError, native, open_store
from patchmill.reader.format import checksum, checksum_bytes

CHECKSUMS = [native.native_crc32c(), native.python_crc32c]
DECOMPRESSORS = [native.native_decompress(), native.python_decompress]


def test_this_platform_has_both():
    """The fallbacks are right but slow: where this fails, look for what the packages changed."""
    assert native.crc32c.__name__ == "crc32c_value"
    assert native.decompress.__name__ == "blosc_decompress_ctx"


@pytest.mark.parametrize("crc32c", CHECKSUMS)
@given(data=st.binary(max_size=300))
def test_checksums(crc32c, data):
    array = np.frombuffer(data + checksum_bytes(data), np.uint8)
    expected = google_crc32c.value(data)
    assert (
        crc32c(array.ctypes.data, len(data)) == expected == checksum(data) == checksum(array[:-4])
    )
    assert crc32c(array.ctypes.data, len(array)) == native.RESIDUE


@pytest.mark.parametrize("decompress", DECOMPRESSORS)
@pytest.mark.parametrize("codec", [b"lz4", b"zstd"])
def test_decompression(decompress, codec):
    pixels = np.arange(5000, dtype=np.uint16) // 7
    chunk = np.frombuffer(blosc.compress(pixels, codec, 5), np.uint8)
    out = np.full(5002, 7, np.uint16)
    done = decompress(chunk.ctypes.data, out.ctypes.data, pixels.nbytes, 1)
    assert done == pixels.nbytes
    np.testing.assert_array_equal(out, [*pixels, 7, 7])
    damaged = chunk.copy()
    damaged[20:] = 255
    assert decompress(damaged.ctypes.data, out.ctypes.data, pixels.nbytes, 1) != pixels.nbytes
    assert out[5000:].tolist() == [7, 7]


@pytest.mark.parametrize("way", ["map", "pread"])
@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_a_store_without_the_c_functions(make_store, monkeypatch, way, codec):
    monkeypatch.setattr("patchmill.reader.decode.crc32c", native.python_crc32c)
    monkeypatch.setattr("patchmill.reader.decode.decompress", native.python_decompress)
    written = make_store(codec=codec)
    np.testing.assert_array_equal(
        open_store(written.path, io=way).read(range(37))["image"], written.pixels
    )
    data = bytearray(written.shard(0).read_bytes())
    data[40] ^= 1
    written.shard(0).write_bytes(data)
    with pytest.raises(DamagedStoreError, match="patch 0: its checksum is wrong"):
        open_store(written.path, io=way)[0]


class Library:
    """A library whose functions are not what they should be."""

    def __init__(self, file):
        self.crc32c_value = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)(
            lambda *_: 1
        )


@pytest.mark.parametrize("library", [Library, lambda _: object()])
def test_functions_that_are_wrong_or_missing_are_not_used(monkeypatch, library):
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert native.native_crc32c() is None
    assert native.native_decompress() is None


def test_an_extension_that_cannot_be_loaded_is_not_used(monkeypatch):
    def fail(_):
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert native.native_crc32c() is None
    assert native.native_decompress() is None

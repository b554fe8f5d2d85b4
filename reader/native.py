"""crc32c and blosc on addresses, without Python's lock: the two calls that reading a patch is.

The functions of google_crc32c and numcodecs want a Python object for each side of each call, and
the former keeps Python's lock, so that threads wait for each other. Their extension modules carry
the C functions beneath (crc32c_value of google/crc32c, blosc_decompress_ctx of c-blosc), which
ctypes calls without that lock. Where an extension does not show them, the Python function does
the same more slowly.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable

import google_crc32c
from numcodecs import blosc

#: The crc32c of any bytes followed by their own crc32c, little-endian.
#: Source: "residue" of CRC-32/ISCSI in Greg Cook's catalogue of CRC algorithms, and its final xor.
RESIDUE = 0x48674BC7

_PROBE = bytes(range(256)) * 9


def python_crc32c(address: int, nbytes: int) -> int:
    """Return the crc32c of bytes at an address, through google_crc32c's own function."""
    return int(google_crc32c.value(ctypes.string_at(address, nbytes)))


def python_decompress(source: int, target: int, nbytes: int, threads: int) -> int:
    """Do as blosc_decompress_ctx does, through numcodecs' own function, which picks the threads."""
    compressed_nbytes = int.from_bytes(ctypes.string_at(source + 12, 4), "little")
    out = (ctypes.c_char * nbytes).from_address(target)
    try:
        blosc.decompress(ctypes.string_at(source, compressed_nbytes), out)
    except (RuntimeError, ValueError):
        return -1
    return nbytes


def native_crc32c() -> Callable[[int, int], int] | None:
    """Return crc32c_value of google_crc32c's extension, if it is there and right."""
    try:
        extension = importlib.import_module("google_crc32c._crc32c")
        function = ctypes.CDLL(extension.__file__).crc32c_value
    except (ImportError, OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_uint32
    return function if function(_PROBE, len(_PROBE)) == google_crc32c.value(_PROBE) else None


def native_decompress() -> Callable[[int, int, int, int], int] | None:
    """Return blosc_decompress_ctx of numcodecs' extension, if it is there and right."""
    try:
        function = ctypes.CDLL(blosc.__file__).blosc_decompress_ctx
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = ctypes.c_int
    out = ctypes.create_string_buffer(len(_PROBE))
    done = function(blosc.compress(_PROBE, b"lz4", 5), out, len(_PROBE), 1)
    return function if done == len(_PROBE) and out.raw == _PROBE else None


#: `crc32c(address, nbytes)`: the checksum of the bytes there, which the caller keeps alive.
crc32c: Callable[[int, int], int] = native_crc32c() or python_crc32c
#: `decompress(source, target, nbytes, threads)`: nbytes, or something else where the chunk is
#: damaged. It believes the chunk's header: the caller has checked both sizes in it.
decompress: Callable[[int, int, int, int], int] = native_decompress() or python_decompress

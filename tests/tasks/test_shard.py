"""A shard file: whole or not there, and always the same bytes."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numcodecs.blosc
import numpy as np
import pytest

from patchmill.reader.format import CHECKSUM_BYTES, MISSING, checksum, index_nbytes, unpack_index
from patchmill.tasks.scratch import scratch
from patchmill.tasks.shard import encode_chunk, write_shard


@pytest.fixture
def place(tmp_path):
    """Return the path of a shard and the folder for unfinished ones."""
    (tmp_path / "image").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path / "image" / "c.0.0.0.0", tmp_path / "tmp"


def test_the_layout(place):
    path, tmp = place
    chunks = [b"first", None, b"", b"fourth" * 100]
    nbytes, crc = write_shard(path, tmp, chunks, 6)
    data = path.read_bytes()
    assert nbytes == len(data)
    # Of the checksums and the index, which cover all bytes of the file; the index without its own
    # checksum, which would cancel it: a crc over "message, crc of message" is always the same.
    own = b"".join(checksum(chunk).to_bytes(4, "little") for chunk in chunks if chunk is not None)
    assert crc == checksum(own + data[-index_nbytes(6) : -CHECKSUM_BYTES])
    index = unpack_index(np.frombuffer(data[-index_nbytes(6) :], np.uint8))
    for row, chunk in enumerate([*chunks, None, None]):
        offset, size = index[row].tolist()
        if chunk is None:
            assert (offset, size) == (MISSING, MISSING)
            continue
        stored = data[offset : offset + size]
        assert stored[:-CHECKSUM_BYTES] == chunk
        assert int.from_bytes(stored[-CHECKSUM_BYTES:], "little") == checksum(chunk)
    assert not any(tmp.iterdir())


def test_the_checksum_of_the_index_is_crc32c(place):
    """Castagnoli's polynomial, by the textbook, as zarr's crc32c codec has it."""

    def crc32c(data):
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    path, tmp = place
    write_shard(path, tmp, [b"a", b"b"], 3)
    index = path.read_bytes()[-index_nbytes(3) :]
    assert crc32c(b"123456789") == 0xE3069283
    assert int.from_bytes(index[-4:], "little") == crc32c(index[:-4])
    assert path.read_bytes()[1:5] == crc32c(b"a").to_bytes(4, "little")


def test_two_attempts_write_the_same(place):
    path, tmp = place
    first = write_shard(path, tmp, [b"a" * 1000, None, b"c"], 3)
    data, inode = path.read_bytes(), path.stat().st_ino
    assert write_shard(path, tmp, iter([b"a" * 1000, None, b"c"]), 3) == first
    assert path.read_bytes() == data
    assert path.stat().st_ino != inode  # moved into place, not written over


def test_another_chunk_is_another_checksum(place):
    """A flipped bit, another order or another absent row: the checksum tells."""
    path, tmp = place
    ab, cd, ce = b"ab", b"cd", b"ce"
    contents = ([ab, cd], [ab, ce], [cd, ab], [ab, None], [None, ab], [ab])
    found = [write_shard(path, tmp, chunks, 2)[1] for chunks in contents]
    assert found[3] == found[5]
    assert len(set(found)) == 5


class Broken(BaseException):
    """Neither an Exception nor KeyboardInterrupt."""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, Broken])
@pytest.mark.parametrize("there", [False, True])
def test_a_fault_in_the_middle_leaves_nothing(place, error, there):
    path, tmp = place
    if there:
        write_shard(path, tmp, [b"old"], 4)
    before = path.read_bytes() if there else None

    def chunks():
        yield b"x" * (3 << 20)  # more than the buffer holds: the file is begun
        assert len(list(tmp.iterdir())) == 1
        raise error("no")

    with pytest.raises(error):
        write_shard(path, tmp, chunks(), 4)
    assert not any(tmp.iterdir())
    assert (path.read_bytes() if path.exists() else None) == before


def test_more_chunks_than_the_index_has_room_for(place):
    path, tmp = place
    with pytest.raises(IndexError):
        write_shard(path, tmp, [b"a", b"b", b"c"], 2)
    assert not path.exists()
    assert not any(tmp.iterdir())


def test_attempts_at_once_do_not_meet(place):
    """Dask may run a task twice: both write under names of their own."""
    path, tmp = place

    def chunks():
        for number in range(50):
            yield bytes([number]) * 5000

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda _: write_shard(path, tmp, chunks(), 50), range(16)))
    assert len(results) == 1
    assert results.pop() == write_shard(path, tmp, chunks(), 50)
    assert path.read_bytes().startswith(bytes(5000) + checksum(bytes(5000)).to_bytes(4, "little"))
    assert not any(tmp.iterdir())


def test_killed_in_the_middle(place):
    """SIGKILL leaves an attempt among the unfinished, never a shard."""
    path, tmp = place
    code = f"""
        import os, signal
        from pathlib import Path
        from patchmill.tasks.shard import write_shard
        def chunks():
            yield b"x" * (3 << 20)
            os.kill(os.getpid(), signal.SIGKILL)
            yield b"never"
        write_shard(Path({str(path)!r}), Path({str(tmp)!r}), chunks(), 4)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    (attempt,) = tmp.iterdir()
    assert attempt.name.startswith("image-c.0.0.0.0-")


def test_it_is_flushed_before_it_is_moved_and_the_name_after(place, monkeypatch):
    """A rename may reach the disk before the data does, unless it is told."""
    path, tmp = place
    events = []
    fsync, replace = os.fsync, type(path).replace

    def recording_fsync(fd):
        events.append(("flush", os.path.realpath(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size))
        return fsync(fd)

    def recording_replace(source, target):
        events.append(("move", str(target), source.stat().st_size))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(type(path), "replace", recording_replace)
    nbytes, _ = write_shard(path, tmp, [b"a" * 100], 1)
    assert [event[0] for event in events] == ["flush", "move", "flush"]
    assert events[0][2] == events[1][2] == nbytes
    if Path("/proc/self/fd").is_dir():
        assert events[2][1] == str(path.parent)


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_a_chunk_is_what_the_metadata_says(rng, codec, dtype):
    patch = rng.poisson(50, (2, 33, 31)).astype(dtype)
    chunk = encode_chunk(patch, codec, 0 if codec == "none" else 5)
    if codec == "none":
        assert chunk == patch.tobytes()
        return
    assert numcodecs.Blosc().decode(chunk) == patch.tobytes()
    # Blosc's header: typesize in byte 3, shuffle in bit 0 of byte 2.
    assert chunk[3] == patch.itemsize
    assert chunk[2] & 1 == (patch.itemsize > 1)
    assert numcodecs.blosc.cbuffer_complib(chunk).lower() == codec


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_large_chunks_are_always_the_same(rng, codec):
    """Above one block, multithreaded blosc puts them in order of completion."""
    patch = rng.poisson(50, (2, 1500, 1500)).astype("uint16")
    assert patch.nbytes > 4 << 20
    expected = encode_chunk(patch, codec, 1)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: encode_chunk(patch, codec, 1), range(12)))
    assert found == {expected}
    assert numcodecs.Blosc().decode(expected) == patch.tobytes()


def test_blosc_has_one_thread_wherever_we_encode():
    code = """
        import numcodecs.blosc
        assert numcodecs.blosc.use_threads is None
        import patchmill.tasks.shard
        assert numcodecs.blosc.use_threads is False
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_each_thread_has_its_own_buffer():
    mine = scratch("test", (4, 4), np.uint16)
    mine[...] = 1
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(scratch, "test", (4, 4), np.uint16).result()
        other[...] = 2
        assert (mine == 1).all()
        again = pool.submit(scratch, "test", (2, 4), np.uint32).result()
        assert np.shares_memory(other, again)
    assert scratch("test", (3,), np.float64).shape == (3,)
    assert scratch("test", (0, 5), np.uint16).shape == (0, 5)
    grown = scratch("test", (100, 100), np.int64)
    assert grown.flags.c_contiguous
    assert grown.dtype == np.int64

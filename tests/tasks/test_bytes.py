"""Files of this machine: their bytes from any place and thread, in no more memory than needed."""

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from patchmill.tasks.bytes import open_bytes
from patchmill.tasks.source import SourceError


@pytest.fixture
def written(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, 10_000, np.uint8).tobytes()
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    return str(path), data


def test_it_reads_what_is_there(written):
    path, data = written
    with open_bytes(path) as file:
        assert (file.path, file.size) == (path, len(data))
        assert file.identity() == (len(data), Path(path).stat().st_mtime_ns)
        assert file.pread(100, 5000) == data[5000:5100]
        assert file.pread(0, len(data)) == b""
        out = np.zeros((10, 20), "<u2")
        file.pread_into(out, 9600)
        assert out.tobytes() == data[9600:]


def test_threads_share_it(written):
    path, data = written
    with open_bytes(path) as file, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: file.pread(50, at), range(0, 9950, 50)))
    assert b"".join(found) == data[:9950]


@pytest.mark.parametrize(("nbytes", "offset"), [(1, 10_000), (10_001, 0), (5, -1), (-1, 0)])
def test_a_range_that_is_not_in_the_file(written, nbytes, offset):
    path, _ = written
    with open_bytes(path) as file, pytest.raises(EOFError, match="the file has 10000 bytes"):
        file.pread(nbytes, offset)


def test_a_lie_about_a_size_takes_no_memory(written):
    path, _ = written
    with open_bytes(path) as file:
        tracemalloc.start()
        try:
            with pytest.raises(EOFError):
                file.pread(1 << 30, 0)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_a_file_cut_short_while_it_is_open(written):
    path, _ = written
    with open_bytes(path) as file:
        os.truncate(path, 100)
        with pytest.raises(EOFError, match="ends before byte 300"):
            file.pread(200, 100)
        with pytest.raises(EOFError, match="ends before byte 120"):
            file.pread_into(np.empty(40, np.uint8), 80)


def test_file_objects_have_positions_of_their_own(written):
    path, data = written
    with open_bytes(path) as file, file.file() as one, file.file() as two:
        one.seek(500)
        assert (two.read(10), one.read(10)) == (data[:10], data[500:510])


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_bytes(str(tmp_path / "nothing"))
    with pytest.raises(SourceError, match="is not a regular file; leave it out"):
        open_bytes(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe: is not a regular file"):
        open_bytes(str(tmp_path / "pipe"))  # and does not wait for the pipe's other end


def test_its_descriptor_is_closed(written):
    path, _ = written
    before = len(list(Path("/proc/self/fd").iterdir()))
    file = open_bytes(path)
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.pread(1, 0)
    open_bytes(path)  # and forgotten
    assert len(list(Path("/proc/self/fd").iterdir())) == before

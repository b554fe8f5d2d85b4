"""Files on a server: the same bytes as here, by few requests; what fails is said in a sentence."""

import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import obstore
import pytest
import tifffile
from obstore.store import S3Store

from patchmill.tasks import remote_bytes, remote_place
from patchmill.tasks.bytes import open_bytes
from patchmill.tasks.remote_bytes import BLOCK_BYTES
from patchmill.tasks.source import SourceError

FEW_RETRIES = (("retry_config.max_retries", "1"),)


@pytest.fixture
def data():
    return np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


@pytest.fixture
def bucket(s3):
    return S3Store("bucket", **s3, client_options={"allow_http": True})


@pytest.fixture(params=["http", "s3"])
def put(request, tmp_path, server, s3, bucket):
    """Return a function that puts a file on a server, and gives its URL and options."""

    def put(name, data):
        if request.param == "s3":
            obstore.put(bucket, name, data)
            return f"s3://bucket/{name}", tuple(s3.items())
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        return f"{server.url}/{name}", ()

    return put


def test_it_reads_what_is_there(put, data):
    with open_bytes(*put("folder/a.bin", data)) as file:
        assert file.size == len(data)
        assert file.pread(100, 5000) == data[5000:5100]
        assert file.pread(100, BLOCK_BYTES - 50) == data[BLOCK_BYTES - 50 : BLOCK_BYTES + 50]
        assert file.pread(2_000_000, 999_999) == data[999_999:2_999_999]
        assert file.pread(0, len(data)) == b""
        out = np.zeros((100, 2), "<u2")
        file.pread_into(out, len(data) - 400)
        assert out.tobytes() == data[-400:]
        for nbytes, offset in [(1, len(data)), (len(data) + 1, 0), (5, -1), (1 << 40, 0)]:
            with pytest.raises(EOFError, match="the file has 3000000 bytes"):
                file.pread(nbytes, offset)


def test_large_reads_come_in_parts(put, data, monkeypatch):
    monkeypatch.setattr(remote_bytes, "REQUEST_BYTES", 300_001)
    with open_bytes(*put("a.bin", data)) as file:
        assert file.pread(len(data) - 7, 7) == data[7:]


def test_threads_share_it(put, data):
    places = np.random.default_rng(1).integers(0, len(data) - 5000, 200).tolist()
    with open_bytes(*put("a.bin", data)) as file, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: file.pread(5000, at), places))
    assert found == [data[at : at + 5000] for at in places]


def test_file_objects_read_and_seek_like_files(put, data, tmp_path):
    local = tmp_path / "local.bin"
    local.write_bytes(data)
    rng = np.random.default_rng(2)
    with open_bytes(*put("a.bin", data)) as file, file.file() as ours, local.open("rb") as theirs:
        for _ in range(300):
            at, whence = int(rng.integers(0, len(data) + 1000)), int(rng.integers(3))
            offset = (at, at - theirs.tell(), at - len(data))[whence]
            assert ours.seek(offset, whence) == theirs.seek(offset, whence) == ours.tell()
            nbytes = int(rng.choice([0, 1, 17, 5000, 400_000]))
            assert ours.read(nbytes) == theirs.read(nbytes)
        ours.seek(2_500_000)
        assert ours.read() == data[2_500_000:]
        assert ours.read(1) == b""
        with pytest.raises(ValueError, match=r"negative seek|before the beginning"):
            ours.seek(-1)
        with file.file() as another:
            assert another.read(10) == data[:10]


@pytest.mark.parametrize("name", ["a b#1 %20+é.tif", "[1]/a*b.tif"])
def test_odd_names(put, data, name):
    url, storage = put(name, data[:1000])
    if url.startswith("http"):
        url = quote(url, safe=":/[]*")
    with open_bytes(url, storage) as file:
        assert file.pread(1000, 0) == data[:1000]


def test_an_empty_file(put):
    with open_bytes(*put("empty", b"")) as file:
        assert (file.size, file.pread(0, 0), file.file().read()) == (0, b"", b"")


def pyramid(path):
    """Write a tiled, pyramidal TIFF and return its levels."""
    rng = np.random.default_rng(3)
    levels = [rng.integers(0, 60000, (3, size, size), np.uint16) for size in (1024, 512, 256)]
    options = {"tile": (128, 128), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], subifds=2, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
    return levels


def test_to_open_a_remote_tiff_takes_few_requests(tmp_path, server):
    levels = pyramid(tmp_path / "a.tif")
    size = (tmp_path / "a.tif").stat().st_size
    with open_bytes(f"{server.url}/a.tif") as file, tifffile.TiffFile(file.file()) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [x.shape for x in levels]
        pages = [page for level in tiff.series[0].levels for page in level.pages]
        # The directories of 9 pages lie all over it, one request each at most.
        assert len(pages) == 9
        assert size > 6 << 20
        assert len(server.requests) <= 10
        assert all(asked for _, asked in server.requests)
        server.requests.clear()
        page = tiff.series[0].levels[2].pages[1]
        found = file.pread(page.databytecounts[0], page.dataoffsets[0])
        tile, _, _ = page.decode(found, 0)
        np.testing.assert_array_equal(tile[0, :, :, 0], levels[2][1, :128, :128])
        assert len(server.requests) <= 2


def test_blocks_are_kept_but_not_all(tmp_path, server, data, monkeypatch):
    monkeypatch.setattr(remote_bytes, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(remote_bytes, "MOST_BLOCKS", 4)
    (tmp_path / "a.bin").write_bytes(data[:20_500])
    with open_bytes(f"{server.url}/a.bin") as file:
        for _ in range(3):
            for at in (0, 3000, 3990, 500):
                assert file.pread(20, at) == data[at : at + 20]
        assert len(server.requests) == 3
        assert file.pread(500, 20_000) == data[20_000:20_500]
        for at in range(5000, 12_000, 1000):
            file.pread(1, at)
        server.requests.clear()
        file.pread(1, 0)  # which had to go
        assert len(server.requests) == 1


def test_its_identity(tmp_path, server, s3, bucket, data):
    obstore.put(bucket, "identity.bin", data[:100])
    said = obstore.head(bucket, "identity.bin")
    with open_bytes("s3://bucket/identity.bin", tuple(s3.items())) as file:
        assert file.identity() == (100, int(said["last_modified"].timestamp()) * 10**9)
        assert file.meta.etag == said["e_tag"]
    (tmp_path / "a.bin").write_bytes(data[:100])
    with open_bytes(f"{server.url}/a.bin") as file:
        assert file.identity() == (100, 0)  # that server does not say when


def test_an_object_that_changes_while_it_is_read(s3, bucket, data):
    obstore.put(bucket, "changing.bin", data[:2_000_000])
    with open_bytes("s3://bucket/changing.bin", tuple(s3.items())) as file:
        obstore.put(bucket, "changing.bin", data[1_000_000:])  # of the same size
        for nbytes in (10, 1_000_000):
            with pytest.raises(SourceError, match=r"^s3://bucket/changing.bin: changed while it"):
                file.pread(nbytes, 900_000)
        obstore.put(bucket, "changing.bin", b"short")
        with pytest.raises(SourceError, match=r"changed while .*2000000 bytes before, 5 now"):
            file.pread(10, 900_000)
        obstore.delete(bucket, "changing.bin")
        with pytest.raises(FileNotFoundError):
            file.pread(10, 900_000)


def test_what_is_not_there(server, s3):
    for url, storage in [(f"{server.url}/no.tif", ()), ("s3://bucket/no.tif", tuple(s3.items()))]:
        with pytest.raises(FileNotFoundError, match=f"{url} is not there"):
            open_bytes(url, storage)


@pytest.mark.parametrize("status", [401, 403])
def test_what_may_not_be_read(server, status):
    server.faults["/a.tif"] = status
    with pytest.raises(SourceError, match=rf"^{server.url}/a.tif may not be read .*images.storage"):
        open_bytes(f"{server.url}/a.tif")


def test_no_credentials(server, monkeypatch):
    """The last place that is asked for them is the cloud machine itself; here, our server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    options = (("metadata_endpoint", server.url), ("region", "us-east-1"), *FEW_RETRIES)
    with pytest.raises(SourceError, match=r"a.tif may not be read \(no credentials\); set AWS_"):
        open_bytes("s3://bucket/a.tif", options)


def test_a_server_without_ranges(tmp_path, server, data):
    (tmp_path / "a.tif").write_bytes(data)
    server.has_ranges = False
    with pytest.raises(SourceError, match=r"does not answer requests for a range .* copy it here"):
        open_bytes(f"{server.url}/a.tif")


def test_nobody_there(server):
    with pytest.raises(SourceError, match=r"cannot be read .*refused\); check the address"):
        open_bytes("http://127.0.0.1:1/a.tif", FEW_RETRIES)
    answer = threading.Event()
    server.faults["/a.tif"] = lambda: answer.wait(60)
    options = (("client_options.timeout", "100ms"), ("retry_config.max_retries", "0"))
    try:
        with pytest.raises(SourceError, match=r"cannot be read .*timed out.*check the address"):
            open_bytes(f"{server.url}/a.tif", options)
    finally:
        answer.set()


def test_what_may_pass_is_tried_again(tmp_path, server, data):
    (tmp_path / "a.tif").write_bytes(data)
    server.faults["/a.tif"] = [503, 500]
    with open_bytes(f"{server.url}/a.tif") as file:
        assert file.pread(10, 0) == data[:10]
    assert len(server.requests) == 3


def test_without_obstore(monkeypatch):
    remote_place._client.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SourceError, match=r"pip install 'patchmill\[cloud\]'"):
        open_bytes("https://host/a.tif")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://host/a.tif?key=1", "has a query or a fragment"),
        ("https://host/a.tif#1", "has a query or a fragment"),
        ("https://host", "names a server and no file on it"),
        ("ftp://host/a.tif", "is no address that is read"),
        ("memory://a.tif", "is no address that is read"),
    ],
)
def test_addresses_that_are_not_read(url, said):
    with pytest.raises(SourceError, match=f"^{re.escape(url)}: {said}"):
        open_bytes(url)


def test_files_of_one_place_share_a_connection():
    one, name = remote_place.remote_place("s3://bucket/plate 1/a.tif", (("region", "x"),))
    other, _ = remote_place.remote_place("s3://bucket/b.tif", (("region", "x"),))
    assert one is other
    assert name == "plate 1/a.tif"
    assert remote_place.remote_place("s3://bucket/b.tif", (("region", "y"),))[0] is not one


def test_options():
    found = remote_place.remote_options(
        (("client_options.timeout", "3s"), ("region", "a"), ("retry_config.retry_timeout", "1.5"))
    )
    assert found["client_options"] == {"timeout": "3s"}
    assert found["retry_config"]["retry_timeout"].total_seconds() == 1.5
    with pytest.raises(SourceError, match=r'images.storage.retry_config.max_retries: found "few"'):
        remote_place.remote_options((("retry_config.max_retries", "few"),))
    with pytest.raises(SourceError, match=r"cannot be opened with these images.storage .*no_such"):
        open_bytes("s3://bucket/x", (("no_such", "1"),))

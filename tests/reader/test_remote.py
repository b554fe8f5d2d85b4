"""Stores on a server: as in a folder, by few requests; what fails is said in a sentence."""

import os
import pickle
import subprocess
import sys

import numpy as np
import obstore
import pytest
from obstore.store import S3Store

from patchmill.reader import (
    DamagedStoreError,
    IncompleteStoreError,
    RemoteStoreError,
    StoreError,
    open_store,
    remote_reader,
)
from patchmill.reader.format import index_nbytes

#: Soon done with what fails: a server that is not there is not asked ten times.
FEW_RETRIES = {"retry_config": {"max_retries": 1}}


@pytest.fixture
def upload(s3):
    """Return a function that copies a folder into the bucket and gives its URL."""
    bucket = S3Store("bucket", **s3, client_options={"allow_http": True})

    def copy(folder, name):
        for file in folder.rglob("*"):
            if file.is_file():
                obstore.put(bucket, f"{name}/{file.relative_to(folder)}", file.read_bytes())
        return f"s3://bucket/{name}"

    return copy


@pytest.fixture
def served(make_store, consolidate, server):
    """Return a function that makes a store, and gives it and its URL on an HTTP server."""

    def make(**options):
        written = make_store(**options)
        consolidate(written.path)
        return written, f"{server.url}/train.zarr"

    return make


@pytest.fixture(params=["http", "s3"])
def anywhere(request, served, s3, upload):
    """Return a function that makes a store, and gives it, its URL and the options to open it."""

    def make(**options):
        written, url = served(**options)
        if request.param == "http":
            return written, url, {}
        name = request.node.name.replace("/", "-")
        return written, upload(written.path, f"{name}/train.zarr"), {"storage_options": s3}

    return make


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("verify", [True, False])
def test_patches_are_those_of_the_folder(anywhere, codec, verify):
    written, url, options = anywhere(codec=codec)
    store = open_store(url, verify=verify, **options)
    assert (store.io, store.is_fast, str(store.path)) == ("remote", True, url)
    assert url in repr(store)
    rows = np.random.default_rng(1).integers(0, 37, 100)
    np.testing.assert_array_equal(store.read(rows)["image"], written.pixels[rows])
    np.testing.assert_array_equal(store[17]["image"], written.pixels[17])
    corners = np.random.default_rng(2).integers(0, 4, (100, 2))
    windows = np.empty((100, 2, 9, 7), "uint16")
    store.read_rows_into(rows, {"image": windows}, corners)
    for window, row, (y, x) in zip(windows, rows, corners, strict=True):
        np.testing.assert_array_equal(window, written.pixels[row, :, y : y + 9, x : x + 7])


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_loaders_give_the_batches_of_the_folder(anywhere, backend, workers, reader_threads):
    written, url, options = anywhere(splits={"train": 30, "val": 7})
    ways = {"shuffle": True, "seed": 3, "num_workers": 2, "backend": backend}
    local = open_store(written.path).select(split="train").loader(4, **ways)
    remote = open_store(url, **options).select(split="train").loader(4, **ways)
    for ours, theirs in zip(remote, local, strict=True):
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])
    del local, remote
    assert (workers(), reader_threads()) == ([], [])


def test_columns_conditions_and_statistics(anywhere):
    written, url, options = anywhere(splits={"train": 30, "val": 7}, void=[3, 35])
    store, local = open_store(url, **options), open_store(written.path)
    assert list(store.index) == list(local.index)
    assert list(store.images) == ["path"]
    assert store.images["path"].tolist() == ["a.tif", "b.tif"]
    assert store.index.meanings("split") == ("train", "val")
    assert len(store) == len(local) == 35
    chosen = store.select(split="train", where="x > 30 and x < 60")
    np.testing.assert_array_equal(
        chosen.read(range(len(chosen)))["index"], np.arange(11, 20, dtype=np.int64)
    )
    np.testing.assert_array_equal(
        store.select(split="val").statistics["mean"], local.select(split="val").statistics["mean"]
    )


def test_how_many_requests(served, server):
    written, url = served(rows=400, rows_per_shard=50, shape=(2, 64, 64))
    assert written.shard(0).stat().st_size > 50 * 5000
    store = open_store(url)
    assert server.requests == [("/train.zarr/zarr.json", ""), ("/train.zarr/image/zarr.json", "")]
    server.requests.clear()
    rows = np.random.default_rng(5).choice(400, 64, replace=False)
    shards = len(set(rows // 50))
    np.testing.assert_array_equal(store.read(rows)["image"], written.pixels[rows])
    assert len(server.requests) <= 64 + shards
    assert len(server.requests) == len(server.asked("/image/c."))
    indices = [asked for asked in server.asked("/image/c.") if asked.startswith("bytes=-")]
    assert indices == [f"bytes=-{index_nbytes(50)}"] * shards
    server.requests.clear()
    store.read(rows)
    assert 0 < len(server.requests) <= 64  # the indices are known
    assert not [asked for asked in server.asked("") if asked.startswith("bytes=-")]


def test_neighbours_come_in_one_request(served, server):
    written, url = served(rows=40, rows_per_shard=20)
    store = open_store(url)
    store[0], store[20]  # which asks for the indices
    server.requests.clear()
    block = store.read(range(40))["image"]
    np.testing.assert_array_equal(block, written.pixels)
    assert len(server.requests) == 2
    store.read([7, 7, 7])
    assert len(server.requests) == 3


def test_a_large_read_is_fetched_in_parts(served, server, monkeypatch):
    monkeypatch.setattr(remote_reader, "WAVE_BYTES", 480 * 5)
    written, url = served()
    store = open_store(url)
    rows = np.random.default_rng(3).permutation(37)
    server.requests.clear()
    np.testing.assert_array_equal(store.read(rows)["image"], written.pixels[rows])
    assert len([asked for asked in server.asked("c.") if asked.startswith("bytes=-")]) == 5


def test_a_bounded_number_of_indices_is_kept(served, server, monkeypatch):
    monkeypatch.setattr(remote_reader, "INDEX_BYTES", 1)
    written, url = served(rows=70, rows_per_shard=1)  # and 64 are always kept
    store = open_store(url)
    for row in range(66):
        np.testing.assert_array_equal(store[row]["image"], written.pixels[row])
    server.requests.clear()
    store[2]
    assert len(server.requests) == 1
    store[0]  # the oldest, which had to go
    assert len(server.requests) == 3


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


def assert_same_damage(written, url, row, **options):
    with pytest.raises(DamagedStoreError) as local:
        open_store(written.path, io="pread")[row]
    with pytest.raises(DamagedStoreError) as remote:
        open_store(url, **options)[row]
    assert str(remote.value) == str(local.value).replace(str(written.path), url)


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_damage_is_named_as_in_a_folder(served, codec):
    written, url = served(codec=codec)
    flip(written.shard(1), 40)
    flip(written.shard(2), -1)
    written.shard(3).write_bytes(b"")
    written.shard(4).unlink()
    for row in (8, 16, 24, 32):
        assert_same_damage(written, url, row)
    store = open_store(url)
    with pytest.raises(DamagedStoreError, match=r"c\.1\.0\.0\.0, patch 8: its checksum is wrong"):
        store.read([30, 20, 8, 3])
    np.testing.assert_array_equal(store.read([15, 3])["image"], written.pixels[[15, 3]])


def test_damage_on_s3(make_store, consolidate, upload, s3):
    written = make_store()
    consolidate(written.path)
    written.shard(0).write_bytes(b"")
    written.shard(1).write_bytes(written.shard(1).read_bytes()[:50])
    written.shard(4).unlink()
    url = upload(written.path, "damaged.zarr")
    for row in (0, 8, 32):
        assert_same_damage(written, url, row, storage_options=s3)


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_an_object_cut_short_while_it_is_read(served, codec):
    written, url = served(codec=codec)
    store = open_store(url)
    np.testing.assert_array_equal(store[8]["image"], written.pixels[8])
    for keep in (700, 0):
        os.truncate(written.shard(1), keep)
        with pytest.raises(DamagedStoreError, match=r"patch 15: the file ends \d+ bytes too early"):
            store[15]
    written.shard(1).unlink()
    with pytest.raises(DamagedStoreError, match=r"patch 15: the file ends \d+ bytes too early"):
        store[15]


def test_an_unfinished_store(served):
    written, url = served(complete=False)
    written.shard(4).unlink()
    with pytest.raises(IncompleteStoreError, match="is not complete"):
        open_store(url)
    store = open_store(url, allow_incomplete=True)
    np.testing.assert_array_equal(store[31]["image"], written.pixels[31])
    with pytest.raises(IncompleteStoreError, match="patch 33 is not written yet"):
        store[33]


def test_a_store_that_was_staged_in_part(served):
    written, url = served()
    written.shard(4).unlink()
    (written.path / "staged.json").write_text('{"source": "/data/x.zarr", "splits": ["train"]}')
    with pytest.raises(IncompleteStoreError, match="which was not staged, only train was"):
        open_store(url)[33]


def test_other_layouts_come_through_zarr(served, consolidate):
    import zarr

    written, url = served()
    group = zarr.open_group(str(written.path), mode="r+", use_consolidated=False)
    del group["image"]
    array = group.create_array("image", shape=(37, 2, 12, 10), chunks=(5, 1, 12, 10), dtype="<u2")
    array[:] = written.pixels
    consolidate(written.path)
    store = open_store(url)
    assert (store.is_fast, store.io) == (False, "remote")
    np.testing.assert_array_equal(store.read([3, 36, 3])["image"], written.pixels[[3, 36, 3]])


def test_pickled_it_is_its_address_and_options(anywhere):
    written, url, options = anywhere()
    store, view = pickle.loads(
        pickle.dumps([s := open_store(url, **options), s.select(where="x < 9")])
    )
    assert str(store.path) == url
    np.testing.assert_array_equal(view.read([2])["image"], written.pixels[[2]])
    written.edit(lambda own: own.update(plan="1" * 64))
    if not options:
        with pytest.raises(StoreError, match="it was made again in between"):
            pickle.loads(pickle.dumps(store))


def test_several_stores_one_of_them_remote(served):
    written, url = served()
    both = open_store([url, written.path])
    assert (both.io, len(both)) == ("remote, map", 74)
    np.testing.assert_array_equal(both.read([40, 5])["image"], written.pixels[[3, 5]])


def test_what_the_environment_says(make_store, consolidate, upload, s3, monkeypatch):
    written = make_store()
    consolidate(written.path)
    url = upload(written.path, "environment.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["endpoint"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    np.testing.assert_array_equal(open_store(f"{url}/")[3]["image"], written.pixels[3])
    with pytest.raises(StoreError, match=r"s3://bucket/nothing is not a patchmill store, .* check"):
        open_store("s3://bucket/nothing")
    with pytest.raises(StoreError, match="s3://nobucket/x is not a patchmill store"):
        open_store("s3://nobucket/x")


def test_no_credentials(server, monkeypatch):
    """The last place that is asked for them is the cloud machine itself; here, our server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    options = {"metadata_endpoint": server.url, "region": "us-east-1"} | FEW_RETRIES
    with pytest.raises(
        RemoteStoreError, match=r"zarr.json may not be read \(no credentials\); set"
    ):
        open_store("s3://bucket/x", storage_options=options)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(RemoteStoreError, match=r"may not be read .*AccessKeyId.*; set AWS_ACCESS"):
        open_store("s3://bucket/x", storage_options=options)


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses(served, server, status):
    _, url = served()
    server.faults["/train.zarr/zarr.json"] = status
    with pytest.raises(RemoteStoreError, match=rf"^{url}/zarr.json may not be read .*{status}"):
        open_store(url)
    del server.faults["/train.zarr/zarr.json"]
    store = open_store(url)
    server.faults["/train.zarr/image/c.0.0.0.0"] = status
    with pytest.raises(RemoteStoreError, match=rf"^{url}/image/c.0.0.0.0 may not be read"):
        store[0]


def test_nobody_there(served, server):
    _, url = served()
    store = open_store(url, storage_options=FEW_RETRIES)
    server.faults["/train.zarr/image/c.0.0.0.0"] = 500
    with pytest.raises(RemoteStoreError, match=r"c.0.0.0.0 cannot be read \(.*500.*check the addr"):
        store[0]
    with pytest.raises(RemoteStoreError, match=r"/zarr.json cannot be read .*refused\); check"):
        open_store("http://127.0.0.1:1/train.zarr", storage_options=FEW_RETRIES)
    with pytest.raises(RemoteStoreError, match=r"/zarr.json cannot be read .*; check the address"):
        open_store("http://nobody.invalid/train.zarr", storage_options=FEW_RETRIES)


def test_a_server_that_does_not_answer_in_time(served, server):
    import threading

    _, url = served()
    answer = threading.Event()
    server.faults["/train.zarr/zarr.json"] = lambda: answer.wait(60)
    options = {"client_options": {"timeout": "100ms"}, "retry_config": {"max_retries": 0}}
    try:
        with pytest.raises(RemoteStoreError, match=r"cannot be read .*timed out.*check the addr"):
            open_store(url, storage_options=options)
    finally:
        answer.set()


def test_what_may_pass_is_tried_again(served, server):
    written, url = served()
    store = open_store(url)
    server.faults["/train.zarr/image/c.0.0.0.0"] = [503, 500]
    np.testing.assert_array_equal(store[5]["image"], written.pixels[5])
    assert len(server.asked("c.0.0.0.0")) == 4


def test_a_server_without_ranges(served, server):
    _, url = served()
    server.has_ranges = False
    with pytest.raises(RemoteStoreError, match="does not answer requests for a range of bytes"):
        open_store(url)[0]


@pytest.mark.parametrize("url", ["https://host/x.zarr?key=1", "https://host/x.zarr#a"])
def test_an_address_with_a_query(url):
    with pytest.raises(StoreError, match="has a query or a fragment"):
        open_store(url)


def test_options_that_are_none(served):
    written, url = served()
    with pytest.raises(StoreError, match=r"cannot be opened with these storage_options .*no_such"):
        open_store("s3://bucket/x", storage_options={"no_such": 1})
    with pytest.raises(StoreError, match=r"cannot be opened with these storage_options .*no_such"):
        open_store(url, storage_options={"client_options": {"no_such": 1}})
    with pytest.raises(ValueError, match="io is 'map' and the store is remote"):
        open_store(url, io="map")
    with pytest.raises(ValueError, match="storage_options, cache and cache_bytes are for stores"):
        open_store(written.path, storage_options={"region": "x"})


def test_nothing_but_a_server(served, server):
    """What a folder can be asked, a server cannot."""
    written, url = served()
    content = (written.path / "zarr.json").read_bytes()
    written.edit(lambda own: None)
    (written.path / "zarr.json").write_bytes(
        content.replace(b'"consolidated_metadata"', b'"something_else"')
    )
    with pytest.raises(StoreError, match="has no consolidated metadata"):
        open_store(url)
    (written.path / "zarr.json").write_bytes(b"<html>")
    with pytest.raises(DamagedStoreError, match=f"{url}/zarr.json is not JSON"):
        open_store(url)
    (written.path / "zarr.json").write_bytes(content)
    (written.path / "image/zarr.json").unlink()
    with pytest.raises(DamagedStoreError, match=f"{url}/image/zarr.json is missing"):
        open_store(url)


def test_without_obstore(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StoreError, match=r"pip install 'patchmill\[cloud\]'"):
        open_store("https://host/train.zarr")


def test_after_a_fork_one_sentence(served):
    """Obstore's threads are not in the child, where each request would wait for ever."""
    _, url = served()
    store = open_store(url)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            store[0]
        except BaseException as error:
            os.write(writable, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writable)
    with os.fdopen(readable) as stream:
        said = stream.read()
    assert said.startswith(f"RemoteStoreError: {url} was opened before this process was forked")
    assert "spawn" in said


def test_what_is_loaded_and_what_is_left_at_the_end(served, plain):
    _, url = served()
    script = (
        "import sys\n"
        "from patchmill.reader import open_store\n"
        f"open_store({str(plain.path)!r})[0]\n"
        "assert 'obstore' not in sys.modules\n"
        f"store = open_store({url!r})\n"
        "for batch in store.loader(4, num_workers=2, prefetch=4):\n"
        "    break\n"
        "assert 'zarr' not in sys.modules\n"
        "loader = iter(store.loader(4, num_workers=2, prefetch=4))\n"
        "next(loader)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

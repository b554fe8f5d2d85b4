"""Stores on an object store: the bytes of one in a folder, resumed, and never another's objects."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import tifffile
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from patchmill.reader import open_store
from patchmill.reader.errors import (
    IncompleteStoreError,
    PatchmillError,
    StoreError,
)
from patchmill.workflows import Outcome, Recipe, prepare, remote_destination, verify
from patchmill.workflows.cut import shard_spec
from patchmill.workflows.ledger import Ledger
from patchmill.workflows.progress import Silent
from patchmill.workflows.run_folder import run_folder_of

SECRET = "wJalrXUtnFEMI"


@pytest.fixture(scope="module")
def keys(s3) -> dict[str, str]:
    """What `store.storage` says; a server that is gone is not waited for."""
    return {**s3, "secret_access_key": SECRET, "retry_config.max_retries": "0"}


@pytest.fixture
def bucket(s3):
    return S3Store("bucket", **s3, client_options={"allow_http": True})


@pytest.fixture
def url(request) -> str:
    """A place of this test's own."""
    return f"s3://bucket/{request.node.name}/s.zarr"


@pytest.fixture
def objects(bucket):
    """Return a function that reads every object below a URL, by its name there."""

    def read(url: str) -> dict[str, bytes]:
        prefix = url.removeprefix("s3://bucket/") + "/"
        names = [each["path"] for page in obstore.list(bucket, prefix) for each in page]
        return {n.removeprefix(prefix): bytes(obstore.get(bucket, n).bytes()) for n in names}

    return read


@pytest.fixture
def cut_to(client, tmp_path, url, keys):
    """Return `prepare` of nested tables to this test's URL, on the shared cluster."""

    def run(tables: dict[str, Any], **options: Any) -> Outcome:
        store = {**tables.get("store", {}), "storage": options.pop("storage", keys)}
        recipe = Recipe.from_dict({**tables, "store": store}, tmp_path)
        options = {"run_folder": tmp_path / "run", "client": client, **options}
        return prepare(recipe, options.pop("store", url), **options)

    return run


@pytest.fixture
def tables(plate, plate_tables):
    plate("ABCD", compression="zlib")
    return plate_tables(split={"fractions": {"train": 0.5, "val": 0.5}})


@pytest.fixture
def many(plate, plate_tables):
    """Tables of two hundred and fifty shards."""
    plate("ABCDEF", shape=(96, 96), compression="zlib")
    return plate_tables(store={"shard_bytes": 1024}, patches={"stride": [12, 12]})


def test_the_same_bytes_as_in_a_folder(tmp_path, url, cut, cut_to, tables, files_of, objects, s3):
    local = cut(tables)
    outcome = cut_to(tables)
    assert (outcome.store, outcome.cut, outcome.kept) == (url, local.cut, 0)
    assert outcome.plan.digest == local.plan.digest
    assert objects(url) == files_of(local.store)
    assert list((tmp_path / "run/tmp").iterdir()) == []
    store, same = open_store(url, storage_options=s3), open_store(local.store)
    rows = range(len(same))
    np.testing.assert_array_equal(store.read(rows)["image"], same.read(rows)["image"])
    assert store.images["id"].tolist() == same.images["id"].tolist()
    again = cut_to(tables)
    assert (again.cut, again.kept) == (0, local.cut)


def test_masks_and_statistics_too(
    tmp_path, url, annotated, cut, cut_to, bucket, files_of, objects, s3
):
    tables = annotated(tmp_path, wells="ABCD")
    local = cut(tables)
    assert cut_to(tables).cut == local.cut
    assert objects(url) == files_of(local.store)
    store, same = open_store(url, storage_options=s3), open_store(local.store)
    rows = range(len(same))
    ours, theirs = store.read(rows), same.read(rows)
    assert set(ours) == {"image", "masks/cells", "masks/bright", "labels/nuclei", "index"}
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    for one, other in zip(store.histogram("train"), same.histogram("train"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert verify(url, storage_options=s3).damage == ()
    name = "masks/cells/c.1.0.0"
    place = url.removeprefix("s3://bucket/")
    good = objects(url)[name]
    bad = bytes([good[0] ^ 1]) + good[1:]
    obstore.put(bucket, f"{place}/{name}", bad)
    assert name in verify(url, storage_options=s3).damage[0]
    obstore.delete(bucket, f"{place}/{name}")
    again = cut_to(tables)
    assert (again.cut, again.kept) == (1, local.cut - 1)
    assert objects(url) == files_of(local.store)


def test_keys_are_nowhere(tmp_path, url, keys, cut_to, tables, objects, files_of, capfd):
    tables["images"]["storage"] = {"secret_access_key": SECRET}
    outcome = cut_to(tables)
    for written in (objects(url), files_of(tmp_path / "run")):
        assert len(written) > 2
        assert [name for name, data in written.items() if SECRET.encode() in data] == []
    with pytest.raises(PatchmillError):
        cut_to({**tables, "patches": {"size": 8}})
    assert SECRET not in "".join(capfd.readouterr())
    # Of a task that fails Dask logs its arguments.
    run = run_folder_of(url, tmp_path / "run", tuple(keys.items()))
    spec = shard_spec(outcome.plan, run, 0, frozenset())
    assert dict(spec.options.storage) == {"secret_access_key": SECRET}
    assert [dict(target.storage) for target in spec.targets] == [keys]
    assert SECRET not in repr(spec) + repr(outcome) + repr(run)


class StopHere(Exception):
    """Stands for a crash of the driver."""


def after_shards(monkeypatch, count: int, then) -> None:
    """Do something once that many shards are in the ledger."""
    add = Ledger.add_shard

    def add_shard(self, result):
        add(self, result)
        if len(self.shards) == count:
            then()

    monkeypatch.setattr(Ledger, "add_shard", add_shard)


@pytest.fixture
def mortal() -> Any:
    """An S3 server that can be stopped, and started again with what it had."""

    class Server:
        def __init__(self) -> None:
            self.start(0)
            _, port = self.server.get_host_and_port()
            self.port = int(port)
            self.endpoint = f"http://127.0.0.1:{port}"
            request = urllib.request.Request(f"{self.endpoint}/mortal", method="PUT")
            urllib.request.urlopen(request).close()

        def start(self, port: int) -> None:
            self.server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
            self.server.start()

        def restart(self) -> None:
            self.start(self.port)

        def stop(self) -> None:
            self.server.stop()

    server = Server()
    yield server
    server.stop()


def test_the_server_goes_away_and_comes_back(
    cut, cut_to, many, keys, mortal, files_of, monkeypatch
):
    local = cut(many)
    place = {"store": "s3://mortal/s.zarr", "storage": {**keys, "endpoint": mortal.endpoint}}
    with monkeypatch.context() as patch:
        after_shards(patch, 7, mortal.stop)
        with pytest.raises(PatchmillError, match=r"shard \d+: s3://mortal/s.zarr/image/c.* cannot"):
            cut_to(many, **place)
    mortal.restart()
    options = {key: text for key, text in place["storage"].items() if "." not in key}
    with pytest.raises(IncompleteStoreError):
        open_store(place["store"], storage_options=options)
    listed = []
    original = remote_destination.object_sizes
    monkeypatch.setattr(
        remote_destination,
        "object_sizes",
        lambda client, folder="": (listed.append(folder), original(client, folder))[1],
    )
    outcome = cut_to(many, **place)
    assert 7 <= outcome.kept < local.cut
    assert outcome.kept + outcome.cut == local.cut
    assert listed.count("image") == 1
    bucket = S3Store("mortal", **options, client_options={"allow_http": True})
    names = [each["path"] for page in obstore.list(bucket) for each in page]
    found = {name: bytes(obstore.get(bucket, name).bytes()) for name in names}
    assert found == {f"s.zarr/{name}": data for name, data in files_of(local.store).items()}


def test_a_killed_command_goes_on(
    tmp_path, url, cut, many, write_toml, command, eventually, files_of, objects, s3
):
    """Keys from the environment, worker processes of its own, the run folder where it is run."""
    write_toml(tmp_path / "r.toml", many)
    local = cut(many, "whole.zarr")
    environment = {
        "AWS_ENDPOINT_URL": s3["endpoint"],
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    line = ("prepare", "r.toml", "-o", url, "--workers", "2")
    ledger = tmp_path / "s.zarr.run/ledger"
    run = command(*line, **environment)
    eventually(
        lambda: (
            (ledger.exists() and ledger.stat().st_size > 2000) or run.process.poll() is not None
        ),
        "some shards are in the ledger",
    )
    assert run.process.poll() is None, run.finish()
    run.kill()
    assert "not complete" in command("info", url, **environment).finish()
    text = command(*line, **environment).finish()
    assert f"{url}: complete" in text
    assert f" {local.cut:,} shards cut, 0 were" not in text
    assert objects(url) == files_of(local.store)
    assert not (tmp_path / "s3:").exists()
    text = command("info", url, **environment).finish()
    assert f"{url}: complete" in text
    assert "in all" in text
    assert "patches are what was written" in command("verify", url, **environment).finish()


def test_verify_finds_what_is_not_as_written(url, cut_to, tables, bucket, objects, s3):
    cut_to(tables)
    patches = verify(url, storage_options=s3).patches
    assert (patches, verify(url, storage_options=s3).damage) == (80, ())
    whole, prefix = objects(url), url.removeprefix("s3://bucket/")

    def damage_of(name: str, data: bytes | None) -> str:
        if data is None:
            obstore.delete(bucket, f"{prefix}/{name}")
        else:
            obstore.put(bucket, f"{prefix}/{name}", data)
        found = verify(url, storage_options=s3).damage
        obstore.put(bucket, f"{prefix}/{name}", whole.get(name, b""))
        if name not in whole:
            obstore.delete(bucket, f"{prefix}/{name}")
        return "\n".join(found)

    shard = bytearray(whole["image/c.3.0.0.0"])
    shard[100] ^= 1
    assert f"{url}: shard image/c.3.0.0.0, patch 12" in damage_of("image/c.3.0.0.0", bytes(shard))
    assert "shard image/c.4.0.0.0, patch 16" in damage_of("image/c.4.0.0.0", None)
    assert f"{url}/index/x: 1 chunks are missing" in damage_of("index/x/c/0", None)
    assert f"{url}/index/y/zarr.json: is missing" in damage_of("index/y/zarr.json", None)
    said = damage_of("notes.txt", b"hello")
    assert said == f"{url}/notes.txt: does not belong to the store"
    assert verify(url, storage_options=s3).damage == ()
    with pytest.raises(StoreError, match="a web server does not say which files it has"):
        verify("https://host/s.zarr")


def test_objects_that_are_gone_or_short_are_cut_again(
    url, cut, cut_to, tables, bucket, objects, files_of
):
    local, _ = cut(tables), cut_to(tables)
    prefix = url.removeprefix("s3://bucket/")
    obstore.delete(bucket, f"{prefix}/image/c.3.0.0.0")
    obstore.put(bucket, f"{prefix}/image/c.5.0.0.0", b"short")
    again = cut_to(tables)
    assert (again.cut, again.kept) == (2, local.cut - 2)
    assert objects(url) == files_of(local.store)


def test_another_plan_is_refused_unless_it_overwrites(
    url, cut, cut_to, tables, bucket, objects, files_of
):
    cut_to({**tables, "patches": {"size": 8}})
    before = objects(url)
    with pytest.raises(StoreError, match=r"was made by another plan:\n  patches\.size"):
        cut_to(tables)
    assert objects(url) == before
    obstore.put(bucket, f"{url.removeprefix('s3://bucket/')}.other/zarr.json", b"{}")
    cut_to(tables, overwrite=True)
    assert objects(url) == files_of(cut(tables).store)
    assert objects(f"{url}.other") == {"zarr.json": b"{}"}


@pytest.mark.parametrize("steps", [1, 2])
def test_overwriting_that_is_cut_short(
    url, cut, cut_to, tables, objects, files_of, monkeypatch, s3, steps
):
    cut_to({**tables, "patches": {"size": 8}})
    delete = remote_destination.delete_objects
    left = [steps]

    def delete_some(client, names):
        left[0] -= 1
        if not left[0]:
            delete(client, list(names)[::2] if len(names) > 1 else [])
            raise StopHere
        delete(client, names)

    with monkeypatch.context() as patch:
        patch.setattr(remote_destination, "delete_objects", delete_some)
        with pytest.raises(StopHere):
            cut_to(tables, overwrite=True)
    with pytest.raises((IncompleteStoreError, StoreError)):
        open_store(url, storage_options=s3)
    cut_to(tables, overwrite=True)
    assert objects(url) == files_of(cut(tables).store)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["zarr.json", "photos/cat.png"])
def test_what_is_no_store_of_ours_is_left_alone(
    url, cut_to, tables, bucket, objects, name, overwrite
):
    obstore.put(bucket, f"{url.removeprefix('s3://bucket/')}/{name}", b"{}")
    with pytest.raises(StoreError, match="not a patchmill store"):
        cut_to(tables, overwrite=overwrite)
    assert objects(url) == {name: b"{}"}


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_steps_of_create_and_finish(
    tmp_path, url, cut, cut_to, plate, plate_tables, objects, files_of, monkeypatch, after
):
    plate("A", shape=(32, 32))
    tables = plate_tables()
    expected = files_of(cut(tables).store)
    put = remote_destination.put_object
    done: list[str] = []
    stop = [0]

    def step(client, name, data):
        done.append(name)
        if len(done) == stop[0] and not after:
            raise StopHere
        put(client, name, data)
        if len(done) == stop[0]:
            raise StopHere

    monkeypatch.setattr(remote_destination, "put_object", step)
    monkeypatch.setattr(
        remote_destination, "at_once", lambda work, items, most: [work(each) for each in items]
    )
    cut_to(tables, store=f"{url}/whole", run_folder=tmp_path / "whole")
    assert done[:2] == ["zarr.json", "image/zarr.json"]
    assert done[-1] == "zarr.json"
    steps = len(done)
    for number in (1, 2, 3, steps // 2, steps - 1, steps):
        place = {"store": f"{url}/{number}", "run_folder": tmp_path / f"{number}"}
        done.clear()
        stop[0] = number
        with pytest.raises(StopHere):
            cut_to(tables, **place)
        assert len(done) == number
        stop[0] = 0
        cut_to(tables, **place)
        assert objects(place["store"]) == expected
        assert list((place["run_folder"] / "tmp").iterdir()) == []


class Noted(Silent):
    """Notes what is said."""

    said: list[str]

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_run_folder_that_is_lost(
    tmp_path, url, cut, cut_to, tables, objects, files_of, monkeypatch
):
    local = cut(tables)
    said: list[str] = []
    progress = type("Kept", (Noted,), {"said": said})

    def crash() -> None:
        raise StopHere

    with monkeypatch.context() as patch:
        after_shards(patch, 5, crash)
        with pytest.raises(StopHere):
            cut_to(tables)
    other = tmp_path / "elsewhere"
    outcome = cut_to(tables, run_folder=other, progress=progress)
    assert (outcome.cut, outcome.kept) == (local.cut, 0)
    assert f"{other} has no ledger of this store: every shard is cut, finished or not" in said
    assert objects(url) == files_of(local.store)
    said.clear()
    outcome = cut_to(tables, run_folder=tmp_path / "third", progress=progress)
    assert (outcome.cut, outcome.kept) == (0, local.cut)
    assert said == []


def test_a_run_folder_of_another_store(tmp_path, url, cut_to, tables, objects):
    first = cut_to(tables)
    before = objects(url)
    for options in ({}, {"overwrite": True}):
        with pytest.raises(StoreError, match=rf"run is of another store, {url}; write another"):
            cut_to(tables, store=f"{url}2", **options)
    assert objects(f"{url}2") == {}
    assert objects(url) == before
    assert cut_to(tables).kept == first.cut


def test_an_image_that_cannot_be_cut(tmp_path, url, cut, cut_to, tables, objects, files_of):
    """It is void here as in a folder, also in shards that were finished before."""
    tables["images"]["on_error"] = "skip"
    path = tmp_path / "C01_w2.tif"
    os.utime(path, ns=(1, 1))
    cut_to(tables)
    with tifffile.TiffFile(path) as tif:
        strip = tif.pages[0].dataoffsets[2]
    data = bytearray(path.read_bytes())
    data[strip : strip + 60] = bytes(60)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    local = cut(tables)
    assert [name for name, _ in local.failed] == ["well=C01"]
    outcome = cut_to(tables, overwrite=True)
    assert [name for name, _ in outcome.failed] == ["well=C01"]
    found, expected = objects(url), files_of(local.store)
    # The reason names the region that was read first.
    del found["images/reason/c/0"], expected["images/reason/c/0"]
    assert found == expected


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("https://host/s.zarr", "https://host/s.zarr cannot be written; write a folder, s3://"),
        ("ftp://host/s.zarr", "ftp://host/s.zarr cannot be written"),
        ("s3://bucket", "names no store in a bucket; write s3://bucket/train.zarr"),
        ("s3://bucket/", "names no store in a bucket"),
        ("s3://id:hush@bucket/s.zarr", "has a user name, a query or a fragment"),
        ("s3://bucket/s.zarr?x=hush", "has a user name, a query or a fragment"),
        (Path("s3://bucket/s.zarr"), "was a URL before it became a Path"),
        ("s3://nobucket/s.zarr", "s3://nobucket/s.zarr cannot be listed .*404"),
    ],
    ids=str,
)
def test_places_that_are_none(tmp_path, cut_to, tables, store, said):
    options = {} if "nobucket" in str(store) else {"run_folder": None}
    with pytest.raises(PatchmillError, match=said) as raised:
        cut_to(tables, store=store, **options)
    assert "hush" not in str(raised.value)
    assert not (tmp_path / "s3:").exists()


def test_options_that_are_none(cut_to, tables, keys):
    with pytest.raises(PatchmillError, match=r"store\.storage\.retry_config\.max_retries: found"):
        cut_to(tables, storage={**keys, "retry_config.max_retries": "few"})
    with pytest.raises(StoreError, match=r"cannot be opened with these store\.storage .*no_such"):
        cut_to(tables, storage={**keys, "no_such": "x"})


def test_the_run_folder_of_a_folder_is_beside_it(tmp_path, cut_to, tables):
    with pytest.raises(PatchmillError, match="leave --run-folder out"):
        cut_to(tables, store=tmp_path / "local.zarr")

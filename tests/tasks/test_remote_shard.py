"""A shard on an object store: the bytes of a file, seen whole or not at all."""

import errno
import pickle
import tempfile

import obstore
import pytest
from obstore.store import S3Store

from patchmill.reader.errors import RemoteStoreError, StoreError
from patchmill.tasks.remote_objects import (
    PART_BYTES,
    delete_objects,
    has_objects,
    object_sizes,
    put_object,
    store_client,
)
from patchmill.tasks.remote_shard import ShardObject
from patchmill.tasks.shard import write_shard
from patchmill.tasks.source import SourceError

SMALL = (b"first", None, b"", b"fourth" * 100)
#: More than one part, so that it is sent in several.
LARGE = (b"a" * PART_BYTES, None, bytes(range(256)) * (PART_BYTES // 256), b"end")


@pytest.fixture
def storage(s3):
    return tuple(sorted(s3.items()))


@pytest.fixture
def target(request, storage):
    return ShardObject(f"s3://bucket/{request.node.name}", "image/c.0.0.0.0", storage)


@pytest.fixture
def stored(target, s3):
    """Return a function that reads the object; None where there is none."""
    bucket = S3Store("bucket", **s3, client_options={"allow_http": True})
    key = f"{target.url.removeprefix('s3://bucket/')}/{target.name}"

    def read():
        try:
            return bytes(obstore.get(bucket, key).bytes())
        except FileNotFoundError:
            return None

    return read


@pytest.mark.parametrize("chunks", [SMALL, LARGE], ids=["small", "large"])
def test_it_is_the_file(target, stored, tmp_path, chunks):
    path = tmp_path / "c.0.0.0.0"
    expected = write_shard(path, tmp_path, chunks, 6)
    elsewhere = pickle.loads(pickle.dumps(target))
    assert elsewhere.write(iter(chunks), 6) == expected
    assert stored() == path.read_bytes()
    assert target.write(iter(chunks), 6) == expected
    assert stored() == path.read_bytes()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SourceError])
@pytest.mark.parametrize("there", [False, True])
def test_a_fault_in_the_middle_changes_nothing(target, stored, error, there):
    if there:
        target.write(SMALL, 4)
    before = stored()

    def chunks():
        yield b"x" * (2 * PART_BYTES)
        raise error("no")

    with pytest.raises(error):
        target.write(chunks(), 4)
    assert stored() == before
    assert (before is not None) == there


def test_no_room_for_what_is_not_finished(target, stored, monkeypatch):
    class Full(tempfile.SpooledTemporaryFile):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(OSError, match=f"No space left on device: '{tempfile.gettempdir()}'"):
        target.write(SMALL, 4)
    assert stored() is None


def test_a_bucket_that_is_not_there(storage):
    target = ShardObject("s3://nobucket/s.zarr", "image/c.0", storage)
    for chunks in (SMALL, LARGE):
        with pytest.raises(
            RemoteStoreError, match=r"s3://nobucket/s.zarr/image/c.0 cannot be written .*404"
        ):
            target.write(chunks, 4)


def test_no_credentials_are_shown(target):
    assert "testing" not in repr(target)


def test_objects_are_listed_and_deleted(request, storage):
    client = store_client(f"s3://bucket/{request.node.name}", storage)
    assert not has_objects(client)
    names = [*(f"image/c.{number}" for number in range(38)), "zarr.json", "imagery/x"]
    for name in names:
        put_object(client, name, b"12345")
    assert has_objects(client)
    assert object_sizes(client) == dict.fromkeys(names, 5)
    in_image = [name.removeprefix("image/") for name in names[:-2]]
    assert sorted(object_sizes(client, "image")) == sorted(in_image)
    delete_objects(client, names[:-2])
    delete_objects(client, [])
    assert sorted(object_sizes(client)) == ["imagery/x", "zarr.json"]


@pytest.mark.parametrize("url", ["https://host/x", "s3://bucket", "s3://a:b@bucket/x", "file:///x"])
def test_where_no_store_can_be(url):
    with pytest.raises(StoreError, match=r"write (a folder|s3://|a plain)") as raised:
        store_client(url, ())
    assert "a:b" not in str(raised.value)

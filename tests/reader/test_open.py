"""What `open_store` refuses, in one sentence that names what was found."""

import json

import pytest

from patchmill.reader import DamagedStoreError, IncompleteStoreError, StoreError, open_store


def test_no_folder(tmp_path):
    with pytest.raises(StoreError, match="nothing is not a folder"):
        open_store(tmp_path / "nothing")


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match="not a patchmill store, it has no zarr"):
        open_store(tmp_path)
    (tmp_path / "zarr.json").write_text('{"node_type": "group", "attributes": {}}')
    with pytest.raises(StoreError, match="no attribute 'patchmill'"):
        open_store(tmp_path)
    (tmp_path / "zarr.json").write_text('{"node_type": "array", "attributes": {}}')
    with pytest.raises(StoreError, match="not that of a group"):
        open_store(tmp_path)


def test_a_field_is_no_store(plain):
    with pytest.raises(StoreError, match="not a patchmill store"):
        open_store(plain.path / "image")


def test_no_address():
    with pytest.raises(StoreError, match="reads local stores"):
        open_store("s3://bucket/train.zarr")


def test_newer_format(make_store):
    written = make_store(format=3, complete=False)
    with pytest.raises(StoreError, match="of format 3, this version reads 1; upgrade"):
        open_store(written.path, allow_incomplete=True)


def test_incomplete(make_store):
    written = make_store(complete=False)
    for key in ("void", "statistics", "sha256"):
        written.edit(lambda own, key=key: own.pop(key))
    with pytest.raises(IncompleteStoreError, match="is not complete") as caught:
        open_store(written.path)
    assert isinstance(caught.value, FileNotFoundError)
    store = open_store(written.path, allow_incomplete=True)
    assert len(store) == 37
    assert not store.is_complete


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
@pytest.mark.parametrize("file", ["zarr.json", "image/zarr.json"])
def test_damaged_json(make_store, content, file):
    written = make_store()
    (written.path / file).write_bytes(content)
    with pytest.raises(DamagedStoreError, match=f"{file} (is not JSON|holds no JSON object)"):
        open_store(written.path)


def test_missing_field(make_store):
    written = make_store(fields=["image", "masks/nuclei"])
    with pytest.raises(DamagedStoreError, match=r"masks/nuclei/zarr\.json is missing"):
        open_store(written.path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "1"},
        {"format": 0},
        {"complete": 1},
        {"axes": ["c", "c"]},
        {"channels": []},
        {"fields": "image"},
        {"fields": ["../train.zarr/image"]},
        {"fields": ["/etc"]},
        {"void": -1},
        {"splits": {}},
        {"splits": {"train": [0, "37"]}},
        {"splits": {"train": [0, 20], "val": [21, 37]}},
        {"splits": {"train": [0, 20], "val": [15, 37]}},
        {"splits": {"train": [1, 37]}},
    ],
)
def test_unfit_attributes(make_store, change):
    written = make_store()
    written.edit(lambda own: own.update(change))
    with pytest.raises(DamagedStoreError, match=f"metadata {next(iter(change))} is .*should be"):
        open_store(written.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": {"train": [0, 36]}}, "has 37 rows and the splits end at 36"),
        ({"channels": ["DAPI"]}, "does not fit the axes"),
        ({"axes": ["c", "z", "y", "x"]}, "does not fit the axes"),
        ({"axes": ["z", "y", "x"]}, "does not fit the axes"),
        ({"statistics": {"train": {"c0": {"count": 1}}}}, "statistics .* are damaged"),
    ],
)
def test_attributes_that_do_not_fit_the_pixels(make_store, change, message):
    written = make_store()
    written.edit(lambda own: own.update(change))
    with pytest.raises(DamagedStoreError, match=message):
        open_store(written.path)


def sharding(meta):
    return meta["codecs"][0]["configuration"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.update(zarr_format=2), DamagedStoreError, "no zarr v3 array"),
        (lambda m: m.pop("shape"), DamagedStoreError, "is not that of an array"),
        (lambda m: m.update(codecs=7), DamagedStoreError, "is not that of an array"),
        (lambda m: m.update(data_type="complex64"), StoreError, "'complex64'"),
        (lambda m: m.update(codecs=sharding(m)["codecs"]), StoreError, "is not sharded"),
        (
            lambda m: sharding(m).update(chunk_shape=[2, 2, 12, 10]),
            StoreError,
            "reads one patch a chunk",
        ),
        (lambda m: sharding(m)["codecs"].pop(), StoreError, "this version reads bytes"),
        (lambda m: sharding(m).update(index_location="start"), StoreError, "at its end"),
        (
            lambda m: sharding(m)["codecs"][1]["configuration"].update(cname="zlib"),
            StoreError,
            "this version reads bytes",
        ),
        (
            lambda m: m["chunk_key_encoding"]["configuration"].update(separator="/"),
            StoreError,
            "separates them by a dot",
        ),
        (
            lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[8, 2, 12, 5]),
            DamagedStoreError,
            "must hold whole patches",
        ),
        (lambda m: m.update(shape=[37, 0, 12, 10]), StoreError, "reads one patch a chunk"),
    ],
)
def test_fields_that_cannot_be_read(make_store, change, error, message):
    written = make_store()
    written.edit(change, "image/zarr.json")
    with pytest.raises(error, match=message):
        open_store(written.path)


def test_a_store_of_no_rows(make_store):
    written = make_store()
    written.edit(lambda own: own.update(splits={"train": [0, 0]}))
    written.edit(lambda meta: meta.update(shape=[0, 2, 12, 10]), "image/zarr.json")
    store = open_store(written.path)
    assert (len(store), list(store.loader(4))) == (0, [])


def test_the_path_may_be_text_or_path(plain):
    assert open_store(str(plain.path)).path == open_store(plain.path).path == plain.path
    assert json.dumps(dict(open_store(plain.path).attributes))

"""What `open_store` refuses, in one sentence that names what was found."""

import json
import pickle
import tracemalloc

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
    with pytest.raises(StoreError, match=r"ftp://host/train\.zarr is no address of a store"):
        open_store("ftp://host/train.zarr")


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


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.update(zarr_format=2), DamagedStoreError, "no zarr v3 array"),
        (lambda m: m.pop("node_type"), DamagedStoreError, "no zarr v3 array"),
        (lambda m: m.pop("shape"), StoreError, "zarr .* cannot read it either"),
        (lambda m: m.update(codecs=7), StoreError, "zarr .* cannot read it either"),
        (lambda m: m.update(codecs=[{"name": "jpeg9"}]), StoreError, "either .*jpeg9"),
        (lambda m: m.update(data_type="tensor"), StoreError, "either .*tensor"),
        (
            lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[8, 2, 12, 7]),
            StoreError,
            "zarr .* cannot read it either",
        ),
        (lambda m: m.update(shape=[37, 0, 12, 10]), StoreError, "a patch must have pixels"),
        (lambda m: m.update(shape=[37, 2, 12, 10, 1]), StoreError, "cannot read it either"),
    ],
)
def test_fields_that_cannot_be_read(make_store, change, error, message):
    written = make_store()
    written.edit(change, "image/zarr.json")
    with pytest.raises(error, match=message) as caught:
        open_store(written.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("io", ["Map", "mmap", 1])
def test_an_unknown_io(plain, io):
    with pytest.raises(ValueError, match=r"io is .*; give 'map' or 'pread', or None"):
        open_store(plain.path, io=io)


def test_a_store_of_no_rows(make_store):
    written = make_store()
    written.edit(lambda own: own.update(splits={"train": [0, 0]}))
    written.edit(lambda meta: meta.update(shape=[0, 2, 12, 10]), "image/zarr.json")
    store = open_store(written.path)
    assert (len(store), list(store.loader(4))) == (0, [])


def test_the_path_may_be_text_or_path(plain):
    assert open_store(str(plain.path)).path == open_store(plain.path).path == plain.path
    assert json.dumps(dict(open_store(plain.path).attributes))


@pytest.mark.parametrize("io", ["map", "pread"])
def test_ten_million_patches_take_no_memory(make_store, io):
    """Columns and indexes are read when they are asked for, and rows are a range."""
    written = make_store()
    rows = 10_000_000
    written.edit(lambda own: own.update(splits={"train": [0, rows]}))
    written.edit(lambda meta: meta.update(shape=[rows, 2, 12, 10]), "image/zarr.json")
    tracemalloc.start()
    try:
        store = open_store(written.path, io=io)
        view = pickle.loads(pickle.dumps(store.select(split="train")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(view) == rows
    assert peak < 1 << 20

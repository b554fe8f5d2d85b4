"""Tables of flattened images against pyarrow's reading of the whole, and bad ones."""

import errno
import gc
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks import row_file, row_groups
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.table import open_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SIZE = (5, 7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def images_of(rng, count, dtype=np.uint8):
    """Return flattened images, of values all over the range of their type."""
    nbytes = count * SIZE[0] * SIZE[1] * np.dtype(dtype).itemsize
    values = rng.integers(0, 256, nbytes).astype(np.uint8).view(dtype)
    return np.nan_to_num(values).reshape(count, -1)


def columns_of(images, names=None):
    names = names or [str(n) for n in range(images.shape[1])]
    ids = pa.array([f"image{n}" for n in range(len(images))])
    return {"image_id": ids} | dict(zip(names, images.T, strict=True))


def write(path, columns, **options):
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    pq.write_table(table, path, **options)
    return path


def opened(path, **options):
    with naming(str(path), "be opened"):
        return open_table(str(path), ImageOptions(**({"table_size": SIZE} | options)))


def whole(image):
    with naming("the table", "be read"):
        image.check()
        return image.read(0, tuple(slice(0, n) for n in image.shapes[0])).copy()


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_every_type(tmp_path, rng, dtype):
    images = images_of(rng, 20, dtype)
    path = write(tmp_path / "a.parquet", columns_of(images), row_group_size=6)
    image = opened(path)
    assert (image.axes, image.shapes, image.segments) == ("NYX", ((20, *SIZE),), ((1, *SIZE),))
    assert (image.dtype, image.channels, image.notes) == (np.dtype(dtype), (), ())
    assert image.items == tuple(f"image{n}" for n in range(20))
    expected = pq.read_table(path).drop_columns("image_id").to_pandas().to_numpy()
    assert np.array_equal(whole(image), expected.reshape(-1, *SIZE))
    assert np.array_equal(whole(image), images.reshape(-1, *SIZE))
    image.close()


def lists_of(images, kind):
    flat = pa.array(images.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, images.shape[1])
    array = {"list": pa.ListArray, "large": pa.LargeListArray}[kind]
    return array.from_arrays(np.arange(0, images.size + 1, images.shape[1]), flat)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_a_column_of_lists(tmp_path, rng, monkeypatch, kind, dtype):
    monkeypatch.setattr(row_groups, "_BATCH_BYTES", 300)
    images = images_of(rng, 20, dtype)
    columns = {"image_id": np.arange(20), "pixels": lists_of(images, kind)}
    path = write(tmp_path / "a.parquet", columns, row_group_size=7)
    image = opened(path, table_pixels="pixels")
    assert image.dtype == np.dtype(dtype)
    assert image.items == tuple(map(str, range(20)))
    assert np.array_equal(whole(image), images.reshape(-1, *SIZE))
    image.close()


def test_lists_of_one_pixel(tmp_path):
    columns = {"image_id": ["a", "b"], "p": pa.array([[3], [4]], pa.list_(pa.uint8()))}
    image = opened(write(tmp_path / "a.parquet", columns), table_size=(1, 1), table_pixels="p")
    assert whole(image).tolist() == [[[3]], [[4]]]
    image.close()
    image = opened(
        write(tmp_path / "b.parquet", {"image_id": ["a", "b"], "p": [3, 4]}), table_size=(1, 1)
    )
    assert whole(image).tolist() == [[[3]], [[4]]]
    image.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_of_columns(data):
    """Whatever fits into a block, every value of every row is where it belongs."""
    n_rows, n_columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from(DTYPES))
    values = np.random.default_rng(2).integers(0, 100, (n_columns, n_rows)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_file, "BLOCK_BYTES", data.draw(st.integers(1, 4000)))
        patch.setattr(row_file, "_BAND_BYTES", data.draw(st.integers(1, 400)))
        rows = row_file.rows_of_columns(iter(values), n_rows, n_columns, dtype)
    first = data.draw(st.integers(0, n_rows - 1))
    count = data.draw(st.integers(1, n_rows - first))
    out = np.zeros((count, n_columns), dtype)
    rows.read_into(out.reshape(-1).view(np.uint8), first)
    assert np.array_equal(out, values.T[first : first + count])


def test_rows_of_columns_counts_them():
    with pytest.raises(ValueError, match="2 columns, not 3"):
        row_file.rows_of_columns(iter(np.zeros((2, 4), np.uint8)), 4, 3, np.uint8)


def test_parts_of_images_and_runs_across_row_groups(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(row_groups, "KEPT_GROUPS", 2)
    images = images_of(rng, 23, np.uint16).reshape(-1, *SIZE)
    path = write(tmp_path / "a.parquet", columns_of(images.reshape(23, -1)), row_group_size=5)
    image = opened(path)
    for first, stop in [(0, 1), (22, 23), (4, 6), (3, 21), (0, 23), (9, 10)]:
        found = image.read(0, (slice(first, stop), slice(1, 4), slice(2, 7)))
        assert np.array_equal(found, images[first:stop, 1:4, 2:7])
    image.close()


def test_a_row_group_is_decoded_once_by_many_threads(tmp_path, rng, monkeypatch):
    images = images_of(rng, 30).reshape(-1, *SIZE)
    path = write(tmp_path / "a.parquet", columns_of(images.reshape(30, -1)), row_group_size=10)
    image = opened(path)
    decoded = []
    real = row_groups.RowGroups._decoded

    def counting(self, group):
        decoded.append(group)
        return real(self, group)

    monkeypatch.setattr(row_groups.RowGroups, "_decoded", counting)
    together = threading.Barrier(8)

    def read(thread):
        together.wait()
        for n in np.random.default_rng(thread).permutation(30).tolist():
            found = image.read(0, (slice(n, n + 1), slice(0, 5), slice(0, 7)))
            assert np.array_equal(found[0], images[n])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert sorted(decoded) == [0, 1, 2]
    image.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts files in /proc")
def test_what_was_decoded_goes_with_the_table(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = write(tmp_path / "a.parquet", columns_of(images_of(rng, 40)), row_group_size=4)
    gc.collect()  # other tests' files
    before = open_files()
    image = opened(path)
    whole(image)
    assert open_files() <= before + 1 + row_groups.KEPT_GROUPS
    assert not list((tmp_path / "tmp").iterdir()), "a killed worker would leave it behind"
    image.close()
    del image
    gc.collect()
    assert open_files() == before


def test_other_columns_are_left_out_and_told_of(tmp_path, rng):
    images = images_of(rng, 4)
    columns = columns_of(images) | {"label": np.arange(4), "plate": list("abcd")}
    image = opened(write(tmp_path / "a.parquet", columns))
    assert np.array_equal(whole(image), images.reshape(-1, *SIZE))
    assert image.notes == ("columns that are no pixels: 2, left out",)
    image.close()


def with_nulls(values, row):
    values = pa.array(values)
    return pa.concat_arrays([values[:row], pa.nulls(1, values.type), values[row + 1 :]])


def bad(name, rng):
    """Return columns, options and what the error must say."""
    images = images_of(rng, 6)
    columns = columns_of(images)
    lists = {"image_id": columns["image_id"], "pixels": lists_of(images, "list")}
    twice = pa.array(["a", "b", "a", "b", "c", "d"])
    named = {"table_pixels": "pixels"}
    return {
        "no size": (columns, {"table_size": None}, r"35 pixels in a row; .* \[5, 7\] or \[1, 35\]"),
        "size": (columns, {"table_size": (5, 8)}, "needs 40 columns .* it has 35 of type uint8"),
        "types": (columns | {"3": np.arange(6)}, {}, "34 of type uint8, 1 of type int64"),
        "no id": (
            columns,
            {"table_id": "name"},
            "no column 'name', but 'image_id', '0', .*31 more",
        ),
        "same ids": (columns | {"image_id": twice}, {}, "not unique: 'a', 'b'"),
        "null id": (columns | {"image_id": with_nulls(twice, 1)}, {}, "1 of 6 rows have no id"),
        "text": ({k: ["a"] for k in ("image_id", "b")}, {}, "no columns of numbers, but 'b'"),
        "no list": (lists, {"table_pixels": "image"}, "no column 'image'"),
        "not a list": (lists, {"table_pixels": "image_id"}, "of type string"),
        "list without size": (lists, {"table_size": None, **named}, "give images.table.size"),
        "fixed": (
            lists | {"pixels": lists_of(images, "fixed")},
            {"table_size": (5, 8), **named},
            "40 pixels, column 'pixels' has lists of 35",
        ),
    }[name]


BAD = ["no size", "size", "types", "no id", "same ids", "null id", "text"]
BAD_LISTS = ["no list", "not a list", "list without size", "fixed"]


@pytest.mark.parametrize("name", BAD + BAD_LISTS)
def test_refused_when_opened(tmp_path, rng, name):
    columns, options, why = bad(name, rng)
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(SourceError, match=why) as caught:
        opened(path, **options)
    assert str(caught.value).startswith(f"{path}: ")


def test_pixels_that_are_lacking_are_named(tmp_path, rng):
    images = images_of(rng, 9)
    columns = columns_of(images)
    columns["17"] = with_nulls(columns["17"], 7)
    image = opened(write(tmp_path / "a.parquet", columns, row_group_size=4))
    # The row group that has them all is read.
    found = image.read(0, (slice(1, 2), slice(0, 5), slice(0, 7)))
    assert np.array_equal(found[0], images[1].reshape(SIZE))
    with pytest.raises(SourceError, match="row 7 lacks pixels"):
        whole(image)
    image.close()


@pytest.mark.parametrize(
    ("row", "value", "why"),
    [
        (5, None, "row 5 lacks pixels"),
        (5, [1, None, *range(33)], "row 5 lacks pixels"),
        (6, [1] * 34, "row 6 has 34 pixels"),
    ],
)
def test_lists_that_lack_pixels_are_named(tmp_path, monkeypatch, row, value, why):
    monkeypatch.setattr(row_groups, "_BATCH_BYTES", 80)
    rows = [list(range(35)) for _ in range(9)]
    rows[row] = value
    columns = {"image_id": np.arange(9), "p": pa.array(rows, pa.list_(pa.uint8()))}
    image = opened(write(tmp_path / "a.parquet", columns, row_group_size=4), table_pixels="p")
    with pytest.raises(SourceError, match=why):
        whole(image)
    image.close()


def test_cut_short_tables_are_refused_when_opened(tmp_path, rng):
    path = write(tmp_path / "a.parquet", columns_of(images_of(rng, 50)))
    data = path.read_bytes()
    for keep in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        with pytest.raises(SourceError, match="parquet: "):
            opened(path)


def test_damage_under_a_checksum_is_found_out(tmp_path, rng):
    images = images_of(rng, 200)
    path = tmp_path / "a.parquet"
    columns = columns_of(images)
    write(path, columns, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = data.find(images[:, 20].astype("<i4").tobytes())  # bytes are stored as 32-bit integers
    assert at > 0
    data[at + 8] ^= 1
    path.write_bytes(data)
    image = opened(path)
    with pytest.raises(SourceError, match="the file is damaged"):
        whole(image)
    image.close()


def test_a_full_disk_is_one_sentence(tmp_path, rng, monkeypatch):
    image = opened(write(tmp_path / "a.parquet", columns_of(images_of(rng, 9))))

    def write_nothing(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(row_file.os, "write", write_nothing)
    with pytest.raises(SourceError, match=r"315 bytes when decoded, .* set TMPDIR"):
        whole(image)
    image.close()


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SourceError, match=r"pip install 'patchmill\[tables\]'"):
        opened(tmp_path / "a.parquet")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are known on Linux alone")
def test_memory_stays_below_that_of_a_row_group(tmp_path, rng, monkeypatch):
    """61 MB of pixels in one row group, and a block of 4 MB."""
    monkeypatch.setattr(row_file, "BLOCK_BYTES", 4 << 20)
    monkeypatch.setattr(row_groups, "_DECODE_BYTES", 8 << 20)
    images = rng.integers(0, 256, (60_000, 1024)).astype(np.uint8)
    path = write(tmp_path / "a.parquet", columns_of(images))
    image = opened(path, table_size=(32, 32))
    image.read(0, (slice(0, 1), slice(0, 1), slice(0, 1)))  # pyarrow's own memory
    image.close()
    expected = images[-1].reshape(32, 32).copy()
    del images
    image = opened(path, table_size=(32, 32))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = peak_bytes()
    found = image.read(0, (slice(59_999, 60_000), slice(0, 32), slice(0, 32)))
    assert np.array_equal(found[0], expected)
    assert peak_bytes() - before < 30e6
    image.close()


def peak_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")

"""The pages of parquet columns against what pyarrow says of them, and damaged ones."""

import numpy as np
import pytest

from patchmill.tasks.bytes import open_bytes
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.parquet_pages import ParquetPages
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.table import open_table
from patchmill.tasks.thrift import read_struct

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

OPTIONS = ImageOptions(table_size=(5, 7), table_pixels="pixels")


def write(path, **options):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 255, (400, 35)).astype("uint8")
    names = [f"image {n} of a name that is long" for n in range(len(rows))]
    columns = {"image_id": names, "pixels": rows.tolist(), "other": [True, False] * 200}
    schema = pa.schema(
        [("image_id", pa.string()), ("pixels", pa.list_(pa.uint8())), ("other", pa.bool_())]
    )
    pq.write_table(pa.table(columns, schema), path, row_group_size=150, **options)
    return path


def read_all(path):
    """Open and read a table, as a worker does."""
    with naming(str(path), "be opened"):
        image = open_table(str(path), OPTIONS)
    try:
        with naming(str(path), "be read"):
            return image.read(0, (slice(0, 400), slice(0, 5), slice(0, 7))).copy()
    finally:
        image.close()


KINDS = [
    {},
    {"compression": "none", "use_dictionary": False, "data_page_size": 500},
    {"compression": "zstd", "data_page_version": "2.0", "data_page_size": 500},
    {"write_page_index": True, "write_page_checksum": True},
    {"store_schema": False, "write_statistics": False},
]


@pytest.mark.parametrize("options", KINDS)
def test_whole_tables_are_let_pass(tmp_path, options):
    path = write(tmp_path / "a.parquet", **options)
    pages = ParquetPages(str(path), open_bytes(str(path)))
    meta = pq.ParquetFile(path).metadata
    for group in range(meta.num_row_groups):
        for name in ("image_id", "pixels", "other"):
            pages.check(group, name)
    pages.close()
    assert read_all(path).shape == (400, 5, 7)


def varint(value):
    """An integer of a structure, zigzag."""
    value, out = value << 1, b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("field", ["uncompressed", "compressed"])
def test_a_page_that_asks_for_gigabytes_is_refused(tmp_path, column, field):
    """Its head is written anew, as long as it was."""
    path = write(tmp_path / "a.parquet", compression="snappy", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(1).column(column).data_page_offset
    head, _ = read_struct(bytes(data[at : at + 200]))
    # Type, then both sizes: deltas of 1 and the type i32 before each.
    sizes = b"\x15" + varint(head[2]) + b"\x15" + varint(head[3])
    place = data.index(sizes, at)
    more = 5 - len(varint(head[2 if field == "uncompressed" else 3]))
    large = b"\xfe\xff\xff\xff\x0f"[-5:]
    first = b"\x15" + (large if field == "uncompressed" else varint(head[2]))
    second = b"\x15" + (varint(head[3]) if field == "uncompressed" else large)
    data[place : place + len(sizes) + more] = first + second
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"row group 1 do not fit into it"):
        read_all(path)


@pytest.mark.parametrize("number", range(200))
def test_any_bytes_are_a_structure_or_an_error(number):
    data = np.random.default_rng(number).integers(0, 256, number % 50).astype("u1").tobytes()
    try:
        fields, end = read_struct(data)
    except IndexError:
        return
    assert isinstance(fields, dict)
    assert 0 < end <= len(data)


def test_a_structure_in_all_its_parts():
    """Written by hand as the specification says."""
    data = (
        b"\x15\x07"  # field 1, i32: -4
        b"\x18\x03abc"  # field 2, binary
        b"\x11"  # field 3, true
        b"\x12"  # field 4, false
        b"\x19\x25\x02\x04"  # field 5, a list of two i32: 1, 2
        b"\x1c\x16\x80\x01\x00"  # field 6, a structure: field 1, i64: 64
        b"\x06\x28\x02"  # field 20 by its own number, i64: 1
        b"\x17" + bytes(8) + b"\x13\x09\x00"  # fields 21, double, and 22, byte
    )
    fields, end = read_struct(data + b"and more")
    assert end == len(data)
    assert {n: fields[n] for n in (1, 2, 3, 4, 5, 6, 20)} == {
        1: -4,
        2: b"abc",
        3: True,
        4: False,
        5: [1, 2],
        6: {1: 64},
        20: 1,
    }


def test_a_footer_that_is_none(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + bytes(40) + b"\x10\0\0\0PAR1")
    with pytest.raises(SourceError, match="its footer is damaged"):
        ParquetPages(str(path), open_bytes(str(path)))

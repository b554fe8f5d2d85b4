"""Reading windows: each segment once, only what is needed, in little memory, from many threads."""

import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchmill.tasks import opened, tiff_image
from patchmill.tasks.copied import copying
from patchmill.tasks.image import BAND_BYTES
from patchmill.tasks.read import read_boxes
from patchmill.tasks.resolution import as_level
from patchmill.tasks.source import ImageKind, ImageSource


@pytest.fixture
def bytes_read(monkeypatch):
    """The byte ranges that are read, as (start, stop), in order."""
    ranges = []
    pread, preadv = os.pread, os.preadv

    def recording_pread(fd, length, offset):
        ranges.append((offset, offset + length))
        return pread(fd, length, offset)

    def recording_preadv(fd, buffers, offset):
        ranges.append((offset, offset + sum(len(buffer) for buffer in buffers)))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "pread", recording_pread)
    monkeypatch.setattr(os, "preadv", recording_preadv)
    return ranges


def segment_ranges(path, page=0):
    with tifffile.TiffFile(path) as tif:
        found = tif.pages[page]
        return [
            (offset, offset + nbytes)
            for offset, nbytes in zip(found.dataoffsets, found.databytecounts, strict=True)
        ]


def opened_before(file, ranges):
    """Open the file as tasks do, and forget what that has read."""
    file.read(0, 0, [(0, 1, 0, 1)])
    ranges.clear()
    return file


def bytes_of(ranges):
    """Return every byte of ranges, once for each time that it is in one."""
    return sorted(byte for start, stop in ranges for byte in range(start, stop))


def touched_cells(windows, height, width, across):
    """Segments under any window, by brute force over pixels."""
    return {
        (y // height) * across + x // width
        for y0, y1, x0, x1 in windows
        for y in range(y0, y1)
        for x in range(x0, x1)
    }


# They overlap, repeat, and touch most segments several times.
WINDOWS = [(0, 20, 0, 20), (10, 30, 10, 30), (10, 30, 10, 30), (61, 64, 80, 96), (33, 34, 0, 96)]


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("planes", [1, 3])
def test_each_tile_is_read_once(tmp_path, rng, described, bytes_read, compression, planes):
    pixels = rng.integers(0, 999, (planes, 64, 96)).astype("uint16")
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(path, pixels, tile=(16, 32), compression=compression, **options)
    opened_before(described(path), bytes_read).read(0, 0, WINDOWS)
    expected = [
        segment_ranges(path, page)[segment]
        for page in range(planes)
        for segment in touched_cells(WINDOWS, 16, 32, 3)
    ]
    assert sorted(bytes_read) == sorted(expected)


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("band_bytes", [1 << 20, 3000])
def test_each_strip_is_read_once(
    tmp_path, rng, described, bytes_read, monkeypatch, rows, band_bytes
):
    monkeypatch.setattr(tiff_image, "BAND_BYTES", band_bytes)
    pixels = rng.integers(0, 999, (64, 96)).astype("uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, rowsperstrip=rows, compression="zlib")
    opened_before(described(path), bytes_read).read(0, 0, WINDOWS)
    needed = touched_cells(WINDOWS, rows, 96, 1)
    assert bytes_of(bytes_read) == bytes_of(segment_ranges(path)[strip] for strip in needed)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_samples_that_lie_together_are_decoded_together(
    tmp_path, rng, described, bytes_read, planarconfig
):
    shape = (64, 96, 3) if planarconfig == "contig" else (3, 64, 96)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        rng.integers(0, 999, shape).astype("uint16"),
        photometric="rgb",
        planarconfig=planarconfig,
        tile=(16, 32),
        compression="zlib",
    )
    opened_before(described(path), bytes_read).read(0, 0, WINDOWS)
    tiles = touched_cells(WINDOWS, 16, 32, 3)
    if planarconfig == "separate":
        tiles = {plane * 12 + tile for plane in range(3) for tile in tiles}
    ranges = segment_ranges(path)
    assert sorted(bytes_read) == sorted(ranges[tile] for tile in tiles)


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("band_bytes", [1 << 20, 1000])
def test_of_a_raw_file_only_the_rows_under_windows_are_read(
    tmp_path, rng, described, bytes_read, monkeypatch, rows, band_bytes
):
    monkeypatch.setattr(tiff_image, "BAND_BYTES", band_bytes)
    pixels = rng.integers(0, 999, (64, 96)).astype("uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, rowsperstrip=rows)
    opened_before(described(path), bytes_read).read(0, 0, WINDOWS)
    start = segment_ranges(path)[0][0]
    needed = {start + row * 192 for row in touched_cells(WINDOWS, 1, 96, 1)}
    # Disjoint, and of all the needed rows alone.
    read_rows = [byte for a, b in bytes_read for byte in range(a, b, 192)]
    assert sorted(read_rows) == sorted(needed)
    assert all((b - a) % 192 == 0 and b - a <= max(192, band_bytes) for a, b in bytes_read)


def test_planes_without_pages_are_read_by_rows_too(tmp_path, rng, described, bytes_read):
    pixels = rng.integers(0, 999, (4, 3, 64, 96)).astype("uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZCYX"}, truncate=True)
    file = opened_before(described(path), bytes_read)
    (got,) = file.read(0, 2, [(10, 12, 3, 5)])
    np.testing.assert_array_equal(got, pixels[2, :, 10:12, 3:5])
    start = segment_ranges(path)[0][0]
    first = [start + ((2 * 3 + c) * 64 + 10) * 192 for c in range(3)]
    assert sorted(bytes_read) == [(at, at + 2 * 192) for at in first]


def test_strips_that_lie_in_another_order(tmp_path, rng, described, whole):
    """Raw strips need not lie one after another; each is then read by its own offset."""
    path = tmp_path / "a.tif"
    pixels = rng.integers(0, 999, (64, 96)).astype("uint16")
    tifffile.imwrite(path, pixels, rowsperstrip=8)
    with tifffile.TiffFile(path, mode="r+") as tif:
        offsets = tif.pages[0].tags[273]
        offsets.overwrite(tuple(reversed(offsets.value)))
    expected = whole(path)
    np.testing.assert_array_equal(expected[0, 0, 0], pixels.reshape(8, 8, 96)[::-1].reshape(64, 96))
    for window, got in zip(WINDOWS, described(path).read(0, 0, WINDOWS), strict=True):
        y0, y1, x0, x1 = window
        np.testing.assert_array_equal(got[0], expected[0, 0, 0, y0:y1, x0:x1])


def test_a_page_that_does_not_lie_in_one_run_like_the_first(tmp_path, rng, described):
    """tifffile takes it to lie as the first page does, so that its answer is no help here."""
    path = tmp_path / "a.ome.tif"
    pixels = rng.integers(0, 999, (3, 64, 96)).astype("uint16")
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(path, pixels, rowsperstrip=8, **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        offsets = tif.pages.get(1, aspage=True).tags[273]
        offsets.overwrite(tuple(reversed(offsets.value)))
    expected = pixels.copy()
    expected[1] = pixels[1].reshape(8, 8, 96)[::-1].reshape(64, 96)
    for window, got in zip(WINDOWS, described(path).read(0, 0, WINDOWS), strict=True):
        y0, y1, x0, x1 = window
        np.testing.assert_array_equal(got, expected[:, y0:y1, x0:x1])


@pytest.mark.parametrize(
    ("options", "segment_bytes"),
    [
        ({"tile": (256, 256), "compression": "zlib"}, 256 * 256 * 2),
        ({"rowsperstrip": 1, "compression": "zlib"}, 4096 * 2),
        ({"rowsperstrip": 64, "compression": "zlib"}, 64 * 4096 * 2),
        ({"rowsperstrip": 256, "compression": "zlib"}, 256 * 4096 * 2),
        ({"rowsperstrip": 4096}, 0),
        ({"rowsperstrip": 1}, 0),
        ({"tile": (256, 256)}, 256 * 256 * 2),
    ],
    ids=str,
)
def test_memory_is_a_segment_and_a_band(tmp_path, described, options, segment_bytes):
    """32 MB of image; the windows themselves are allocated before."""
    pixels = np.add.outer(np.arange(4096), np.arange(4096)).astype("uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **options)
    file = described(path)
    windows = np.array([(0, 64, 0, 64), (100, 164, 3000, 3064), (4032, 4096, 4032, 4096)])
    boxes = np.concatenate([np.tile([0, 1, 0, 1], (3, 1)), windows], axis=1)
    out = [np.empty((1, 1, 64, 64), "uint16") for _ in windows]
    peaks = []

    def measure():
        # A thread of its own: it has no buffers from earlier tests.
        tracemalloc.start()
        read_boxes(file.source, file.options, boxes, copying(out, boxes))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    for (y0, y1, x0, x1), got in zip(windows.tolist(), out, strict=True):
        np.testing.assert_array_equal(got[0, 0], pixels[y0:y1, x0:x1])
    # A band, a segment compressed, decoded, and once more while a predictor or padding copies it;
    # a megabyte for the file's directory (4096 strips) and Python itself.
    assert peaks[0] < BAND_BYTES + 3 * segment_bytes + 1_000_000


def test_bands_are_short_where_rows_are_long(tmp_path, described, bytes_read):
    """A row longer than a band is still read."""
    pixels = np.arange(2 * 700_000, dtype="uint16").reshape(2, 700_000)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, rowsperstrip=2)
    file = opened_before(described(path), bytes_read)
    (got,) = file.read(0, 0, [(0, 2, 650_000, 700_000)])
    np.testing.assert_array_equal(got[0], pixels[:, 650_000:])
    assert len(bytes_read) == 2


def test_many_threads_read_one_file(tmp_path, rng, described):
    pixels = rng.integers(0, 999, (8, 3, 64, 96)).astype("uint16")
    path = tmp_path / "a.ome.tif"
    options = {"photometric": "minisblack", "metadata": {"axes": "ZCYX"}, "compression": "zlib"}
    tifffile.imwrite(path, pixels, tile=(16, 32), **options)
    file = described(path)

    def read_plane(z):
        return file.read(0, z % 8, WINDOWS)

    with ThreadPoolExecutor(8) as pool:
        for z, found in enumerate(pool.map(read_plane, range(64))):
            for (y0, y1, x0, x1), got in zip(WINDOWS, found, strict=True):
                np.testing.assert_array_equal(got, pixels[z % 8, :, y0:y1, x0:x1])


def test_few_files_stay_open(tmp_path, described, monkeypatch):
    monkeypatch.setattr(opened, "MAX_OPEN_IMAGES", 5)
    files = []
    for number in range(12):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, np.full((16, 16), number, "uint16"))
        files.append(described(path))

    def open_here():
        links = list(Path("/proc/self/fd").iterdir())
        return sum(os.path.realpath(link).startswith(str(tmp_path)) for link in links)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists the files that a process has open")
    for number, file in [*enumerate(files), *enumerate(files)]:
        assert (file.read(0, 0, [(0, 16, 0, 16)])[0] == number).all()
        # tifffile and we hold one descriptor each.
        assert open_here() <= 2 * 5


def test_channels_from_several_files(tmp_path, rng, described):
    pixels = rng.integers(0, 999, (3, 20, 24)).astype("uint16")
    parts = []
    for number in range(3):
        path = tmp_path / f"w{number}.tif"
        options = [{"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 3}, {}][number]
        tifffile.imwrite(path, pixels[number], **options)
        parts.append(described(path))
    planes = np.zeros((1, 3, 1, 4), np.int32)
    planes[0, :, 0, 0] = 2, 0, 1
    source = ImageSource(
        "image",
        tuple(part.source.paths[0] for part in parts),
        tuple(part.info.identity for part in parts),
        ((), (), ()),
        0,
        ImageKind(planes, as_level([(1, 20, 24)], 0), (1, 1, 1, 16, 16), np.dtype("uint16")),
    )
    (got,) = replace(parts[0], source=source).read(0, 0, [(3, 8, 17, 23)])
    np.testing.assert_array_equal(got, pixels[[2, 0, 1], 3:8, 17:23])


def test_a_wider_type_takes_the_same_values(tmp_path, described):
    pixels = np.array([[0, 65535], [1, 32768]], "uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, byteorder=">")
    file = described(path)
    boxes = np.array([[0, 1, 0, 1, 0, 2, 0, 2]])
    out = np.empty((1, 1, 2, 2), "float32")
    read_boxes(file.source, file.options, boxes, copying([out], boxes))
    np.testing.assert_array_equal(out[0, 0], pixels.astype("float32"))

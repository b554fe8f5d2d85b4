"""Files that cannot be read: one sentence that names the file, never another exception."""

import logging
import math
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError
from patchmill.tasks.survey import describe, survey_files

WINDOW = [(0, 20, 0, 24)]


@pytest.fixture(autouse=True)
def _quiet():
    """tifffile logs what it finds in broken files."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def write(path, pixels=None, **options):
    if pixels is None:
        pixels = np.arange(480, dtype="uint16").reshape(20, 24)
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack"} | options)
    return path


def assert_one_sentence(error, path):
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 700 + len(str(path))


def assert_refused(path, match=None, axes=None, **options):
    with pytest.raises(SourceError, match=match) as error:
        describe(str(path), ImageOptions(axes=axes, **options))
    assert_one_sentence(error, path)


def assert_unreadable(file, path, match, t=0, z=0):
    with pytest.raises(SourceError, match=match) as error:
        file.read(t, z, WINDOW)
    assert_one_sentence(error, path)


STACK = np.arange(3 * 4 * 480, dtype="uint16").reshape(3, 4, 20, 24)
KINDS = {
    "strips": {"rowsperstrip": 3},
    "one strip": {},
    "tiles": {"tile": (16, 16)},
    "zlib": {"compression": "zlib", "rowsperstrip": 3},
    "zlib tiles": {"compression": "zlib", "tile": (16, 16)},
    "bigtiff": {"bigtiff": True, "rowsperstrip": 3},
    "big-endian": {"byteorder": ">", "rowsperstrip": 3},
    "shaped": {"pixels": STACK, "metadata": {"axes": "ZCYX"}},
    "shaped without pages": {"pixels": STACK, "metadata": {"axes": "ZCYX"}, "truncate": True},
    "shaped zlib": {"pixels": STACK, "metadata": {"axes": "ZCYX"}, "compression": "zlib"},
    "ome": {"pixels": STACK, "ome": True, "metadata": {"axes": "ZCYX"}},
    "ome zlib": {
        "pixels": STACK,
        "ome": True,
        "metadata": {"axes": "ZCYX"},
        "compression": "zlib",
    },
    "imagej": {"pixels": STACK, "imagej": True, "metadata": {"axes": "ZCYX"}},
    "imagej without pages": {
        "pixels": STACK,
        "imagej": True,
        "metadata": {"axes": "ZCYX"},
        "truncate": True,
    },
    "imagej zlib": {
        "pixels": STACK,
        "imagej": True,
        "metadata": {"axes": "ZCYX"},
        "compression": "zlib",
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_cut_short_anywhere(tmp_path, described, kind):
    """Wherever a file ends too early, it is refused, or what is declared is really all there."""
    path = write(tmp_path / ("a.ome.tif" if "ome" in kind else "a.tif"), **KINDS[kind])
    data, expected = path.read_bytes(), STACK if "pixels" in KINDS[kind] else None
    at = sorted({0, 1, 7, 8, 15, *np.linspace(0, len(data) - 1, 60, dtype=int).tolist()})
    refused = read = 0
    for length in at:
        short = tmp_path / f"cut{length}-{path.name}"
        short.write_bytes(data[:length])
        try:
            file = described(short)
            windows = [
                file.read(t, z, WINDOW)[0]
                for t in range(file.info.shape[0])
                for z in range(file.info.shape[2])
            ]
        except SourceError as error:
            refused += str(error).startswith(f"{short}: ")
            continue
        read += 1
        # Only what comes behind the last pixel may be missing.
        pixels = np.stack(windows)
        whole = np.arange(480, dtype="uint16").reshape(1, 1, 20, 24) if expected is None else STACK
        np.testing.assert_array_equal(pixels, whole, err_msg=f"{kind} cut at {length}")
    assert refused == len(at) - read
    assert refused > read


def test_a_tail_that_holds_no_pixels_may_be_missing(tmp_path, described):
    """The case of the test above in which a cut file is read."""
    path = write(tmp_path / "a.tif", imagej=True, truncate=True, metadata={"axes": "YX"})
    path.write_bytes(path.read_bytes() + b"garbage")
    assert described(path).read(0, 0, WINDOW)[0][0, 19, 23] == 479


def test_an_ome_series_that_lacks_pages(tmp_path):
    """The pages are whole, and fewer than the OME-XML says: tifffile opens it without a word."""
    path = write(tmp_path / "a.ome.tif", STACK, ome=True, metadata={"axes": "ZCYX"})
    with tifffile.TiffFile(path, mode="r+") as tif:
        xml = tif.ome_metadata
        tif.pages[0].tags["ImageDescription"].overwrite(xml.replace('SizeZ="3"', 'SizeZ="5"'))
    assert_refused(path, "plane 12 of 20 is missing")


def last_page_pointer(path, page):
    """Return where the offset of the page after this one is written."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[page].offset
    count = struct.unpack("<H", path.read_bytes()[offset : offset + 2])[0]
    return offset + 2 + 12 * count


def test_an_ome_series_of_which_pages_were_lost(tmp_path):
    path = write(tmp_path / "a.ome.tif", STACK, ome=True, metadata={"axes": "ZCYX"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, last_page_pointer(path, 9), 0)
    path.write_bytes(data)
    assert_refused(path, "plane 10 of 12 is missing")


@pytest.mark.parametrize("behind", [0, 1, 100])
def test_a_list_of_pages_that_leads_out_of_the_file(tmp_path, behind):
    """tifffile logs it and gives the pages before, which look like a whole file."""
    path = write(tmp_path / "a.tif", STACK[0], metadata=None)
    assert describe(str(path), ImageOptions(axes="CYX")).shape == (1, 4, 1, 20, 24)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, last_page_pointer(path, 2), len(data) + behind)
    path.write_bytes(data)
    assert_refused(path, "truncated", "CYX")


def test_an_imagej_hyperstack_that_lost_its_planes(tmp_path):
    """tifffile opens it as a single page, without a word."""
    path = write(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZCYX"}, truncate=True)
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0].dataoffsets[0]
    path.write_bytes(path.read_bytes()[: first + 5 * 960])
    assert_refused(path, "12 planes|truncated")


@pytest.mark.parametrize("lost", [1, 100, 5000])
def test_planes_without_pages_that_are_not_all_there(tmp_path, lost):
    """The survey says so: nothing of it waits for the first patch of the last plane."""
    path = write(tmp_path / "a.tif", STACK, metadata={"axes": "ZCYX"}, truncate=True)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].is_truncated
        end = tif.series[0].dataoffset + STACK.nbytes
    path.write_bytes(data[: end - lost])
    assert_refused(path, "truncated")


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_segment_outside_of_the_file(tmp_path, tile):
    options = {"tile": tile} if tile else {"rowsperstrip": 3}
    path = write(tmp_path / "a.tif", **options)
    tag = 324 if tile else 273
    with tifffile.TiffFile(path, mode="r+") as tif:
        offsets = tif.pages[0].tags[tag]
        values = list(offsets.value)
        values[1] = path.stat().st_size - 5
        offsets.overwrite(values)
    assert_refused(path, "segment of .* bytes at .* truncated or damaged")


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_fewer_segments_than_the_image_needs(tmp_path, tile):
    options = {"tile": tile} if tile else {"rowsperstrip": 3}
    path = write(tmp_path / "a.tif", compression="zlib", **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags["ImageLength"].overwrite(64)
    assert_refused(path, "lists 4 segments of 8" if tile else "lists 7 segments of 22")


def test_a_strip_without_bytes(tmp_path):
    path = write(tmp_path / "a.tif", rowsperstrip=3)
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = tif.pages[0].tags[279]
        counts.overwrite([0, *counts.value[1:]])
    assert_refused(path, "segment of 0 bytes")


def test_a_file_without_pages(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 0))
    assert_refused(path, "holds no image")
    path.write_bytes(b"")
    assert_refused(path, "is empty")
    path.write_text("this is a text, whatever its name says")
    assert_refused(path)


def test_two_images_in_a_file(tmp_path):
    path = tmp_path / "a.tif"
    pixels = np.zeros((20, 24), "uint16")
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, contiguous=False, metadata={"name": "one"})
        tif.write(pixels, contiguous=False, metadata={"name": "two"})
    assert_refused(path, r"holds 2 images \(.*images\.dataset")
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(pixels)
        tif.write(pixels)
    assert_refused(path, r"holds 2 images \(.*images\.dataset")


def test_planes_along_an_axis_without_a_name(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((6, 20, 24), "uint16"))
    assert_refused(path, r"6 planes along an axis 'Q'.*images\.axes")
    assert describe(str(path), ImageOptions(axes="ZYX")).shape == (1, 1, 6, 20, 24)


def test_pages_of_samples_without_a_name(tmp_path):
    """What the error suggests must work."""
    path = write(tmp_path / "a.tif", np.zeros((6, 20, 24, 3), "uint8"), photometric="rgb")
    with pytest.raises(SourceError) as error:
        describe(str(path), ImageOptions())
    (suggested,) = re.findall('for instance "([A-Z]+)"', str(error.value))
    assert math.prod(describe(str(path), ImageOptions(axes=suggested)).shape) == 6 * 20 * 24 * 3


@pytest.mark.parametrize("axes", ["YX", "TCYX", "X", ""])
def test_another_number_of_axes_than_the_file_has(tmp_path, axes):
    path = write(tmp_path / "a.tif", np.zeros((6, 20, 24), "uint16"))
    assert_refused(path, "images.axes = .*write 3 letters", axes)


@pytest.mark.parametrize("axes", ["YXC", "CXY", "YCX"])
def test_axes_that_do_not_end_in_those_of_a_page(tmp_path, axes):
    path = write(tmp_path / "a.tif", np.zeros((6, 20, 24), "uint16"))
    assert_refused(path, "does not end in them", axes)


def test_both_channels_and_samples(tmp_path):
    pixels = np.zeros((2, 20, 24, 3), "uint8")
    path = write(tmp_path / "a.tif", pixels, photometric="rgb", metadata={"axes": "CYXS"})
    assert_refused(path, "both channels .* and samples")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_types_that_are_not_read(tmp_path, dtype):
    path = write(tmp_path / "a.tif", np.zeros((20, 24), dtype))
    assert_refused(path, f"pixels of type {dtype}")


def write_huge(path, rows, compression):
    """Declare forty billion pixels in a few kilobytes; all strips are the same bytes."""
    side = 200_000
    strips = math.ceil(side / rows)
    strip = zlib.compress(bytes(1000))
    at = 8
    offsets = at + len(strip)
    counts = offsets + 4 * strips
    data = b"II*\0" + struct.pack("<I", counts + 4 * strips) + strip
    data += struct.pack("<I", at) * strips + struct.pack("<I", len(strip)) * strips
    if strips == 1:
        offsets, counts = at, len(strip)
    tags = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 16),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, strips, offsets),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, strips, counts),
    ]
    data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(data + bytes(4))
    return path


@pytest.mark.parametrize(("rows", "compression"), [(1, 1), (1, 8), (512, 1), (512, 8), (10**6, 1)])
def test_a_small_file_that_declares_a_huge_image(tmp_path, described, rows, compression):
    path = write_huge(tmp_path / "a.tif", rows, compression)
    with pytest.raises(SourceError) as error:
        described(path).read(0, 0, [(100_000, 100_008, 100_000, 100_008)])
    assert_one_sentence(error, path)


@pytest.mark.parametrize("rows", [200_000, 10**6])
def test_a_segment_too_large_to_be_decoded_whole(tmp_path, rows):
    """A strip of 80 GB, which a worker would have to hold."""
    huge = write_huge(tmp_path / "a.tif", rows, 8)
    assert_refused(huge, "more than images.max_pixels")
    assert_refused(huge, "hold 80000000000 bytes each", max_pixels=10**11)


@pytest.mark.parametrize("tag", [322, 323])
def test_a_tile_too_large_to_be_decoded(tmp_path, tag):
    """It may be larger than its image, of which it is the only one along that side."""
    path = write(tmp_path / "a.tif", compression="packbits", tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[tag].overwrite(1 << 30)
    assert_refused(path, "hold 34359738368 bytes each")


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits", "jpeg"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_corruption_found_while_decoding(tmp_path, described, compression, tile):
    rng = np.random.default_rng(0)
    options = {"tile": tile} if tile else {"rowsperstrip": 8}
    path = tmp_path / "a.tif"
    pixels = rng.integers(0, 255, (40, 48)).astype("uint8")
    write(path, pixels, compression=compression, **options)
    with tifffile.TiffFile(path) as tif:
        offset, nbytes = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
        expected = tif.asarray()
    data = bytearray(path.read_bytes())
    # Half of the segment is not there any more, as after a copy that was broken off.
    data[offset : offset + nbytes] = bytes(nbytes)
    path.write_bytes(data)
    file = described(path)
    try:
        tifffile.imread(path)
    except Exception:
        with pytest.raises(SourceError, match="cannot read its pixels") as error:
            file.read(0, 0, [(0, 40, 0, 48)])
        assert_one_sentence(error, path)
    # What does not touch the segment can be read.
    last = file.read(0, 0, [(39, 40, 0, 16)])[0]
    np.testing.assert_array_equal(last[0], expected[39:40, :16])


def test_a_corrupted_strip_is_always_noticed(tmp_path, described):
    """zlib has a checksum: the test above may not pass by reading zeros."""
    path = write(tmp_path / "a.tif", compression="zlib", rowsperstrip=4)
    with tifffile.TiffFile(path) as tif:
        offset, nbytes = tif.pages[0].dataoffsets[2], tif.pages[0].databytecounts[2]
    data = bytearray(path.read_bytes())
    data[offset + nbytes // 2] ^= 0xA5
    path.write_bytes(data)
    assert_unreadable(described(path), path, "cannot read its pixels; .*damaged")


def test_a_strip_that_holds_too_few_pixels(tmp_path, described):
    path = write(tmp_path / "a.tif", compression="zlib", rowsperstrip=4)
    with tifffile.TiffFile(path, mode="r+") as tif:
        offset, nbytes = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    short = zlib.compress(bytes(2 * 24 * 2), 9)
    assert len(short) <= nbytes
    data = bytearray(path.read_bytes())
    data[offset : offset + len(short)] = short
    path.write_bytes(data)
    assert_unreadable(described(path), path, "cannot read its pixels")


def test_a_file_that_is_gone(tmp_path, described):
    path = write(tmp_path / "a.tif")
    file = described(path)
    path.unlink()
    assert_unreadable(file, path, "bring it back")
    assert_refused(path, "bring it back")


def test_a_folder_that_is_called_like_a_file(tmp_path):
    path = tmp_path / "a.tif"
    path.mkdir()
    assert_refused(path, "is no zarr group or array|not a regular file")


def test_a_pipe_that_is_called_like_a_file(tmp_path):
    """To open it would wait for its other end, for ever."""
    path = tmp_path / "a.tif"
    os.mkfifo(path)
    assert_refused(path, "is no zarr group or array|not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "a.tif")
    path.chmod(0)
    assert_refused(path, "may not be read")


def test_a_file_of_another_size_than_at_the_survey(tmp_path, described):
    path = write(tmp_path / "a.tif")
    file = described(path)
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(file.info.identity.mtime_ns,) * 2)
    assert_unreadable(file, path, "changed since the survey")


def test_a_file_of_another_time_than_at_the_survey(tmp_path, described):
    path = write(tmp_path / "a.tif")
    file = described(path)
    os.utime(path, ns=(file.info.identity.mtime_ns + 1,) * 2)
    assert_unreadable(file, path, "changed since the survey")


def test_a_file_that_changes_while_it_is_open(tmp_path, described):
    """A worker keeps files open between tasks; one that was written anew is not the same."""
    path = write(tmp_path / "a.tif")
    file = described(path)
    file.read(0, 0, WINDOW)
    data = bytearray(path.read_bytes())
    data[-10:] = bytes(10)
    with path.open("r+b") as same:
        same.write(data)
    os.utime(path, ns=(file.info.identity.mtime_ns + 10**9,) * 2)
    assert_unreadable(file, path, "changed since the survey")


def test_a_file_that_is_cut_short_while_it_is_open(tmp_path, described):
    path = write(tmp_path / "a.tif")
    file = described(path)
    file.read(0, 0, WINDOW)
    os.truncate(path, 100)
    assert_unreadable(file, path, "ends before byte|changed since the survey")


def test_the_survey_lists_faults_in_place(tmp_path):
    good, bad, gone = write(tmp_path / "good.tif"), tmp_path / "bad.tif", tmp_path / "gone.tif"
    bad.write_text("nothing")
    found = survey_files([str(bad), str(good), str(gone)], ImageOptions(), False)
    assert [type(entry) for entry in found] == [str, type(describe(str(good), ImageOptions())), str]
    assert found[1] == describe(str(good), ImageOptions())
    assert found[0].startswith(f"{bad}: ")
    assert "bring it back" in found[2]

"""TIFFs that loop, lie or are mixed: found before a pixel of them is believed."""

import logging
import struct
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from patchmill.tasks.codec_stream import check_stream
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.tiff import open_tiff


@pytest.fixture(autouse=True)
def _quiet():
    """tifffile logs what it finds in broken files."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def look(path, **options):
    """Open, check and read all planes; a refusal is one sentence that begins with the path."""
    with naming(str(path), "be opened"):
        image = open_tiff(str(path), ImageOptions(**options))
    try:
        with naming(str(path), "be checked"):
            image.check()
        with naming(str(path), "read it"):
            return image.read(0, tuple(slice(0, n) for n in image.shapes[0])).copy()
    finally:
        image.close()


def refusal(path, **options):
    with pytest.raises(SourceError) as error:
        look(path, **options)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.fixture
def pages(tmp_path, rng):
    """A stack of five pages, which lie one behind the other."""
    path = tmp_path / "a.tif"
    stack = rng.integers(0, 999, (5, 20, 24)).astype("uint16")
    options = {"photometric": "minisblack", "metadata": None, "compression": "zlib"}
    tifffile.imwrite(path, stack, **options)
    np.testing.assert_array_equal(look(path, axes="ZYX"), stack)
    return path


def tags_of(path, page=0):
    """Places of a page's tags in the file, by code."""
    with tifffile.TiffFile(path) as tif:
        return {tag.code: tag.offset for tag in tif.pages.get(page, aspage=True).tags}


def link_of(path, page):
    """Return where it is written at which byte the page after this one is."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.get(page, aspage=True).offset
    (count,) = struct.unpack("<H", path.read_bytes()[offset : offset + 2])
    return offset + 2 + 12 * count


def patch(path, at, data):
    found = bytearray(path.read_bytes())
    found[at : at + len(data)] = data
    path.write_bytes(found)


@pytest.mark.parametrize("back_to", [0, 2, 4])
def test_a_list_of_pages_that_loops(pages, back_to):
    with tifffile.TiffFile(pages) as tif:
        offset = tif.pages.get(back_to, aspage=True).offset
    patch(pages, link_of(pages, 4), struct.pack("<I", offset))
    assert "leads from page 4 back to" in refusal(pages, axes="ZYX")


def test_a_long_list_of_pages_that_loops_late(tmp_path):
    """tifffile looks for loops once, at page 100, and would follow this one until memory ends."""
    path = tmp_path / "a.tif"
    stack = np.zeros((150, 2, 2), "uint8")
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.get(120, aspage=True).offset
    patch(path, link_of(path, 149), struct.pack("<I", offset))
    begun = time.monotonic()
    assert "leads from page 149 back to" in refusal(path, axes="ZYX")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("to", [0xFFFFFFFF, 100_000])
def test_a_list_of_pages_that_leads_out_of_the_file(pages, to):
    patch(pages, link_of(pages, 3), struct.pack("<I", to))
    assert f"goes on at byte {to}" in refusal(pages, axes="ZYX")


def test_a_page_of_more_tags_than_there_is_room_for(pages):
    with tifffile.TiffFile(pages) as tif:
        offset = tif.pages.get(2, aspage=True).offset
    patch(pages, offset, struct.pack("<H", 4000))
    assert "4000 tags" in refusal(pages, axes="ZYX")


def test_what_a_page_says_beyond_the_end_of_the_file(tmp_path, rng):
    """tifffile drops the OME-XML that was cut off, and three planes become one, without a word."""
    path = tmp_path / "a.tif"
    stack = rng.integers(0, 999, (3, 20, 24)).astype("uint16")
    tifffile.imwrite(path, stack, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags[270].offset
    data = path.read_bytes()
    (place,) = struct.unpack_from("<I", data, at + 8)
    xml = data[place : data.index(b"\0", place) + 1]
    # It moves to the end of the file, as programs write it that learn of the planes last.
    patch(path, at, struct.pack("<HHII", 270, 2, len(xml), len(data)))
    path.write_bytes(path.read_bytes() + xml)
    np.testing.assert_array_equal(look(path), stack)
    path.write_bytes(path.read_bytes()[:-1])
    assert "tag 270 of the page" in refusal(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_level_that_is_not_there(tmp_path, rng, bigtiff):
    path = tmp_path / "a.tif"
    base = rng.integers(0, 99, (64, 64)).astype("uint8")
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tif:
        tif.write(base, subifds=1, tile=(16, 16), metadata=None)
        tif.write(base[::2, ::2], subfiletype=1, tile=(16, 16), metadata=None)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.series[0].levels) == 2
        below = tif.pages[0].subifds[0]
    path.write_bytes(path.read_bytes()[: below + 1])
    assert f"goes on at byte {below}" in refusal(path)


@pytest.mark.parametrize("length", range(0, 16))
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_header_that_is_cut_off(tmp_path, bigtiff, length):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), "uint8"), bigtiff=bigtiff)
    path.write_bytes(path.read_bytes()[:length])
    refusal(path)


@pytest.mark.parametrize(
    ("tag", "value", "name"),
    [(317, 2, "predictor"), (259, 5, "compression"), (258, 8, "number of bits")],
)
@pytest.mark.parametrize("kind", ["imagej", "ome", "uniform"])
def test_a_page_that_is_stored_in_another_way(tmp_path, rng, kind, tag, value, name):
    """tifffile takes the first page's word for all: other pixels, and no error."""
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    stack = rng.integers(0, 999, (5, 20, 24)).astype("uint16")
    # A number of its own says to Deflate what a predictor is not: none.
    extra = {"predictor": 2} if tag == 317 else {}
    axes = {"uniform": None}.get(kind, {"axes": "ZYX"})
    tifffile.imwrite(
        path,
        stack,
        photometric="minisblack",
        compression="zlib",
        imagej=kind == "imagej",
        metadata=axes,
        **extra,
    )
    np.testing.assert_array_equal(look(path, axes="ZYX"), stack)
    # Of a page in the middle, which nobody samples.
    at = tags_of(path, 3)[tag]
    patch(path, at + 8, struct.pack("<H", 1 if tag == 317 else value))
    text = refusal(path, axes="ZYX")
    expected = {"imagej": f"page 3 has another {name}", "ome": f"page 3 has another {name}"}
    assert expected.get(kind, "holds 2 images") in text


def test_pages_whose_tags_differ_in_type_alone(pages):
    """SHORT or LONG, it is the same number."""
    at = tags_of(pages, 3)[257]
    data = pages.read_bytes()[at : at + 12]
    code, kind, count, value = struct.unpack("<HHII", data)
    assert kind in (3, 4)
    expected = look(pages, axes="ZYX")
    patch(pages, at, struct.pack("<HHII", code, 7 - kind, count, value))
    np.testing.assert_array_equal(look(pages, axes="ZYX"), expected)


@pytest.mark.parametrize("compression", [34676, 32809, 40000])
def test_what_nobody_decodes_is_found_at_the_survey(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 24), "uint8"), metadata=None)
    patch(path, tags_of(path)[259] + 8, struct.pack("<H", compression))
    assert "cannot be checked" in refusal(path)


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / "a.tif"
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype("uint8")
    options = {"compression": "jpeg", "tile": (32, 32), "photometric": "minisblack"}
    tifffile.imwrite(path, smooth, metadata=None, **options)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        expected = tif.asarray()
    np.testing.assert_array_equal(look(path), expected)
    return path, places


def test_a_jpeg_stream_that_breaks_off(jpeg):
    """libjpeg fills the rest with grey, and says nothing."""
    path, places = jpeg
    at, nbytes = places[2]
    patch(path, at + nbytes - 12, bytes(12))
    tifffile.imread(path)
    assert "JPEG stream has no end" in refusal(path)


def test_a_jpeg_stream_of_another_size(jpeg):
    """A small file makes its decoder take gigabytes."""
    path, places = jpeg
    at, nbytes = places[1]
    head = path.read_bytes()[at : at + nbytes].index(b"\xff\xc0")
    patch(path, at + head + 5, struct.pack(">HH", 60000, 60000))
    assert "60000 x 60000 pixels" in refusal(path)


@pytest.mark.parametrize(
    ("compression", "encode"),
    [
        (7, lambda a: imagecodecs.jpeg8_encode(a)),
        (34712, lambda a: imagecodecs.jpeg2k_encode(a)),
        (22610, lambda a: imagecodecs.jpegxr_encode(a)),
        (34933, lambda a: imagecodecs.png_encode(a)),
        (34887, lambda a: imagecodecs.lerc_encode(a)),
    ],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_streams_say_their_size(rng, compression, encode, samples):
    shape = (300, 400) if samples == 1 else (300, 400, samples)
    data = encode(rng.integers(0, 255, shape).astype("uint8"))
    check_stream(data, compression, 300 * 400 * samples)
    with pytest.raises(ValueError, match=r"300 x (400|1200)|400 x 300"):
        check_stream(data, compression, 16)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_jpeg_xr_streams_that_break_off(rng, keep):
    data = imagecodecs.jpegxr_encode(rng.integers(0, 255, (64, 64)).astype("uint8"))
    with pytest.raises(ValueError, match="breaks off"):
        check_stream(data[: int(len(data) * keep)], 22610, 64 * 64)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_jpeg_xr_streams_of_another_kind(rng, dtype, samples):
    """jxrlib writes what the stream says into memory for what its container says."""
    shape = (16, 24) if samples == 1 else (16, 24, samples)
    data = bytearray(imagecodecs.jpegxr_encode(rng.integers(0, 99, shape).astype(dtype)))
    check_stream(bytes(data), 22610, 16 * 24 * samples)
    kind = data.index(b"WMPHOTO") + 11
    for other in {0x01, 0x02, 0x71, 0x23, 0x77} - {data[kind]}:
        changed = data.copy()
        changed[kind] = other
        with pytest.raises(ValueError, match="not of the kind"):
            check_stream(bytes(changed), 22610, 16 * 24 * samples)
    head = data.index(b"WMPHOTO")
    for at, value in ((head + 16, 0xA0), (head + 15, 99)):  # colours that are none; the height
        changed = data.copy()
        changed[at] = value
        with pytest.raises(ValueError, match=r"colours that do not belong|that says to have"):
            check_stream(bytes(changed), 22610, 16 * 24 * samples)
    data[int.from_bytes(data[4:8], "little") + 1] = 24  # 6152 tags and more
    with pytest.raises(ValueError, match="no list of tags"):
        check_stream(bytes(data), 22610, 16 * 24 * samples)


@pytest.mark.parametrize("compression", [7, 34712, 22610, 34933, 34887, 8])
def test_any_bytes_may_be_looked_at(rng, compression):
    """Whatever stands there, it is a ValueError or nothing; decoders say the rest."""
    heads = [b"", b"\xff\xd8", b"\xff\xd8\xff", b"II\xbc\x01", b"\xff\x4f\xff\x51", b"\x89PNG"]
    heads.append(b"Lerc2 ")
    for number in range(350):
        data = heads[number % 7] + rng.integers(0, 256, number % 60).astype("uint8").tobytes()
        try:
            check_stream(data, compression, 10**6)
        except ValueError:
            continue


def test_a_file_that_is_opened_in_vain_is_closed(tmp_path, rng):
    """Warnings are errors here: one that is left open would be found at the end."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists the files that a process has open")
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.zeros((5, 20, 24), "uint8"), photometric="minisblack")
    text = tmp_path / "text.tif"
    text.write_text("this is a text")
    for path in (stack, text):
        refusal(path)
    links = Path("/proc/self/fd").iterdir()
    assert not any(str(link.resolve()).startswith(str(tmp_path)) for link in links)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_flipped(tmp_path, seed):
    """The same pixels, or one sentence, or (what no checksum tells) other pixels; in no time."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.tif"
    stack = np.arange(5 * 20 * 24, dtype="uint16").reshape(5, 20, 24)
    options = [{"imagej": True}, {"ome": True}, {"tile": (16, 16)}, {"compression": "lzw"}][seed]
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"}, **options)
    data = path.read_bytes()
    begun = time.monotonic()
    refused = 0
    for _ in range(150):
        broken = np.frombuffer(data, "uint8").copy()
        at = rng.integers(0, min(len(data), 1500), 3)
        broken[at] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        try:
            look(path)
        except SourceError:
            refused += 1
    assert refused
    assert time.monotonic() - begun < 60


def test_a_deflate_bomb(tmp_path):
    """A strip that would be 100 MB decodes to what belongs there, or not at all."""
    path = tmp_path / "a.tif"
    bomb = zlib.compress(bytes(10**8), 9)
    tifffile.imwrite(
        path, iter([bomb]), shape=(20, 24), dtype="uint8", compression="zlib", metadata=None
    )
    refusal(path)

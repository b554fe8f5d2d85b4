"""Pictures against other decoders (libpng, libjpeg and libwebp of imagecodecs), and wrecks."""

import struct
import zlib
from contextlib import suppress

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.picture import open_picture
from patchmill.tasks.source import SourceError, naming

HEIGHT, WIDTH = 37, 53


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def read_whole(path, **options):
    """Return axes, channels, pixels and notes of a picture, checked as the survey does."""
    with naming(str(path), "be opened"):
        image = open_picture(str(path), ImageOptions(**options))
    try:
        with naming(str(path), "be read"):
            image.check()
            pixels = image.read(0, tuple(slice(0, n) for n in image.shapes[0])).copy()
    finally:
        image.close()
    assert pixels.shape == image.shapes[0] == image.segments[0]
    assert pixels.dtype == image.dtype
    return image.axes, image.channels, pixels, image.notes


def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(pixels, colour, bits, *before, stream=None):
    """Return a PNG of rows of samples, by hand: no writer makes all kinds."""
    height, width = pixels.shape[:2]
    if bits < 8:
        each = np.unpackbits(pixels[..., None], axis=-1)[..., 8 - bits :]
        pixels = np.packbits(each.reshape(height, -1), axis=1)
    rows = pixels.astype(">u2" if bits == 16 else np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(raw) if stream is None else stream)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + body + chunk(b"IEND")


def bmp_of(rows, bits, width, height, palette=b"", packing=0, masks=b""):
    first = 54 + len(masks) + len(palette)
    file = struct.pack("<2sIII", b"BM", first + len(rows), 0, first)
    colours = len(palette) // 4
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, colours, 0)
    return file + info + masks + palette + rows


COLOURS = [(0, ()), (2, ("R", "G", "B")), (4, ("L", "A")), (6, ("R", "G", "B", "A"))]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("colour", "names"), COLOURS)
def test_png_keeps_bits_and_the_order_of_colours(tmp_path, rng, colour, names, bits):
    shape = (HEIGHT, WIDTH, len(names)) if names else (HEIGHT, WIDTH)
    stored = rng.integers(0, 1 << bits, shape).astype(f"u{bits // 8}")
    path = tmp_path / "a.png"
    path.write_bytes(png_of(stored, colour, bits))
    axes, channels, pixels, notes = read_whole(path)
    assert np.array_equal(imagecodecs.png_decode(path.read_bytes()), stored)
    assert (axes, channels, notes) == ("CYX" if names else "YX", names, ())
    assert pixels.dtype == stored.dtype
    assert np.array_equal(pixels, np.moveaxis(stored, -1, 0) if names else stored)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_of_a_png_palette_or_its_colours(tmp_path, rng, bits):
    stored = rng.integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint8)
    palette = rng.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png_of(stored, 3, bits, chunk(b"PLTE", palette.tobytes())))
    axes, channels, pixels, notes = read_whole(path)
    assert (axes, channels) == ("YX", ())
    assert "palette" in notes[0]
    assert np.array_equal(pixels, stored)
    axes, channels, pixels, notes = read_whole(path, palette="colour")
    assert (axes, channels, notes) == ("CYX", ("R", "G", "B"), ())
    assert np.array_equal(pixels, np.moveaxis(palette[stored], -1, 0))


def test_a_palette_with_transparent_colours(tmp_path, rng):
    stored = rng.integers(0, 16, (HEIGHT, WIDTH)).astype(np.uint8)
    palette = rng.integers(0, 256, (16, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    chunks = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", b"\x07\x09")
    path.write_bytes(png_of(stored, 3, 4, *chunks))
    assert np.array_equal(read_whole(path)[2], stored)
    _, channels, pixels, _ = read_whole(path, palette="colour")
    assert channels == ("R", "G", "B", "A")
    alpha = np.array([7, 9, *[255] * 14], np.uint8)
    assert np.array_equal(pixels, np.moveaxis(np.c_[palette, alpha][stored], -1, 0))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_not_spread(tmp_path, rng, bits):
    stored = rng.integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png_of(stored, 0, bits))
    _, _, pixels, notes = read_whole(path)
    assert np.array_equal(pixels, stored)
    assert f"{bits} bits" in notes[0]


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_colour_that_means_transparent_adds_no_channel(tmp_path, rng, colour, samples, bits):
    stored = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, samples)).astype(f"u{bits // 8}")
    path = tmp_path / "a.png"
    key = stored[0, 0].astype(">u2").tobytes()
    path.write_bytes(png_of(stored, colour, bits, chunk(b"tRNS", key)))
    _, _, pixels, notes = read_whole(path)
    assert np.array_equal(pixels.reshape(samples, HEIGHT, WIDTH), np.moveaxis(stored, -1, 0))
    assert "transparency" in notes[0]


def exif(orientation):
    entry = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    body = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body


JPEGS = {
    "grey": (False, []),
    "444": (True, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]),
    "420": (True, []),
    "progressive": (True, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "restarts": (True, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
}


def jpeg_of(rng, kind="420", size=(HEIGHT, WIDTH)):
    colour, parameters = JPEGS[kind]
    noise = rng.integers(0, 256, (*size, 3) if colour else size).astype(np.uint8)
    return cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 1), parameters)[1].tobytes()


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg(tmp_path, rng, kind):
    path = tmp_path / "a.jpg"
    data = jpeg_of(rng, kind)
    # Bytes after the end, as cameras append; a thumbnail before it; orientation.
    path.write_bytes(data[:2] + exif(6) + data[2:] + b"appended")
    axes, channels, pixels, notes = read_whole(path)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert cv2.imread(str(path)).shape[:2] == (WIDTH, HEIGHT), "the orientation counts elsewhere"
    if JPEGS[kind][0]:
        assert (axes, channels, notes) == ("CYX", ("R", "G", "B"), ())
        assert np.array_equal(pixels, np.moveaxis(expected[..., ::-1], -1, 0))
    else:
        assert (axes, channels, notes) == ("YX", (), ())
        assert np.array_equal(pixels, expected)


def test_colours_of_a_jpeg_are_not_swapped(tmp_path):
    path = tmp_path / "a.jpg"
    red = np.full((16, 16, 3), (250, 20, 60), np.uint8)
    path.write_bytes(imagecodecs.jpeg8_encode(red, level=95))
    assert read_whole(path)[2][:, 8, 8] == pytest.approx((250, 20, 60), abs=5)


@pytest.mark.parametrize("quality", [80, 101])  # 101 means lossless
@pytest.mark.parametrize("samples", [3, 4])
def test_webp(tmp_path, rng, samples, quality):
    path = tmp_path / "a.webp"
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, samples)).astype(np.uint8)
    data = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    path.write_bytes(data)
    axes, channels, found, _ = read_whole(path)
    assert (axes, channels) == ("CYX", ("R", "G", "B", "A")[:samples])
    assert np.array_equal(found, np.moveaxis(imagecodecs.webp_decode(data), -1, 0))


RAMP = bytes(value for n in range(256) for value in (n, n, n, 0))
INVERTED = bytes(value for n in range(256) for value in (255 - n, 255 - n, 255 - n, 0))
COLOURED = bytes(value for n in range(256) for value in (n, 255 - n, n * 7 % 256, 0))


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("palette", [RAMP, INVERTED, COLOURED])
def test_numbers_of_a_bmp_palette_or_its_colours(tmp_path, rng, bits, palette):
    width = 32  # a multiple of what rows are padded to, at each of these numbers of bits
    stored = rng.integers(0, 1 << bits, (HEIGHT, width)).astype(np.uint8)
    each = np.unpackbits(stored[::-1, :, None], axis=-1)[..., 8 - bits :]
    rows = np.packbits(each.reshape(HEIGHT, -1), axis=1).tobytes()
    palette = palette[: 4 << bits]
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp_of(rows, bits, width, HEIGHT, palette))
    axes, _, pixels, notes = read_whole(path)
    assert axes == "YX"
    assert np.array_equal(pixels, stored)
    assert bool(notes) == (palette != RAMP)
    axes, _, pixels, notes = read_whole(path, palette="colour")
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 4)[:, 2::-1][stored]
    is_grey = palette[0] == palette[1]
    assert axes == ("YX" if is_grey else "CYX")
    assert np.array_equal(pixels, colours[..., 0] if is_grey else np.moveaxis(colours, -1, 0))


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("samples", [3, 4])
def test_bmp(tmp_path, rng, samples, downwards):
    width = 32
    stored = rng.integers(0, 256, (HEIGHT, width, samples)).astype(np.uint8)
    height = -HEIGHT if downwards else HEIGHT
    path = tmp_path / "a.bmp"
    rows = stored if downwards else stored[::-1]
    path.write_bytes(bmp_of(rows.tobytes(), 8 * samples, width, height))
    _, channels, pixels, _ = read_whole(path)
    assert channels == ("R", "G", "B")  # the fourth byte of plain ones has no meaning
    assert np.array_equal(pixels, np.moveaxis(stored[..., 2::-1], -1, 0))


def test_bmp_with_alpha(tmp_path, rng):
    stored = rng.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    path = tmp_path / "a.bmp"
    path.write_bytes(cv2.imencode(".bmp", stored)[1].tobytes())
    _, channels, pixels, _ = read_whole(path)
    assert channels == ("R", "G", "B", "A")
    assert np.array_equal(pixels, np.moveaxis(stored[..., [2, 1, 0, 3]], -1, 0))


def test_part_of_a_picture(tmp_path, rng):
    stored = rng.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png_of(stored, 6, 8))
    image = open_picture(str(path), ImageOptions())
    part = image.read(0, (slice(1, 4), slice(5, 20), slice(7, 50)))
    assert np.array_equal(part, np.moveaxis(stored[5:20, 7:50, 1:4], -1, 0))
    image.close()


def test_opening_decodes_nothing(tmp_path, monkeypatch):
    """A header of 40,000 x 40,000 costs nothing; the size is what the header says."""
    path = tmp_path / "a.png"
    data = bytearray(png_of(np.zeros((4, 4), np.uint8), 0, 8))
    data[16:24] = struct.pack(">II", 40_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)
    image = open_picture(str(path), ImageOptions())
    assert image.shapes == ((30_000, 40_000),)
    image.close()


def animated_png():
    pixels = np.zeros((4, 4), np.uint8)
    return png_of(pixels, 0, 8, chunk(b"acTL", struct.pack(">II", 2, 0)))


def animated_webp():
    body = bytes([2, 0, 0, 0, 3, 0, 0, 3, 0, 0])
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + body


def cmyk_jpeg():
    frame = struct.pack(">BHHB", 8, 16, 16, 4) + bytes(12)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame


REFUSED = {
    "animated.png": (animated_png, "one file per frame"),
    "animated.webp": (animated_webp, "one file per frame"),
    "inks.jpg": (cmyk_jpeg, "4 samples"),
    "sound.webp": (lambda: b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(20), "no WebP"),
    "short.bmp": (lambda: bmp_of(bytes(512), 16, 16, 16), "16 bits per pixel"),
    "packed.bmp": (lambda: bmp_of(bytes(512), 8, 16, 16, RAMP, packing=1), "method 1"),
    "no.jpg": (lambda: b"\xff\xd8\xff\xd9" + bytes(20), "frame header"),
    "padded.jpg": (lambda: b"\xff\xd8" + b"\xff" * 100_000, "frame header"),
    "bits.png": (lambda: png_of(np.zeros((4, 4), np.uint8), 2, 4), "4 bits of colour type 2"),
    "text.png": (lambda: b"no picture at all", "no PNG, JPEG, BMP or WebP"),
    "empty.png": (lambda: b"", "no PNG, JPEG, BMP or WebP"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_opened(tmp_path, name):
    make, why = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(SourceError, match=why) as caught:
        open_picture(str(path), ImageOptions())
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_of_too_many_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_of(np.zeros((4, 4), np.uint8), 0, 8) + bytes(1000))
    with pytest.raises(SourceError, match="max_segment_bytes = 1000"):
        open_picture(str(path), ImageOptions(max_segment_bytes=1000))


def whole_files(rng):
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    yield "a.png", cv2.imencode(".png", pixels)[1].tobytes()
    yield "g.png", png_of(pixels[..., 0] >> 4, 0, 4)
    yield "a.jpg", jpeg_of(rng)
    yield "p.jpg", jpeg_of(rng, "progressive")
    yield "a.webp", cv2.imencode(".webp", pixels)[1].tobytes()
    yield "l.webp", cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    yield "a.bmp", cv2.imencode(".bmp", pixels)[1].tobytes()
    yield "i.bmp", cv2.imencode(".bmp", pixels[..., 0])[1].tobytes()


def checked(path):
    with naming(str(path), "be opened"):
        image = open_picture(str(path), ImageOptions())
        try:
            image.check()
        finally:
            image.close()


def read_unchecked(path):
    with naming(str(path), "be read"):
        image = open_picture(str(path), ImageOptions())
        try:
            image.read(0, tuple(slice(0, n) for n in image.shapes[0]))
        finally:
            image.close()


def test_cut_short_files_are_found_out_at_the_survey(tmp_path, rng):
    for name, data in whole_files(rng):
        path = tmp_path / name
        for keep in (1, 20, 40, 100, len(data) // 2, len(data) - 20, len(data) - 1):
            path.write_bytes(data[:keep])
            with pytest.raises(SourceError):
                checked(path)
            # A survey that did not look must not make blank pixels of it either.
            with pytest.raises(SourceError):
                read_unchecked(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pngs_are_never_read_wrong(tmp_path_factory, data):
    """Every byte of a PNG that matters to its pixels is under a checksum."""
    stored = np.random.default_rng(1).integers(0, 1 << 16, (19, 23, 3)).astype(np.uint16)
    whole = bytearray(png_of(stored, 2, 16))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(whole)
    with suppress(SourceError):
        pixels = read_whole(path)[2]
        assert np.array_equal(pixels, np.moveaxis(stored, -1, 0))


def stream_of(pixels):
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


@pytest.mark.parametrize("kind", ["ends early", "wrong sum", "too few rows"])
def test_a_png_whose_checksums_are_right_and_its_stream_is_not(tmp_path, rng, kind):
    pixels = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    stream = stream_of(pixels)
    stream = {
        "ends early": stream[: len(stream) // 2],
        "wrong sum": stream[:-4] + b"sums",
        "too few rows": stream_of(pixels[:40]),
    }[kind]
    path = tmp_path / "a.png"
    path.write_bytes(png_of(pixels, 0, 8, stream=stream))
    with pytest.raises(SourceError, match="damaged"):
        read_whole(path)


@pytest.mark.parametrize("kind", ["444", "420", "progressive"])
def test_a_jpeg_with_a_hole_or_an_early_end_is_no_grey_picture(tmp_path, rng, kind):
    data = jpeg_of(rng, kind, (128, 128))
    middle = len(data) // 2
    path = tmp_path / "a.jpg"
    for wreck in (data[:middle] + bytes(512) + data[middle + 512 :], data[:middle] + b"\xff\xd9"):
        path.write_bytes(wreck)
        blank = cv2.imdecode(np.frombuffer(wreck, np.uint8), cv2.IMREAD_UNCHANGED)
        assert blank is not None, "OpenCV alone would have found it out"
        with pytest.raises(SourceError, match="damaged"):
            read_whole(path)


def test_real_pictures(data_folder):
    paths = sorted(data_folder.rglob("*.png"))
    assert len(paths) > 50
    for path in paths:
        axes, _, pixels, _ = read_whole(path)
        expected = imagecodecs.png_decode(path.read_bytes())
        if axes == "CYX":
            expected = np.moveaxis(expected, -1, 0)
        assert np.array_equal(pixels, expected), path

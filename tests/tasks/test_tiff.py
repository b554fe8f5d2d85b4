"""Every layout of a TIFF: windows are tifffile's own pixels, planes are where they belong."""

import math

import hypothesis
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import strategies as st

from patchmill.tasks import tiff_image, tiff_segments
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.tiff import open_tiff

DTYPES = ("uint8", "uint16", "uint32", "int16", "float32")
STRIPS = {"one row": 1, "seven rows": 7, "one strip": 53}


def noise(rng, shape, dtype):
    """Pixels that fill the type, with a gradient that a predictor has something to say about."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    pixels = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    pixels[..., ::2] = np.arange(pixels[..., ::2].shape[-1], dtype=dtype)
    return pixels


def some_windows(rng, height, width, n=12):
    """All of it, its four corner pixels, and windows anywhere."""
    windows = [(0, height, 0, width)]
    windows += [(y, y + 1, x, x + 1) for y in (0, height - 1) for x in (0, width - 1)]
    for _ in range(n):
        y0, x0 = int(rng.integers(height)), int(rng.integers(width))
        windows.append(
            (y0, int(rng.integers(y0, height)) + 1, x0, int(rng.integers(x0, width)) + 1)
        )
    return windows


@pytest.fixture
def opened():
    """Return a function that opens a TIFF; closed at the end."""
    images = []

    def open_it(path, **options):
        images.append(open_tiff(str(path), ImageOptions(**options)))
        return images[-1]

    yield open_it
    for image in images:
        image.close()


def five(image, level=0):
    """Lengths of (t, c, z, y, x)."""
    lengths = dict(zip(image.axes, image.shapes[level], strict=True))
    return tuple(lengths.get(axis, 1) for axis in "TCZYX")


def read_plane(image, t, z, window, level=0):
    """A window (y0, y1, x0, x1) of all channels of a plane, shape (c, y, x)."""
    y0, y1, x0, x1 = window
    at = {"T": slice(t, t + 1), "Z": slice(z, z + 1), "Y": slice(y0, y1), "X": slice(x0, x1)}
    channels = five(image, level)[1]
    at["C"] = slice(0, channels)
    pixels = image.read(level, tuple(at[axis] for axis in image.axes))
    assert pixels.shape == tuple(at[axis].stop - at[axis].start for axis in image.axes)
    assert pixels.dtype == image.dtype
    assert pixels.dtype.isnative
    return pixels.reshape(channels, y1 - y0, x1 - x0)


@pytest.fixture
def assert_same(whole, rng, monkeypatch, opened):
    """Return a function that compares windows of all planes with tifffile's `asarray`."""

    def check(path, axes=None):
        expected = whole(path, axes)
        n_t, _, n_z, height, width = expected.shape
        windows = some_windows(rng, height, width)
        # Bands of a megabyte hold all of a small image; short ones show their seams.
        for band_bytes in (tiff_segments.BAND_BYTES, 700):
            monkeypatch.setattr(tiff_segments, "BAND_BYTES", band_bytes)
            monkeypatch.setattr(tiff_image, "BAND_BYTES", band_bytes)
            image = opened(path, axes=axes)
            image.check()
            assert five(image) == expected.shape
            assert image.dtype == expected.dtype.newbyteorder("=")
            for t, z in np.ndindex(n_t, n_z):
                for y0, y1, x0, x1 in windows:
                    pixels = read_plane(image, t, z, (y0, y1, x0, x1))
                    np.testing.assert_array_equal(pixels, expected[t, :, z, y0:y1, x0:x1])
        return image

    return check


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("layout", [*STRIPS, "tiles"])
def test_raw(tmp_path, rng, assert_same, layout, bigtiff, byteorder, dtype):
    options = {"tile": (16, 32)} if layout == "tiles" else {"rowsperstrip": STRIPS[layout]}
    path = tmp_path / "a.tif"
    pixels = noise(rng, (53, 47), dtype)
    tifffile.imwrite(path, pixels, byteorder=byteorder, bigtiff=bigtiff, metadata=None, **options)
    image = assert_same(path)
    # Rows of raw strips are read as they are needed.
    assert image.segments == (((16, 32) if layout == "tiles" else (1, 47)),)
    assert (image.band_bytes == 0) == (layout == "tiles")


COMPRESSED = [
    (codec, predictor, dtype)
    for codec in ("zlib", "lzw", "packbits", "zstd", "lzma", "lerc", "jpeg2000")
    for predictor in (1, 2, 3)
    for dtype in DTYPES
    if (predictor == 1 or codec in ("zlib", "lzw", "zstd"))
    and (predictor != 3 or dtype == "float32")
    and (predictor != 2 or dtype != "float32")
    and (codec != "jpeg2000" or dtype in ("uint8", "uint16"))
    and (codec != "packbits" or dtype != "float32")
]


@pytest.mark.parametrize("layout", [*STRIPS, "tiles"])
@pytest.mark.parametrize(("codec", "predictor", "dtype"), COMPRESSED)
def test_compressed(tmp_path, rng, assert_same, codec, predictor, dtype, layout):
    options = {"tile": (16, 32)} if layout == "tiles" else {"rowsperstrip": STRIPS[layout]}
    path = tmp_path / "a.tif"
    pixels = noise(rng, (53, 47), dtype)
    tifffile.imwrite(path, pixels, compression=codec, predictor=predictor, **options)
    np.testing.assert_array_equal(tifffile.imread(path), pixels)
    image = assert_same(path)
    rows = STRIPS.get(layout, 0)
    assert image.segments == (((16, 32) if layout == "tiles" else (rows, 47)),)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize(("compression", "predictor"), [(None, 1), ("zlib", 1), ("zlib", 2)])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_rgb(tmp_path, rng, assert_same, tile, compression, planarconfig, predictor, byteorder):
    shape = (53, 47, 3) if planarconfig == "contig" else (3, 53, 47)
    options = {"tile": tile} if tile else {"rowsperstrip": 7}
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        noise(rng, shape, "uint16"),
        photometric="rgb",
        planarconfig=planarconfig,
        compression=compression,
        predictor=predictor,
        byteorder=byteorder,
        **options,
    )
    image = assert_same(path)
    assert image.axes == "CYX"
    assert image.channels == ("R", "G", "B")
    assert image.segments[0][0] == (3 if planarconfig == "contig" else 1)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("samples", [2, 4, 5])
def test_samples_that_are_not_colours(tmp_path, rng, assert_same, samples, planarconfig):
    shape = (20, 24, samples) if planarconfig == "contig" else (samples, 20, 24)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, noise(rng, shape, "uint16"), photometric="minisblack", planarconfig=planarconfig
    )
    image = assert_same(path)
    assert image.channels == ("",) * samples


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_pages_of_samples(tmp_path, rng, assert_same, planarconfig):
    shape = (4, 20, 24, 3) if planarconfig == "contig" else (4, 3, 20, 24)
    axes = "ZYXS" if planarconfig == "contig" else "ZSYX"
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        noise(rng, shape, "uint8"),
        photometric="rgb",
        planarconfig=planarconfig,
        compression="zlib",
        metadata={"axes": axes},
    )
    assert five(assert_same(path)) == (1, 3, 4, 20, 24)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize("layout", [*STRIPS, "tiles"])
def test_jpeg(tmp_path, rng, assert_same, layout, colour):
    smooth = np.add.outer(np.arange(53), np.arange(47)).astype("uint8")
    if colour == "rgb":
        smooth = np.stack([smooth, smooth.T[:47].repeat(2, 0)[:53, :47], 255 - smooth], axis=-1)
    rows = {"one row": 8, "seven rows": 24, "one strip": 53}  # strips of whole JPEG blocks
    options = {"tile": (16, 32)} if layout == "tiles" else {"rowsperstrip": rows[layout]}
    path = tmp_path / "a.tif"
    photometric = "minisblack" if colour == "grey" else "rgb"
    tifffile.imwrite(path, smooth, compression="jpeg", photometric=photometric, **options)
    assert_same(path)


def split_tables(stream):
    """Take the quantization and Huffman tables out of a JPEG: (tables, the rest)."""
    tables, rest, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        else:
            rest += stream[at:end]
        at = end
    return tables + b"\xff\xd9", rest + stream[at:]


def test_jpeg_pages_that_have_tables_of_their_own(tmp_path, assert_same, whole):
    """Each page of a stack may be compressed with another quality, its tables in its own tag."""
    smooth = np.add.outer(np.arange(32), np.arange(32)).astype("uint8") * 3
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="32" SizeY="32" '
        'SizeZ="1" SizeC="2" SizeT="1"><TiffData/></Pixels></Image></OME>'
    )
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        for quality, description in ((95, xml), (10, None)):
            tables, rest = split_tables(imagecodecs.jpeg8_encode(smooth, level=quality))
            tif.write(
                iter([rest]),
                shape=(32, 32),
                dtype="uint8",
                rowsperstrip=32,
                compression="jpeg",
                photometric="minisblack",
                jpegtables=tables,
                description=description,
                metadata=None,
            )
    pages = whole(path)
    assert (pages[0, 0] != pages[0, 1]).any()
    assert five(assert_same(path)) == (1, 2, 1, 32, 32)


def test_min_is_white_and_palette_are_kept_as_stored(tmp_path, rng, assert_same):
    pixels = noise(rng, (20, 24), "uint8")
    path = tmp_path / "white.tif"
    tifffile.imwrite(path, pixels, photometric="miniswhite")
    assert_same(path)
    colormap = rng.integers(0, 2**16, (3, 256), "uint16")
    path = tmp_path / "palette.tif"
    tifffile.imwrite(path, pixels, photometric="palette", colormap=colormap)
    image = assert_same(path)
    assert five(image) == (1, 1, 1, 20, 24)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("CYX", (3, 20, 24)),
        ("ZYX", (4, 20, 24)),
        ("TYX", (5, 20, 24)),
        ("ZCYX", (4, 3, 20, 24)),
        ("CZYX", (3, 4, 20, 24)),
        ("TZCYX", (2, 4, 3, 20, 24)),
        ("TCZYX", (2, 3, 4, 20, 24)),
        ("CTZYX", (3, 2, 4, 20, 24)),
    ],
)
@pytest.mark.parametrize("kind", ["shaped", "ome", "ome bigtiff"])
def test_stacks(tmp_path, rng, assert_same, kind, axes, shape, compression):
    path = tmp_path / ("a.tif" if kind == "shaped" else "a.ome.tif")
    tifffile.imwrite(
        path,
        noise(rng, shape, "uint16"),
        ome=kind != "shaped",
        bigtiff="bigtiff" in kind,
        photometric="minisblack",
        compression=compression,
        metadata={"axes": axes},
    )
    image = assert_same(path)
    lengths = dict(zip(axes, shape, strict=True))
    assert five(image) == tuple(lengths.get(axis, 1) for axis in "TCZYX")


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("CYX", (3, 20, 24)),
        ("ZCYX", (4, 3, 20, 24)),
        ("TZCYX", (2, 4, 3, 20, 24)),
        ("TZCYXS", (2, 4, 1, 20, 24, 3)),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej(tmp_path, rng, assert_same, axes, shape, compression):
    """Raw ones lie one after another, and only the first plane has a page."""
    path = tmp_path / "a.tif"
    dtype = "uint8" if "S" in axes else "uint16"
    tifffile.imwrite(
        path,
        noise(rng, shape, dtype),
        imagej=True,
        compression=compression,
        metadata={"axes": axes},
    )
    assert_same(path)


def test_imagej_without_pages_is_what_the_test_above_reads(tmp_path, rng, assert_same):
    path = tmp_path / "a.tif"
    pixels = noise(rng, (2, 4, 3, 20, 24), "uint16")
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZCYX"}, truncate=True)
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].is_truncated
    assert_same(path)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_planes_without_pages_of_either_byte_order(tmp_path, rng, assert_same, dtype, byteorder):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        noise(rng, (3, 20, 24), dtype),
        photometric="minisblack",
        byteorder=byteorder,
        metadata={"axes": "CYX"},
        truncate=True,
    )
    assert_same(path)


def test_ome_names_and_sizes(tmp_path, rng, opened):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        noise(rng, (2, 3, 20, 24), "uint16"),
        photometric="minisblack",
        metadata={
            "axes": "ZCYX",
            "Channel": {"Name": ["DAPI", "GFP", "bright field"]},
            "PhysicalSizeX": 0.325,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 325.0,
            "PhysicalSizeYUnit": "nm",
            "PhysicalSizeZ": 0.002,
            "PhysicalSizeZUnit": "mm",
        },
    )
    image = opened(path)
    assert image.channels == ("DAPI", "GFP", "bright field")
    assert image.voxel_um == pytest.approx((2.0, 0.325, 0.325))
    assert five(image) == (1, 3, 2, 20, 24)


def test_what_ome_does_not_say_is_unknown(tmp_path, rng, opened):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        noise(rng, (20, 24), "uint16"),
        metadata={"axes": "YX", "PhysicalSizeX": 3, "PhysicalSizeXUnit": "pixel"},
    )
    image = opened(path)
    assert image.channels == ("",)
    assert all(math.isnan(value) for value in image.voxel_um)


def test_axes_are_as_told(tmp_path, rng, assert_same):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(rng, (6, 20, 24), "uint16"), photometric="minisblack")
    assert five(assert_same(path, "CYX")) == (1, 6, 1, 20, 24)
    assert five(assert_same(path, "TYX")) == (6, 1, 1, 20, 24)
    assert five(assert_same(path, "ZYX")) == (1, 1, 6, 20, 24)


def test_sparse_tiles_hold_what_tifffile_fills_in(tmp_path, rng, assert_same):
    """A tile without bytes is empty: GDAL and others leave out what is all background."""
    path = tmp_path / "a.tif"
    tiles = [None if n % 2 else noise(rng, (16, 16), "uint16") for n in range(6)]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(20, 41),
        dtype="uint16",
        tile=(16, 16),
        compression="zlib",
        extratags=[(42113, "s", 0, "7", True)],  # GDAL_NODATA
    )
    pixels = tifffile.imread(path)
    assert (pixels[:16, 16:32] == 7).all()
    assert_same(path)


def test_a_pyramid_has_its_levels(tmp_path, rng, assert_same, opened):
    path = tmp_path / "a.ome.tif"
    pixels = noise(rng, (2, 64, 96), "uint16")
    options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, subifds=2, metadata={"axes": "CYX"}, **options)
        tif.write(pixels[:, ::2, ::2], subfiletype=1, **options)
        tif.write(pixels[:, ::4, ::4], subfiletype=1, **options)
    assert_same(path)
    image = opened(path)
    assert image.shapes == ((2, 64, 96), (2, 32, 48), (2, 16, 24))
    for level, step in enumerate((1, 2, 4)):
        _, height, width = image.shapes[level]
        found = read_plane(image, 0, 0, (0, height, 0, width), level)
        np.testing.assert_array_equal(found, pixels[:, ::step, ::step])


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_any_window_of_any_layout(tmp_path_factory, data):
    """Whatever the sizes of image, strips and tiles are, and wherever the window lies."""
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    samples = data.draw(st.sampled_from([1, 3]))
    separate = samples > 1 and data.draw(st.booleans())
    options = {"compression": data.draw(st.sampled_from([None, "zlib"]))}
    if data.draw(st.booleans()):
        options["tile"] = (16 * data.draw(st.integers(1, 4)), 16 * data.draw(st.integers(1, 4)))
    else:
        options["rowsperstrip"] = data.draw(st.integers(1, 80))
    shape = {1: (height, width), 3: (height, width, 3)}[samples]
    pixels = np.arange(math.prod(shape), dtype="uint16").reshape(shape)
    stored = pixels.transpose(2, 0, 1) if separate else pixels
    if samples > 1:
        options["planarconfig"] = "separate" if separate else "contig"
    path = tmp_path_factory.mktemp("any") / "a.tif"
    photometric = "rgb" if samples > 1 else "minisblack"
    tifffile.imwrite(path, stored, photometric=photometric, metadata=None, **options)
    expected = pixels.transpose(2, 0, 1) if samples > 1 else pixels[None]
    image = open_tiff(str(path), ImageOptions())
    try:
        for _ in range(5):
            y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
            y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
            found = read_plane(image, 0, 0, (y0, y1, x0, x1))
            np.testing.assert_array_equal(found, expected[:, y0:y1, x0:x1])
    finally:
        image.close()

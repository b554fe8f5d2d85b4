"""TIFFs as each vendor writes them: which image it is, its levels, its channels, its pixels."""

import json
import math
import struct

import numpy as np
import pytest
import tifffile

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError
from patchmill.tasks.tiff import open_tiff

TILED = {"tile": (16, 16), "compression": "zlib", "metadata": None}


@pytest.fixture
def opened():
    """Return a function that opens a TIFF; closed at the end."""
    images = []

    def open_it(path, **options):
        images.append(open_tiff(str(path), ImageOptions(**options)))
        images[-1].check()
        return images[-1]

    yield open_it
    for image in images:
        image.close()


def read_all(image, level=0):
    return image.read(level, tuple(slice(0, n) for n in image.shapes[level])).copy()


def refusal(path, **options):
    with pytest.raises(SourceError) as error:
        open_tiff(str(path), ImageOptions(**options)).close()
    return str(error.value)


def pixels_of(rng, *shape, dtype="uint8"):
    return rng.integers(0, 200, shape).astype(dtype)


def test_svs(tmp_path, rng, opened):
    """The base, its thumbnail, a level, label and macro, in Aperio's order."""
    path = tmp_path / "a.svs"
    base = pixels_of(rng, 96, 128, 3)
    text = "Aperio Image Library v11\n128x96 (16x16) |AppMag = 20|MPP = 0.4990|Left = 1"
    with tifffile.TiffWriter(path) as tif:
        tif.write(base, description=text, **TILED)
        tif.write(base[::4, ::4], metadata=None, description="Aperio thumbnail")
        tif.write(base[::2, ::2], description="Aperio level", **TILED)
        tif.write(base[:40, :30], subfiletype=1, metadata=None, description="Aperio label")
        tif.write(base[:30, :90], subfiletype=9, metadata=None, description="Aperio macro")
    image = opened(path)
    assert (image.axes, image.shapes) == ("CYX", ((3, 96, 128), (3, 48, 64)))
    assert image.segments == ((3, 16, 16), (3, 16, 16))
    assert image.channels == ("R", "G", "B")
    assert image.voxel_um[1:] == (0.499, 0.499)
    assert image.notes == ()
    np.testing.assert_array_equal(read_all(image), base.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_all(image, 1), base[::2, ::2].transpose(2, 0, 1))
    macro = opened(path, dataset="Macro")
    np.testing.assert_array_equal(read_all(macro), base[:30, :90].transpose(2, 0, 1))


def write_ndpi(path, levels, per_cm):
    """A classic TIFF with 64-bit offsets of pages, and the upper halves of values behind them."""
    data = bytearray(b"II*\0" + bytes(8))
    link = 4
    for number, pixels in enumerate(levels):
        at = len(data)
        data += pixels.tobytes()
        place = len(data)
        data += struct.pack("<II", per_cm, 1) + b"Hamamatsu\0"
        lens = struct.unpack("<I", struct.pack("<f", 20.0 / 2**number))[0]
        tags = [
            (256, 4, 1, pixels.shape[1]),
            (257, 4, 1, pixels.shape[0]),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (271, 2, 10, place + 8),
            (273, 4, 1, at),
            (277, 3, 1, 1),
            (278, 4, 1, pixels.shape[0]),
            (279, 4, 1, pixels.nbytes),
            (282, 5, 1, place),
            (283, 5, 1, place),
            (296, 3, 1, 3),
            (65420, 4, 1, 1),
            (65421, 11, 1, lens),
        ]
        struct.pack_into("<Q", data, link, len(data))
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
        link = len(data)
        data += bytes(8) + bytes(4 * len(tags))
    path.write_bytes(data)


def test_ndpi(tmp_path, rng, opened):
    base = pixels_of(rng, 128, 192)
    path = tmp_path / "a.ndpi"
    write_ndpi(path, [base, base[::2, ::2], base[::4, ::4]], 22000)
    image = opened(path)
    assert image.shapes == ((128, 192), (64, 96), (32, 48))
    assert image.voxel_um[1:] == pytest.approx((10000 / 22000,) * 2)
    for level, step in enumerate((1, 2, 4)):
        np.testing.assert_array_equal(read_all(image, level), base[::step, ::step])


def test_qptiff(tmp_path, rng, opened):
    """Each channel is a page; a thumbnail in colours comes before the next level."""
    path = tmp_path / "a.qptiff"
    base = pixels_of(rng, 3, 64, 96, dtype="uint16")
    options = {"software": "PerkinElmer-QPI", "photometric": "minisblack", "metadata": None}
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    names = ("DAPI", "CD8", "CD68")
    xml = "<PerkinElmer-QPI-ImageDescription><Name>{}</Name></PerkinElmer-QPI-ImageDescription>"
    with tifffile.TiffWriter(path) as tif:
        for page, name in zip(base, names, strict=True):
            tif.write(page, tile=(16, 16), description=xml.format(name), **options, **resolution)
        tif.write(pixels_of(rng, 20, 30, 3), metadata=None)
        for page in base[:, ::2, ::2]:
            tif.write(page, tile=(16, 16), **options)
    image = opened(path)
    assert (image.axes, image.channels) == ("CYX", names)
    assert image.shapes == ((3, 64, 96), (3, 32, 48))
    assert image.voxel_um[1:] == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(read_all(image), base)
    np.testing.assert_array_equal(read_all(image, 1), base[:, ::2, ::2])


def write_scn(path, rng, regions):
    """A macro of all the slide, and regions of one level each, of 250 nm a pixel."""
    views = [("macro", 0, 0, 26_000_000, 76_000_000, (76, 26))]
    views += [(f"region{n}", 1000 * n, 500, 24_000, 16_000, (64, 96)) for n in range(regions)]
    images = "".join(
        f'<image name="{name}"><pixels sizeX="{w}" sizeY="{h}"><dimension r="0" ifd="{n}" '
        f'sizeX="{w}" sizeY="{h}"/></pixels><view sizeX="{sx}" sizeY="{sy}" offsetX="{x}" '
        f'offsetY="{y}"/></image>'
        for n, (name, x, y, sx, sy, (h, w)) in enumerate(views)
    )
    xml = (
        '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="a" '
        f'sizeX="26000000" sizeY="76000000">{images}</collection></scn>'
    )
    found = []
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, (*_, (height, width)) in enumerate(views):
            found.append(pixels_of(rng, height, width, 3))
            tif.write(found[-1], description=xml if number == 0 else None, **TILED)
    return found


def test_scn(tmp_path, rng, opened):
    path = tmp_path / "a.scn"
    _, region = write_scn(path, rng, 1)
    image = opened(path)
    np.testing.assert_array_equal(read_all(image), region.transpose(2, 0, 1))
    assert image.voxel_um[1:] == pytest.approx((0.25, 0.25))


def test_scn_of_several_regions(tmp_path, rng, opened):
    path = tmp_path / "a.scn"
    _, _, second = write_scn(path, rng, 2)
    text = refusal(path)
    assert "1 'region0'" in text
    assert "images.dataset" in text
    image = opened(path, dataset="region1")
    np.testing.assert_array_equal(read_all(image), second.transpose(2, 0, 1))


def test_philips(tmp_path, rng, opened):
    path = tmp_path / "a.tiff"
    base = pixels_of(rng, 64, 96, 3)
    spacings = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" '
        f'Group="0x0028">"{0.0005 * 2**n}" "{0.00025 * 2**n}"</Attribute></DataObject>'
        for n in range(2)
    )
    xml = f'<DataObject ObjectType="DPUfsImport"><Attribute><Array>{spacings}</Array></Attribute>'
    with tifffile.TiffWriter(path) as tif:
        tif.write(base, description=xml + "</DataObject>", software="Philips DP v1.0", **TILED)
        tif.write(base[::2, ::2], **TILED)
        tif.write(base[:20, :30], metadata=None, description="Macro")
    image = opened(path)
    assert image.shapes == ((3, 64, 96), (3, 32, 48))
    assert image.voxel_um[1:] == pytest.approx((0.5, 0.25))
    np.testing.assert_array_equal(read_all(image, 1), base[::2, ::2].transpose(2, 0, 1))


def test_bif(tmp_path, rng, opened):
    path = tmp_path / "a.bif"
    base = pixels_of(rng, 64, 96, 3)
    xmp = b'<Metadata><iScan Magnification="40" ScanRes="0.2325"></iScan></Metadata>'
    extra = [(700, "B", len(xmp), xmp, True)]
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        tif.write(
            base[:20, :30],
            description="Label_Image",
            software="ScanOutputManager 1.1",
            metadata=None,
            extratags=extra,
        )
        tif.write(base, description="level=0 mag=40", **TILED)
        tif.write(base[::2, ::2], description="level=1 mag=20", **TILED)
    image = opened(path)
    assert image.shapes == ((3, 64, 96), (3, 32, 48))
    assert image.voxel_um[1:] == (0.2325, 0.2325)
    assert "not stitched" in image.notes[0]


def test_stk(tmp_path, rng, opened):
    """MetaMorph writes one page for all planes."""
    path = tmp_path / "a.stk"
    stack = pixels_of(rng, 5, 20, 24, dtype="uint16")
    distances = [word for _ in range(5) for word in (3, 2, 0, 0, 0, 0)]
    extra = [(33628, "I", 2, (3, 1), True), (33629, "2I", 5, [0] * 10, True)]
    tifffile.imwrite(
        path, stack, photometric="minisblack", metadata=None, contiguous=True, extratags=extra
    )
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[0].tags[33629].offset
        # The other pages go, as MetaMorph has none.
        end = tif.pages[0].offset + 2 + 12 * len(tif.pages[0].tags)
    struct.pack_into("<I", data, end, 0)
    # Six words per plane, whatever the type of the tag says.
    struct.pack_into("<HHII", data, tag, 33629, 5, 5, len(data))
    path.write_bytes(data + struct.pack("<30I", *distances))
    image = opened(path)
    assert (image.axes, image.shapes) == ("ZYX", ((5, 20, 24),))
    assert image.voxel_um[0] == 1.5
    np.testing.assert_array_equal(read_all(image), stack)


def test_lsm(tmp_path, rng, opened):
    """Every second page is a thumbnail."""
    path = tmp_path / "a.lsm"
    stack = pixels_of(rng, 4, 3, 32, 48)
    info = np.zeros(1, tifffile.TIFF.CZ_LSMINFO[:32])
    values = {
        "MagicNumber": 67127628,
        "StructureSize": info.itemsize,
        "DimensionX": 48,
        "DimensionY": 32,
        "DimensionZ": 4,
        "DimensionChannels": 3,
        "DimensionTime": 1,
        "VoxelSizeX": 1e-7,
        "VoxelSizeY": 2e-7,
        "VoxelSizeZ": 1e-6,
    }
    for name, value in values.items():
        info[name] = value
    extra = [(34412, "B", info.nbytes, info.tobytes(), True)]
    options = {"photometric": "minisblack", "planarconfig": "separate", "metadata": None}
    with tifffile.TiffWriter(path, byteorder="<") as tif:
        for number, plane in enumerate(stack):
            tif.write(plane, extratags=extra if number == 0 else None, **options)
            tif.write(plane[:, ::4, ::4], subfiletype=1, **options)
    image = opened(path)
    assert (image.axes, image.shapes) == ("ZCYX", ((4, 3, 32, 48),))
    assert image.voxel_um == pytest.approx((1.0, 0.2, 0.1))
    np.testing.assert_array_equal(read_all(image), stack)


def test_fluoview(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    stack = pixels_of(rng, 3, 20, 24, dtype="uint16")
    header = np.zeros(1, tifffile.TIFF.MM_HEADER)
    dimensions = [("X", 24, 0.4), ("Y", 20, 0.4), ("Z", 3, 1.25)]
    for number, (name, size, step) in enumerate(dimensions):
        header["Dimensions"][0, number] = (name.encode(), size, 0, step, b"um")
    extra = [
        (34361, "B", header.nbytes, header.tobytes(), True),
        (34362, "d", 8, [0.0] * 8, True),
    ]
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None, extratags=extra)
    try:
        with tifffile.TiffFile(path) as tif:
            assert tif.is_fluoview
            shape = tif.series[0].shape
    except Exception as error:  # tifffile itself does not take a header that it has not seen
        pytest.skip(f"no FluoView file can be made here: {error}")
    assert shape == stack.shape
    image = opened(path)
    assert image.axes == "ZYX"
    assert image.voxel_um == pytest.approx((1.25, 0.4, 0.4))
    np.testing.assert_array_equal(read_all(image), stack)


def write_micromanager(path, planes, summary):
    """Planes of two channels behind directories of 162 bytes, with Micro-Manager's own header."""
    text = json.dumps(summary).encode()
    header = 40 + len(text)
    index_at = header
    count = len(planes)
    index_bytes = 8 + 20 * count
    first = index_at + index_bytes
    plane_bytes = planes[0].nbytes
    step = 162 + plane_bytes + 32
    offsets = [first + n * step for n in range(count)]
    data = b"II*\0" + struct.pack("<I", first)
    data += struct.pack("<II", 54773648, index_at) + struct.pack("<II", 483765892, 0)
    data += struct.pack("<II", 99384722, 0) + struct.pack("<II", 2355492, len(text)) + text
    data += struct.pack("<II", 3453623, count)
    for channel, offset in enumerate(offsets):
        data += struct.pack("<5I", channel, 0, 0, 0, offset)
    height, width = planes[0].shape
    for number, (plane, offset) in enumerate(zip(planes, offsets, strict=True)):
        meta = json.dumps({"PixelSizeUm": 0.65}).encode().ljust(32)
        tags = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 1, 16),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, offset + 162),
            (277, 3, 1, 1),
            (278, 4, 1, height),
            (279, 4, 1, plane_bytes),
            (282, 3, 1, 1),
            (283, 3, 1, 1),
            (296, 3, 1, 1),
            (51123, 2, 32, offset + 162 + plane_bytes),
        ]
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
        data += struct.pack("<I", offsets[number + 1] if number + 1 < count else 0)
        data += plane.tobytes() + meta
    path.write_bytes(data)


def summary_of(**changes):
    return {
        "MicroManagerVersion": "2.0",
        "Frames": 1,
        "Slices": 1,
        "Positions": 1,
        "Channels": 2,
        "ChNames": ["DAPI", "GFP"],
        "PixelSize_um": 0.65,
        "z-step_um": 2,
    } | changes


def test_micromanager(tmp_path, rng, opened):
    path = tmp_path / "a_MMStack.ome.tif"
    planes = list(pixels_of(rng, 2, 20, 24, dtype="uint16"))
    write_micromanager(path, planes, summary_of())
    image = opened(path)
    assert (image.axes, image.channels) == ("CYX", ("DAPI", "GFP"))
    assert image.voxel_um == (2.0, 0.65, 0.65)
    assert image.notes == ()
    np.testing.assert_array_equal(read_all(image), planes)


def test_micromanager_that_stopped_early(tmp_path, rng, opened):
    path = tmp_path / "a_MMStack.ome.tif"
    planes = list(pixels_of(rng, 2, 20, 24, dtype="uint16"))
    write_micromanager(path, planes, summary_of(Frames=100))
    image = opened(path)
    assert any("1 of 100 along T" in note for note in image.notes)
    np.testing.assert_array_equal(read_all(image), planes)


def test_micromanager_that_declares_what_no_memory_holds(tmp_path, rng):
    path = tmp_path / "a_MMStack.ome.tif"
    planes = list(pixels_of(rng, 2, 20, 24, dtype="uint16"))
    write_micromanager(path, planes, summary_of(Frames=10**9))
    assert "2000000000 planes" in refusal(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_packed_numbers(tmp_path, rng, opened, bits):
    path = tmp_path / "a.tif"
    dtype = "uint8" if bits <= 8 else "uint16"
    pixels = rng.integers(0, 1 << bits, (53, 48)).astype(dtype)
    stored = pixels.astype(bool) if bits == 1 else pixels
    tifffile.imwrite(path, stored, bitspersample=bits, rowsperstrip=7, photometric="minisblack")
    image = opened(path)
    assert image.dtype == np.dtype(dtype)
    assert image.segments == ((7, 48),)
    np.testing.assert_array_equal(read_all(image), pixels)
    np.testing.assert_array_equal(
        image.read(0, (slice(7, 21), slice(0, 48))), pixels[7:21], strict=True
    )


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float16", "float64"])
def test_wide_numbers(tmp_path, rng, opened, dtype):
    path = tmp_path / "a.tif"
    high = 1000 if dtype == "float16" else 2**62
    pixels = rng.integers(0, high, (20, 24)).astype(dtype)
    tifffile.imwrite(path, pixels, photometric="minisblack", byteorder=">")
    np.testing.assert_array_equal(read_all(opened(path)), pixels, strict=True)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 24), dtype))
    assert f"pixels of type {dtype}" in refusal(path)


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_palettes(tmp_path, rng, opened, fine, compression):
    path = tmp_path / "a.tif"
    numbers = pixels_of(rng, 3, 20, 24)
    colours = rng.integers(0, 256, (3, 256)).astype("uint16") * 257 + (3 if fine else 0)
    tifffile.imwrite(
        path,
        numbers,
        photometric="palette",
        colormap=np.minimum(colours, 65535).astype("uint16"),
        metadata={"axes": "ZYX"},
        compression=compression,
    )
    with tifffile.TiffFile(path) as tif:
        stored = tif.pages[0].colormap
    np.testing.assert_array_equal(read_all(opened(path)), numbers)
    image = opened(path, palette="colour")
    assert (image.axes, image.shapes) == ("ZCYX", ((3, 3, 20, 24),))
    assert image.dtype == ("uint16" if fine else "uint8")
    assert image.channels == ("R", "G", "B")
    expected = np.moveaxis(stored[:, numbers], 0, 1)
    np.testing.assert_array_equal(read_all(image), expected if fine else expected >> 8)
    np.testing.assert_array_equal(
        image.read(0, (slice(2, 3), slice(0, 3), slice(5, 9), slice(0, 24))),
        read_all(image)[2:3, :, 5:9],
    )


def test_what_is_kept_as_stored_is_said(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    pixels = pixels_of(rng, 20, 24)
    tifffile.imwrite(
        path, pixels, photometric="miniswhite", extratags=[(274, "H", 1, 6, True)], metadata=None
    )
    image = opened(path)
    assert "MinIsWhite" in image.notes[0]
    assert "Orientation 6" in image.notes[1]
    np.testing.assert_array_equal(read_all(image), pixels)


@pytest.mark.parametrize(
    ("photometric", "extra", "samples", "names"),
    [
        ("rgb", (), 3, ("R", "G", "B")),
        ("rgb", ("unassalpha",), 4, ("R", "G", "B", "A")),
        ("rgb", ("unspecified",), 4, ("R", "G", "B", "")),
        ("separated", (), 4, ("C", "M", "Y", "K")),
        ("cielab", (), 3, ("L", "a", "b")),
        ("minisblack", ("unassalpha",), 2, ("", "A")),
    ],
)
def test_names_of_samples(tmp_path, rng, opened, photometric, extra, samples, names):
    path = tmp_path / "a.tif"
    options = {"photometric": photometric, "extrasamples": extra, "planarconfig": "contig"}
    pixels = pixels_of(rng, 20, 24, samples)
    tifffile.imwrite(path, pixels, metadata=None, **options)
    image = opened(path)
    assert image.channels == names
    np.testing.assert_array_equal(read_all(image), pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(
        image.read(0, (slice(1, 2), slice(3, 5), slice(0, 24))), pixels[3:5, :, 1][None]
    )


def test_images_of_their_own(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    pixels = pixels_of(rng, 6, 20, 24)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    image = opened(path, axes="NYX")
    assert image.axes == "NYX"
    np.testing.assert_array_equal(read_all(image), pixels)


@pytest.mark.parametrize("axes", ["YYX", "AYX", "1YX"])
def test_axes_that_no_image_has(tmp_path, rng, axes):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels_of(rng, 6, 20, 24), photometric="minisblack")
    assert "a letter of its own" in refusal(path, axes=axes)


def test_one_of_several_images(tmp_path, rng, opened):
    path = tmp_path / "a.ome.tif"
    images = [pixels_of(rng, 2, 20, 24), pixels_of(rng, 2, 20, 24)]
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number, pixels in enumerate(images):
            metadata = {"axes": "CYX", "Name": f"field {number}"}
            metadata["Channel"] = {"Name": [f"a{number}", f"b{number}"]}
            metadata["PhysicalSizeX"] = 0.5 * (number + 1)
            tif.write(pixels, photometric="minisblack", metadata=metadata)
    text = refusal(path)
    assert "0 'field 0': 2 x 20 x 24 uint8; 1 'field 1'" in text
    for dataset in ("1", "field 1"):
        image = opened(path, dataset=dataset)
        assert image.channels == ("a1", "b1")
        assert image.voxel_um[2] == 1.0
        np.testing.assert_array_equal(read_all(image), images[1])
    for dataset in ("2", "field", "-1"):
        assert "write the number or name of one" in refusal(path, dataset=dataset)


def test_smaller_images_are_left_out_and_said(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    big, small = pixels_of(rng, 40, 48), pixels_of(rng, 11, 30)
    with tifffile.TiffWriter(path) as tif:
        tif.write(big, metadata=None)
        tif.write(small, metadata=None)
    image = opened(path)
    np.testing.assert_array_equal(read_all(image), big)
    assert "1: 11 x 30 uint8" in image.notes[0]
    np.testing.assert_array_equal(read_all(opened(path, dataset="1")), small)
    with tifffile.TiffWriter(path) as tif:
        tif.write(small, metadata=None)
        tif.write(big, metadata=None)
    assert "images.dataset" in refusal(path)


def test_reduced_images_and_masks_are_none(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    big = pixels_of(rng, 40, 48)
    with tifffile.TiffWriter(path) as tif:
        tif.write(big[:7, :9], metadata=None, subfiletype=1)
        tif.write(big, metadata=None)
        tif.write(big > 100, metadata=None, subfiletype=4, photometric="minisblack")
    image = opened(path)
    assert image.notes == ()
    np.testing.assert_array_equal(read_all(image), big)


@pytest.mark.parametrize("other", ["aspect", "dtype", "larger"])
def test_a_level_that_is_another_image(tmp_path, rng, opened, other):
    path = tmp_path / "a.tif"
    base = pixels_of(rng, 64, 96)
    odd = {"aspect": base[::2, ::4], "dtype": base[::2, ::2].astype("uint16"), "larger": base}
    options = {"tile": (16, 16), "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(base, subifds=1, **options)
        tif.write(odd[other], subfiletype=1, **options)
    try:
        image = opened(path)
    except SourceError:
        # The pages of another image may be an image of their own to tifffile.
        assert other == "larger"
        return
    assert image.shapes == ((64, 96),)
    np.testing.assert_array_equal(read_all(image), base)


def test_levels_whose_lengths_were_rounded(tmp_path, rng, opened):
    path = tmp_path / "a.ome.tif"
    base = pixels_of(rng, 101, 147)
    levels = [base]
    while min(levels[-1].shape) > 16:
        last = levels[-1]
        levels.append(last[: last.shape[0] // 2 * 2 : 2, : last.shape[1] // 2 * 2 : 2])
    options = {"tile": (16, 16), "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as tif:
        tif.write(base, subifds=len(levels) - 1, metadata={"axes": "YX"}, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)
    image = opened(path)
    assert image.shapes == tuple(level.shape for level in levels)
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(read_all(image, number), level)


def test_regions_of_many_planes(tmp_path, rng, opened):
    """The core reads one plane at a time; anybody may read more."""
    path = tmp_path / "a.ome.tif"
    pixels = pixels_of(rng, 3, 2, 4, 20, 24, dtype="uint16")
    options = {"photometric": "minisblack", "metadata": {"axes": "TCZYX"}, "compression": "zlib"}
    tifffile.imwrite(path, pixels, rowsperstrip=3, **options)
    image = opened(path)
    assert image.axes == "TCZYX"
    region = (slice(1, 3), slice(0, 2), slice(1, 4), slice(2, 17), slice(5, 24))
    np.testing.assert_array_equal(image.read(0, region), pixels[region], strict=True)


def test_nothing_is_known_of_a_plain_file(tmp_path, rng, opened):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels_of(rng, 20, 24), metadata=None)
    image = opened(path)
    assert all(math.isnan(length) for length in image.voxel_um)
    assert (image.channels, image.notes, image.items) == (("",), (), ())
    assert image.files == (str(path),)

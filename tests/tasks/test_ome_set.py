"""OME-TIFFs of several files: any of them leads to the image, and a missing one is named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchmill.tasks import open_files
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError
from patchmill.tasks.tiff import open_tiff

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def uuid(number):
    return f"urn:uuid:11111111-0000-0000-0000-{number:012d}"


def image_xml(number, shape, files, name=None):
    """One plane of uint16 per file, along c; `files` are (number, file name)."""
    planes = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{file}">{uuid(own)}'
        "</UUID></TiffData>"
        for c, (own, file) in enumerate(files)
    )
    return (
        f'<Image ID="Image:{number}" Name="{name or number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeX="{shape[1]}" SizeY="{shape[0]}" SizeZ="1" '
        f'SizeC="{len(files)}" SizeT="1" PhysicalSizeX="0.5">{planes}</Pixels></Image>'
    )


def ome(own, inside):
    attribute = "" if own is None else f' UUID="{uuid(own)}"'
    return f'<OME xmlns="{SCHEMA}"{attribute}>{inside}</OME>'


def write(path, pixels, xml, **options):
    options = {"photometric": "minisblack", "metadata": None} | options
    tifffile.imwrite(path, pixels, description=xml, **options)


@pytest.fixture
def planes(rng):
    return rng.integers(0, 999, (4, 40, 48)).astype("uint16")


@pytest.fixture
def opened():
    images = []

    def open_it(path, **options):
        images.append(open_tiff(str(path), ImageOptions(**options)))
        images[-1].check()
        return images[-1]

    yield open_it
    for image in images:
        image.close()


def refusal(path):
    with pytest.raises(SourceError) as error:
        open_tiff(str(path), ImageOptions()).close()
    return str(error.value)


def assert_all(image, planes):
    assert image.shapes == (planes.shape,)
    np.testing.assert_array_equal(image.read(0, (slice(0, 4), slice(0, 40), slice(0, 48))), planes)
    for number, plane in enumerate(planes):
        part = image.read(0, (slice(number, number + 1), slice(8, 24), slice(0, 48)))
        np.testing.assert_array_equal(part[0], plane[8:24])


NAMES = [f"c{n}.ome.tif" for n in range(4)]


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "zlib"}], ids=str)
def test_each_file_has_all_of_the_xml(tmp_path, opened, planes, options):
    """As Bio-Formats writes it."""
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        write(tmp_path / name, planes[number], ome(number, inside), **options)
    paths = {str(tmp_path / name) for name in NAMES}
    for name in NAMES:
        image = opened(tmp_path / name)
        assert set(image.files) == paths
        assert image.files[0] == str(tmp_path / name)
        assert image.voxel_um[2] == 0.5
        assert_all(image, planes)


@pytest.mark.parametrize("holder", ["set.companion.ome", NAMES[0]])
def test_one_file_has_the_xml(tmp_path, opened, planes, holder):
    """A companion without pixels, or a master; the others say where it is."""
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        only = f'<BinaryOnly MetadataFile="{holder}" UUID="{uuid(99)}"/>'
        own = ome(number, inside if name == holder else only)
        write(tmp_path / name, planes[number], own)
    if holder not in NAMES:
        xml = '<?xml version="1.0" encoding="UTF-8"?>\n' + ome(99, inside)
        (tmp_path / holder).write_text(xml)
        assert_all(opened(tmp_path / holder), planes)
    expected = {str(tmp_path / name) for name in {*NAMES, holder}}
    for name in NAMES:
        image = opened(tmp_path / name)
        assert set(image.files) == expected
        assert_all(image, planes)


@pytest.mark.parametrize("holder", ["set.companion.ome", NAMES[0]])
def test_where_the_xml_should_be(tmp_path, planes, holder):
    only = ome(1, f'<BinaryOnly MetadataFile="{holder}" UUID="{uuid(99)}"/>')
    write(tmp_path / NAMES[1], planes[1], only)
    assert f"its OME-XML lies in {holder!r}" in refusal(tmp_path / NAMES[1])
    # It leads on to another file, or does not speak of this one.
    if holder in NAMES:
        write(tmp_path / holder, planes[0], only)
        assert "where it is not" in refusal(tmp_path / NAMES[1])
        write(tmp_path / holder, planes[0], ome(0, image_xml(0, (40, 48), [(0, holder)])))
    else:
        inside = image_xml(0, (40, 48), [(2, NAMES[2])])
        (tmp_path / holder).write_text(ome(99, inside))
        write(tmp_path / NAMES[2], planes[2], only)
    assert "is not among the files" in refusal(tmp_path / NAMES[1])


def test_a_missing_file_is_named(tmp_path, planes):
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES[:3]):
        write(tmp_path / name, planes[number], ome(number, inside))
    assert "'c3.ome.tif'" in refusal(tmp_path / NAMES[0])


@pytest.mark.parametrize("name", ["../b.ome.tif", "/etc/b.ome.tif", "C:\\b.ome.tif", "pipe", ""])
def test_names_that_lead_elsewhere_are_not_followed(tmp_path, planes, name):
    """Whoever opened a pipe would wait for its other end, for ever."""
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    files = [(0, "a.ome.tif"), (1, name)]
    write(folder / "a.ome.tif", planes[0], ome(0, image_xml(0, (40, 48), files)))
    shutil.copy(folder / "a.ome.tif", tmp_path / "b.ome.tif")
    write(folder / "c.ome.tif", planes[0], ome(2, image_xml(0, (40, 48), [(2, "c"), (1, name)])))
    for path in (folder / "a.ome.tif", folder / "c.ome.tif"):
        assert repr(name) in refusal(path) or "lies" in refusal(path)


def test_the_other_images_of_a_plate_are_not_asked_for(tmp_path, opened, planes):
    """Each well has its file, and each file tells of all wells: one is opened, the others not."""
    inside = "".join(
        image_xml(n, (40, 48), [(n, name)], name=f"well {n}") for n, name in enumerate(NAMES)
    )
    for number in (1, 2):
        write(tmp_path / NAMES[number], planes[number], ome(number, inside))
    for number in (1, 2):
        image = opened(tmp_path / NAMES[number])
        assert image.files == (str(tmp_path / NAMES[number]),)
        pixels = image.read(0, (slice(0, 40), slice(0, 48)))
        np.testing.assert_array_equal(pixels, planes[number])


@pytest.mark.parametrize("own", [0, None])
def test_a_file_that_was_renamed(tmp_path, opened, planes, own):
    path = tmp_path / "new.ome.tif"
    write(path, planes[0], ome(own, image_xml(0, (40, 48), [(0, "old.ome.tif")])))
    image = opened(path)
    assert any("'old.ome.tif'" in note for note in image.notes) == (own is None)
    assert image.files == (str(path),)
    np.testing.assert_array_equal(image.read(0, (slice(0, 40), slice(0, 48))), planes[0])


def test_paths_are_absolute(tmp_path, opened, planes, monkeypatch):
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        write(tmp_path / name, planes[number], ome(number, inside))
    monkeypatch.chdir(tmp_path)
    image = opened(NAMES[2])
    assert set(image.files) == {str(tmp_path / name) for name in NAMES}
    monkeypatch.chdir("/")
    assert_all(opened(tmp_path / NAMES[1]), planes)


def test_jpeg_and_levels_in_several_files(tmp_path, opened):
    """Their decoders look into files that are not open any more."""
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype("uint8")
    pixels = np.stack([smooth, smooth[::-1]])
    inside = image_xml(0, (64, 96), [(0, NAMES[0]), (1, NAMES[1])]).replace("uint16", "uint8")
    options = {"photometric": "minisblack", "tile": (16, 16), "compression": "jpeg"}
    for number, plane in enumerate(pixels):
        with tifffile.TiffWriter(tmp_path / NAMES[number]) as tif:
            xml = ome(number, inside)
            tif.write(plane, subifds=1, description=xml, metadata=None, **options)
            tif.write(plane[::2, ::2], subfiletype=1, metadata=None, **options)
    for name in NAMES[:2]:
        image = opened(tmp_path / name)
        assert image.shapes == ((2, 64, 96), (2, 32, 48))
        for number in range(2):
            with tifffile.TiffFile(tmp_path / NAMES[number], is_ome=False) as tif:
                page = tif.pages[0]
                for level, own in enumerate([page, page.pages[0]]):
                    whole = tuple(slice(0, n) for n in own.shape)
                    found = image.read(level, (slice(number, number + 1), *whole))
                    np.testing.assert_array_equal(found[0], own.asarray())


def test_a_file_of_the_set_that_is_cut_short(tmp_path, planes):
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        write(tmp_path / name, planes[number], ome(number, inside), rowsperstrip=8)
    # The directory comes before the pixels, so that it opens.
    data = (tmp_path / NAMES[2]).read_bytes()
    (tmp_path / NAMES[2]).write_bytes(data[:-100])
    image = open_tiff(str(tmp_path / NAMES[0]), ImageOptions())
    with pytest.raises(SourceError, match="page 2 lists a segment"):
        image.check()
    image.close()


def test_few_files_of_a_set_stay_open(tmp_path, opened, planes, monkeypatch):
    monkeypatch.setattr(open_files, "MAX_OPEN", 1)
    counts = []
    opening = open_files.open_bytes
    monkeypatch.setattr(open_files, "open_bytes", lambda *a: counts.append(a[0]) or opening(*a))
    inside = image_xml(0, planes[0].shape, list(enumerate(NAMES)))
    for number, name in enumerate(NAMES):
        write(tmp_path / name, planes[number], ome(number, inside))
    image = opened(tmp_path / NAMES[0])
    assert_all(image, planes)
    # The first is open all the time; of the others one, which was closed and opened again.
    assert len(counts) > 3
    links = Path("/proc/self/fd")
    if links.is_dir():
        # tifffile and we have the first open.
        held = [link for link in links.iterdir() if str(link.resolve()).startswith(str(tmp_path))]
        assert len(held) == 3


@pytest.mark.parametrize("lie", ['SizeT="1000000000"', 'PlaneCount="1000000000"'])
def test_planes_that_no_memory_holds(tmp_path, planes, lie):
    inside = image_xml(0, (40, 48), [(0, "a.ome.tif")])
    truth = 'SizeT="1"' if "SizeT" in lie else 'PlaneCount="1"'
    assert truth in inside
    write(tmp_path / "a.ome.tif", planes[0], ome(0, inside.replace(truth, lie)))
    assert "1000000000 planes" in refusal(tmp_path / "a.ome.tif")

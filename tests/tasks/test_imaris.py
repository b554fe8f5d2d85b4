"""Imaris files, made by hand as https://imaris.oxinst.com/support/imaris-file-format says."""

import h5py
import numpy as np
import pytest

from patchmill.tasks.hdf5_image import open_hdf5
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming

SIZES = ((5, 50, 70), (3, 25, 35))
CHUNKS = (4, 32, 32)


def characters(text):
    """Return an attribute as Imaris writes it."""
    return np.array([letter.encode("latin-1") for letter in text], "S1")


def whole(image, level=0):
    return image.read(level, tuple(slice(0, length) for length in image.shapes[level]))


@pytest.fixture
def pixels(rng):
    return [rng.integers(1, 60_000, (2, 3, *size)).astype(np.uint16) for size in SIZES]


@pytest.fixture
def imaris(tmp_path, pixels):
    """Return a function that writes a file of two levels and returns its path."""

    def write(change=lambda file: None, **image):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.ims"
        with h5py.File(path, "w") as file:
            attributes = {"X": "70", "Y": "50", "Z": "5", "Unit": "um"}
            attributes |= {"ExtMin0": "-7", "ExtMin1": "0", "ExtMin2": "10"}
            attributes |= {"ExtMax0": "7", "ExtMax1": "5", "ExtMax2": "20"}
            group = file.create_group("DataSetInfo/Image")
            for key, value in (attributes | image).items():
                group.attrs[key] = characters(value)
            for c, name in enumerate(("DAPI", "GFP \xb5", "(name not specified)")):
                group = file.create_group(f"DataSetInfo/Channel {c}")
                group.attrs["Name"] = characters(name)
            file.create_group("DataSetInfo/TimeInfo").attrs["DatasetTimePoints"] = characters("2")
            for level, data in enumerate(pixels):
                for t, c in np.ndindex(data.shape[:2]):
                    name = f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                    group = file.create_group(name)
                    for axis, length in zip("ZYX", data.shape[2:], strict=True):
                        group.attrs[f"ImageSize{axis}"] = characters(str(length))
                    padding = [(0, -n % m) for n, m in zip(data.shape[2:], CHUNKS, strict=True)]
                    filled = np.pad(data[t, c], padding)
                    group.create_dataset("Data", data=filled, chunks=CHUNKS, compression="gzip")
            change(file)
        return str(path)

    return write


def read_all(path, **options):
    """Open, check and read an image, as a worker does."""
    with naming(path, "be opened"):
        image = open_hdf5(path, ImageOptions(**options))
        try:
            image.check()
            return whole(image)
        finally:
            image.close()


def refused(path, **options):
    with pytest.raises(SourceError) as caught:
        read_all(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_all_levels_without_what_fills_the_chunks(imaris, pixels):
    path = imaris()
    image = open_hdf5(path, ImageOptions())
    image.check()
    assert image.axes == "TCZYX"
    assert image.shapes == tuple(data.shape for data in pixels)
    assert image.segments == ((1, 1, 4, 32, 32), (1, 1, 3, 25, 32))
    assert image.dtype == np.uint16
    assert image.channels == ("DAPI", "GFP \xb5", "")
    assert image.voxel_um == (2.0, 0.1, 0.2)
    assert image.notes == ()
    assert image.files == (path,)
    for level, data in enumerate(pixels):
        found = whole(image, level)
        np.testing.assert_array_equal(found, data)
        assert (found > 0).all()  # the fill is 0
    with h5py.File(path, locking=False) as file:
        stored = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 2/Data"]
        assert stored.shape == (8, 64, 96)
        region = (slice(1, 2), slice(2, 3), slice(4, 5), slice(32, 50), slice(64, 70))
        np.testing.assert_array_equal(image.read(0, region)[0, 0], stored[4:5, 32:50, 64:70])
    image.close()


def test_a_region_of_several_times_and_channels(imaris, pixels):
    image = open_hdf5(imaris(), ImageOptions())
    region = (slice(0, 2), slice(1, 3), slice(0, 4), slice(32, 50), slice(0, 64))
    np.testing.assert_array_equal(image.read(0, region), pixels[0][region])


@pytest.mark.parametrize(("unit", "scale"), [("nm", 1e-3), ("mm", 1e3), ("\xb5m", 1.0), ("", 1.0)])
def test_units(imaris, unit, scale):
    image = open_hdf5(imaris(Unit=unit), ImageOptions())
    np.testing.assert_allclose(image.voxel_um, np.array((2.0, 0.1, 0.2)) * scale)


def test_voxels_that_are_not_known(imaris):
    assert np.isnan(open_hdf5(imaris(Unit="furlong"), ImageOptions()).voxel_um).all()
    lengths = {"ExtMin0": "0", "ExtMin2": "0", "ExtMax0": "70", "ExtMax1": "50", "ExtMax2": "5"}
    image = open_hdf5(imaris(**lengths), ImageOptions())
    assert np.isnan(image.voxel_um).all()
    assert "never calibrated" in image.notes[0]
    image = open_hdf5(imaris(ExtMax0="far"), ImageOptions())
    np.testing.assert_equal(image.voxel_um, (2.0, 0.1, np.nan))


def test_axes_that_the_recipe_corrects(imaris, pixels):
    """Microscopes that save depths as time points are not rare."""
    image = open_hdf5(imaris(), ImageOptions(axes="ZCTYX"))
    assert (image.axes, image.channels, len(image.shapes)) == ("ZCTYX", (), 1)
    image.check()
    np.testing.assert_array_equal(whole(image), pixels[0])


def delete(name):
    def change(file):
        del file[name]

    return change


def resize(group, axis, length):
    def change(file):
        file[group].attrs[f"ImageSize{axis}"] = characters(length)

    return change


def replace(name, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, **options)

    return change


LEVEL = "DataSet/ResolutionLevel 0/"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (delete(f"{LEVEL}TimePoint 1"), "declares 2 time points, but has 1"),
        (delete(f"{LEVEL}TimePoint 0"), "has no TimePoint 0"),
        (delete(f"{LEVEL}TimePoint 0/Channel 1"), "has no Channel 1"),
        (delete(f"{LEVEL}TimePoint 1/Channel 1"), "TimePoint 1/Channel 1/Data"),
        (
            delete("DataSet/ResolutionLevel 1/TimePoint 1/Channel 1"),
            "ResolutionLevel 1/TimePoint 1",
        ),
        (resize(f"{LEVEL}TimePoint 0/Channel 0", "X", "200"), "holds only (8, 64, 96)"),
        (resize(f"{LEVEL}TimePoint 0/Channel 0", "X", ""), "how much of its data set is image"),
        (resize(f"{LEVEL}TimePoint 0/Channel 0", "X", "0"), "how much of its data set is image"),
        (resize(f"{LEVEL}TimePoint 0/Channel 0", "X", "inf"), "how much of its data set is image"),
        (resize(f"{LEVEL}TimePoint 1/Channel 1", "X", "60"), "parts of an image must be alike"),
        (
            replace(f"{LEVEL}TimePoint 1/Channel 1/Data", data=np.zeros((8, 64, 96), np.uint8)),
            "is uint8 of shape (8, 64, 96), but",
        ),
        (
            replace(f"{LEVEL}TimePoint 1/Channel 1/Data", data=np.zeros((8, 64, 32), np.uint16)),
            "parts of an image must be alike",
        ),
        (
            replace(f"{LEVEL}TimePoint 1/Channel 1/Data", shape=(8, 64, 96), dtype="u2"),
            "none of its pixels was ever written",
        ),
        (replace(f"{LEVEL}TimePoint 0/Channel 0/Data", data=np.zeros((8, 64))), "2 dimensions"),
    ],
)
def test_what_is_missing_or_contradicts(imaris, change, words):
    assert words in refused(imaris(change))


def test_a_dataset_of_it_is_refused(imaris):
    """It would have the padding."""
    text = refused(imaris(), dataset="DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data")
    assert "leave images.dataset out" in text


def test_a_damaged_chunk_is_found_when_it_is_read(imaris):
    path = imaris()
    with h5py.File(path) as file:
        chunk = file[f"{LEVEL}TimePoint 1/Channel 2/Data"].id.get_chunk_info(0)
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff" * 20)
    image = open_hdf5(path, ImageOptions())
    image.check()
    first = tuple(slice(0, n) for n in (1, 1, 4, 32, 32))
    image.read(0, first)
    with pytest.raises(OSError, match=r"filter|inflate"):
        whole(image)

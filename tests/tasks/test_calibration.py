"""Sizes of pixels from metadata: each vendor's own, and tags that may have been measured."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from patchmill.tasks import vendor_calibration as vendor
from patchmill.tasks.calibration import voxel_size
from patchmill.tasks.resolution_tags import NOT_MEASURED

UNKNOWN = (math.nan, math.nan, math.nan)


def size_of(path, number=0):
    with tifffile.TiffFile(path) as tif:
        return voxel_size(tif, tif.series[number])


def assert_size(found, z, y, x):
    np.testing.assert_allclose(found, (z, y, x), rtol=1e-4)


def write(path, shape=(20, 24), **options):
    tifffile.imwrite(path, np.zeros(shape, "uint8"), photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("µm", 1.0),
        ("μm", 1.0),
        ("nm", 0.001),
        ("mm", 1000.0),
        ("cm", 10000.0),
        ("Å", 0.0001),
        ("pixel", math.nan),
        ("reference frame", math.nan),
    ],
)
def test_ome(tmp_path, unit, length):
    metadata = {"axes": "ZYX"}
    for axis, value in zip("XYZ", (0.5, 0.25, 2), strict=True):
        metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit}
    path = write(tmp_path / "a.ome.tif", (3, 20, 24), metadata=metadata)
    found, notes = size_of(path)
    assert_size(found, 2 * length, 0.25 * length, 0.5 * length)
    assert notes == ()


def test_ome_has_the_last_word(tmp_path):
    """Bio-Formats fills the resolution tags as it likes."""
    path = write(
        tmp_path / "a.ome.tif",
        metadata={"axes": "YX"},
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    assert_size(size_of(path)[0], *UNKNOWN)


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("micron", 1.0),
        ("um", 1.0),
        ("\\u00B5m", 1.0),
        ("nm", 0.001),
        ("mm", 1000.0),
        ("cm", 10000.0),
        ("inch", 25400.0),
        ("pixel", math.nan),
        ("", math.nan),
        (None, math.nan),
    ],
)
def test_imagej(tmp_path, unit, length):
    metadata = {"axes": "ZYX", "spacing": 1.5} | ({} if unit is None else {"unit": unit})
    path = write(tmp_path / "a.tif", (3, 20, 24), imagej=True, resolution=(8, 4), metadata=metadata)
    found, notes = size_of(path)
    assert_size(found, 1.5 * length, 0.25 * length, 0.125 * length)
    assert notes == ()


@pytest.mark.parametrize("dots", NOT_MEASURED)
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_resolutions_of_screens_and_printers_mean_nothing(tmp_path, dots, unit):
    per_unit = dots if unit == "INCH" else dots / 2.54
    path = write(
        tmp_path / "a.tif", resolution=(per_unit, per_unit), resolutionunit=unit, metadata=None
    )
    found, notes = size_of(path)
    assert_size(found, *UNKNOWN)
    assert notes == ()


def test_an_imagej_file_of_a_printer(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, resolution=(72, 72), metadata={"unit": "inch"})
    assert_size(size_of(path)[0], *UNKNOWN)


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ((20000, 40000, "CENTIMETER"), (0.25, 0.5)),
        ((25400, 25400, "INCH"), (1.0, 1.0)),
        ((25400, 25400, "NONE"), (math.nan, math.nan)),
        ((400, 400, "INCH"), (math.nan, math.nan)),  # a scanner of documents
        ((20000, 0, "CENTIMETER"), (0.5, 0.5)),
    ],
)
def test_resolution_tags(tmp_path, resolution, expected):
    """They count where nobody says better, and never without a word."""
    path = write(
        tmp_path / "a.tif", resolution=resolution[:2], resolutionunit=resolution[2], metadata=None
    )
    found, notes = size_of(path)
    assert_size(found, math.nan, *expected)
    assert len(notes) == (not math.isnan(expected[0]))
    assert all("resolution tags" in note for note in notes)


METASERIES = (
    '<MetaData><PlaneInfo><prop id="spatial-calibration-state" type="bool" value="{}"/>'
    '<prop id="spatial-calibration-x" type="float" value="1.3668"/>'
    '<prop id="spatial-calibration-y" type="float" value="1.3"/>'
    '<prop id="spatial-calibration-units" type="string" value="um"/></PlaneInfo></MetaData>'
)


@pytest.mark.parametrize(("state", "expected"), [("on", (1.3, 1.3668)), ("off", UNKNOWN[:2])])
def test_metaseries(tmp_path, state, expected):
    path = write(
        tmp_path / "a.tif",
        description=METASERIES.format(state),
        software="MetaSeries",
        metadata=None,
        resolution=(72, 72),
        resolutionunit="INCH",
    )
    assert_size(size_of(path)[0], math.nan, *expected)


def test_a_vendor_that_says_nothing_leaves_it_to_the_tags(tmp_path):
    path = write(
        tmp_path / "a.tif",
        description=METASERIES.format("off"),
        software="MetaSeries",
        metadata=None,
        resolution=(10000, 10000),
        resolutionunit="CENTIMETER",
    )
    found, notes = size_of(path)
    assert_size(found, math.nan, 1.0, 1.0)
    assert "resolution tags" in notes[0]


def test_broken_metadata_costs_the_size_and_not_the_image(tmp_path):
    path = write(
        tmp_path / "a.tif",
        description="<MetaData><PlaneInfo></MetaData>",
        software="MetaSeries",
        metadata=None,
    )
    found, notes = size_of(path)
    assert_size(found, *UNKNOWN)
    assert "cannot be read" in notes[0]


def series(description):
    keyframe = SimpleNamespace(
        description=description, tags=SimpleNamespace(valueof=lambda code, default=None: default)
    )
    return SimpleNamespace(keyframe=keyframe)


@pytest.mark.parametrize(
    ("text", "mpp"),
    [
        ("Aperio |AppMag = 20|MPP = 0.4990|Left = 1", 0.499),
        ("Aperio |MPP=0.25", 0.25),
        ("Aperio |AppMag = 20", math.nan),
        ("Aperio |MPP = 0", math.nan),
    ],
)
def test_svs(text, mpp):
    assert_size(vendor.svs(None, series(text)), math.nan, math.nan, mpp)


def test_qptiff_by_its_xml():
    found = vendor.qptiff(None, series("<a><PixelSizeMicrons>0.4988</PixelSizeMicrons></a>"))
    assert_size(found, math.nan, math.nan, 0.4988)


@pytest.mark.parametrize("on", [0, 1])
def test_stk(on):
    meta = {
        "SpatialCalibration": on,
        "XCalibration": 0.5,
        "YCalibration": (1, 4),
        "CalibrationUnits": "um",
        "ZDistance": np.array([2.0, 2.0]),
    }
    found = vendor.stk(SimpleNamespace(stk_metadata=meta), None)
    assert_size(found, 2.0, *((0.25, 0.5) if on else UNKNOWN[:2]))


def test_sis_and_electron_microscopes():
    sis = SimpleNamespace(sis_metadata={"pixelsizex": 2e-7, "pixelsizey": 1e-7})
    assert_size(vendor.sis(sis, None), math.nan, 0.1, 0.2)
    fei = SimpleNamespace(fei_metadata={"Scan": {"PixelWidth": 2e-9, "PixelHeight": 1e-9}})
    assert_size(vendor.fei(fei, None), math.nan, 0.001, 0.002)
    sem = SimpleNamespace(sem_metadata={"ap_image_pixel_size": ("Image Pixel Size", 3.5, "nm")})
    assert_size(vendor.zeiss_sem(sem, None), math.nan, 0.0035, 0.0035)
    nothing = SimpleNamespace(sis_metadata=None, fei_metadata=None, sem_metadata=None)
    for read in (vendor.sis, vendor.fei, vendor.zeiss_sem):
        assert_size(read(nothing, None), *UNKNOWN)

"""Real images and real wrecks: the same pixels as tifffile, or one sentence; nothing else."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.tiff import open_tiff

SUFFIXES = {".tif", ".tiff", ".svs", ".ndpi", ".lsm", ".stk"}
#: Whole images of up to this many values are compared; of larger ones a few windows.
WHOLE = 20_000_000
#: Stacks whose third axis the file does not name; their folders tell it to a reader.
UNNAMED = {
    "fields": {"img3d.tif", "mask3d.tif"},
    "stacks": {
        "cancer_cell_migration_crop.tif",
        "cancer_cell_migration_voronoi_otsu_labeling_crop.tif",
        "membrane_2d_timelapse.tif",
    },
    "mosaics": set(),
    "slides": set(),
}


@pytest.fixture(autouse=True)
def _quiet():
    """tifffile logs what it finds in broken files."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def tiffs(folder):
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix.lower() in SUFFIXES]


def windows_of(height, width, channels):
    rng = np.random.default_rng(0)
    windows = [(0, height, 0, width)] if height * width * channels <= WHOLE else []
    for _ in range(4):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        size = rng.integers(1, 300, 2).tolist()
        windows.append((y, min(height, y + size[0]), x, min(width, x + size[1])))
    return windows


def opened(path, **options):
    with naming(str(path), "be opened"):
        image = open_tiff(str(path), ImageOptions(**options))
    try:
        with naming(str(path), "be surveyed"):
            image.check()
    except SourceError:
        image.close()
        raise
    return image


def whole(path, level, axes):
    """All of a level as tifffile reads it, samples before y and x; or what it raises."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0].levels[level]
        pixels = series.asarray()
        own = str(series.keyframe.axes)
    return np.moveaxis(pixels, -1, -3) if own == "YXS" else pixels


def compare(image, level, expected):
    shape = image.shapes[level]
    expected = expected.reshape(shape)
    assert image.dtype == (np.uint8 if expected.dtype == bool else expected.dtype)
    ends = [tuple(0 for _ in shape[:-2]), tuple(n // 2 for n in shape[:-2])]
    for place in {*ends, tuple(n - 1 for n in shape[:-2])}:
        planes = tuple(
            slice(0, n) if axis == "C" else slice(at, at + 1)
            for axis, at, n in zip(image.axes, place, shape[:-2], strict=False)
        )
        channels = shape[image.axes.index("C")] if "C" in image.axes else 1
        for y0, y1, x0, x1 in windows_of(*shape[-2:], channels):
            region = (*planes, slice(y0, y1), slice(x0, x1))
            with naming(image.path, "be read"):
                found = image.read(level, region)
            np.testing.assert_array_equal(found, expected[region], err_msg=image.path)


def outcome(path, axes=None):
    """Read a file: "read", or why it is refused."""
    try:
        image = opened(path, axes=axes)
    except SourceError as error:
        return check_sentence(error, path)
    try:
        for level in range(len(image.shapes)):
            if len(image.files) > 1:
                compare_set(image)
                continue
            try:
                expected = whole(path, level, axes)
            except Exception:
                # What tifffile cannot decode we cannot either.
                with pytest.raises(SourceError) as caught:
                    compare(image, level, np.zeros(image.shapes[level], image.dtype))
                return check_sentence(caught.value, path)
            compare(image, level, expected)
    finally:
        image.close()
    return "read"


def compare_set(image):
    """Every file of the set has one plane."""
    paths = sorted(path for path in image.files if not path.endswith(".companion.ome"))
    planes = [tifffile.imread(path, is_ome=False) for path in paths]
    compare(image, 0, np.stack(planes))


def check_sentence(error, path):
    text = str(error)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("folder", sorted(UNNAMED))
def test_every_good_file_is_read(data_folder, folder):
    """Only stacks whose third axis has no name are refused, and read once it has one."""
    paths = tiffs(data_folder / folder)
    assert paths
    for path in paths:
        found = outcome(path)
        if path.name in UNNAMED[folder]:
            assert "images.axes" in found, path
            found = outcome(path, "ZYX")
        assert found == "read", path


def test_every_wreck_is_read_right_or_refused(data_folder):
    outcomes = {path: outcome(path) for path in tiffs(data_folder / "broken")}
    refused = {path: text for path, text in outcomes.items() if text != "read"}
    for path, text in refused.items():
        print(f"{path.relative_to(data_folder)}: {text}")
    assert 0 < len(refused) < len(outcomes)


def test_companions_lead_to_their_images(data_folder):
    (path,) = (data_folder / "stacks").rglob("*.companion.ome")
    image = opened(path)
    compare_set(image)
    image.close()


def test_cut_short_files_are_all_refused(data_folder):
    """None of them may pass for an image, whatever tifffile makes of it."""
    folder = data_folder / "broken" / "truncated_derived"
    for path in [*folder.glob("*trunc*"), *folder.glob("*declared*"), folder / "zero_bytes.tif"]:
        assert outcome(path) != "read", path


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
def test_real_files_cut_short(data_folder, tmp_path, keep):
    """Cut at other places: refused, or read with the very pixels of the whole file."""
    for number, path in enumerate(tiffs(data_folder / "stacks")[::4]):
        short = tmp_path / f"{number}-{path.name}"
        data = path.read_bytes()
        short.write_bytes(data[: int(len(data) * keep)])
        try:
            image = opened(short)
        except SourceError as error:
            check_sentence(error, short)
            continue
        try:
            compare(image, 0, whole(path, 0, None))
        except SourceError as error:
            check_sentence(error, short)
        finally:
            image.close()


LOOK = """
import json, logging, sys, time
from pathlib import Path
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.tiff import open_tiff

logging.disable(logging.CRITICAL)
slowest = 0.0
for path in sys.argv[1:]:
    begun = time.monotonic()
    try:
        with naming(path, "be read"):
            image = open_tiff(path, ImageOptions())
            try:
                image.check()
                for level, (shape, own) in enumerate(zip(image.shapes, image.segments)):
                    image.read(level, tuple(slice(0, min(n, s)) for n, s in zip(shape, own)))
            finally:
                image.close()
    except SourceError:
        pass
    slowest = max(slowest, time.monotonic() - begun)
peak_bytes = 0
if sys.platform.startswith("linux"):
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak_bytes = 1024 * int(status.split("VmHWM:")[1].split()[0])
print(json.dumps([slowest, peak_bytes]))
"""


def test_wrecks_take_little_time_and_memory(data_folder):
    """In a process of its own, whose memory is theirs alone."""
    paths = [str(path) for path in tiffs(data_folder / "broken")]
    command = [sys.executable, "-c", LOOK, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    slowest, memory_bytes = json.loads(done.stdout)
    assert slowest < 30
    if sys.platform == "linux":
        assert memory_bytes < 1e9

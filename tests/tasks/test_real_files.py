"""Real images and real wrecks: the same pixels as tifffile, or one sentence; nothing else."""

import logging

import numpy as np
import pytest
import tifffile

from patchmill.tasks.source import SourceError

SUFFIXES = {".tif", ".tiff", ".svs", ".ndpi", ".lsm", ".stk"}
#: Whole images of up to this many values are compared; of larger ones a few windows.
WHOLE = 20_000_000


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


@pytest.fixture
def outcome(described, whole):
    """Return a function that reads a file: "read", or why it is refused."""

    def look(path, axes=None):
        try:
            file = described(path, axes)
        except SourceError as error:
            return check_sentence(error, path)
        n_t, channels, n_z, height, width = file.info.shape
        windows = windows_of(height, width, channels)
        try:
            expected = whole(path, axes)
        except Exception:
            # What tifffile cannot decode we cannot either.
            with pytest.raises(SourceError) as caught:
                file.read(0, 0, windows)
            return check_sentence(caught.value, path)
        assert file.info.shape == expected.shape, path
        for t, z in {(0, 0), (n_t - 1, n_z - 1), (n_t // 2, n_z // 2)}:
            found = file.read(t, z, windows)
            for (y0, y1, x0, x1), pixels in zip(windows, found, strict=True):
                wanted = expected[t, :, z, y0:y1, x0:x1]
                np.testing.assert_array_equal(pixels, wanted, err_msg=str(path))
        return "read"

    return look


def check_sentence(error, path):
    text = str(error)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("folder", ["broken", "fields", "mosaics", "slides", "stacks"])
def test_every_tiff(data_folder, outcome, folder):
    outcomes = {path: outcome(path) for path in tiffs(data_folder / folder)}
    assert outcomes
    refused = {path: text for path, text in outcomes.items() if text != "read"}
    for path, text in refused.items():
        print(f"{path.relative_to(data_folder)}: {text}")
    assert len(refused) < len(outcomes)


def test_fields_of_view_are_all_read(data_folder, outcome):
    """Only stacks whose third axis has no name are refused, and read once it has one."""
    for path in tiffs(data_folder / "fields"):
        found = outcome(path)
        if found == "read":
            continue
        assert "images.axes" in found, path
        with tifffile.TiffFile(path) as tif:
            assert tif.series[0].ndim == 3
        assert outcome(path, "ZYX") == "read"


def test_cut_short_files_are_all_refused(data_folder, outcome):
    """None of them may pass for an image, whatever tifffile makes of it."""
    folder = data_folder / "broken" / "truncated_derived"
    for path in [*folder.glob("*trunc*"), *folder.glob("*declared*"), folder / "zero_bytes.tif"]:
        assert outcome(path) != "read", path


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
def test_real_files_cut_short(data_folder, described, whole, tmp_path, keep):
    """Cut at other places: refused, or read with the very pixels of the whole file."""
    for number, path in enumerate(tiffs(data_folder / "stacks")[::4]):
        short = tmp_path / f"{number}-{path.name}"
        data = path.read_bytes()
        short.write_bytes(data[: int(len(data) * keep)])
        try:
            file = described(short)
            windows = [(0, *file.source.shape[:1], 0, file.source.shape[1])]
            n_t, _, n_z = file.info.shape[:3]
            last = file.read(n_t - 1, n_z - 1, windows)[0]
        except SourceError as error:
            check_sentence(error, short)
            continue
        expected = whole(path)
        assert file.info.shape == expected.shape, path
        np.testing.assert_array_equal(last, expected[-1, :, -1], err_msg=str(path))

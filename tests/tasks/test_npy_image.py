""".npy files: the same pixels as numpy.load, or one sentence."""

import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.npy_image import open_npy
from patchmill.tasks.source import SourceError, naming


def opened(path, **options):
    with naming(str(path), "be opened"):
        return open_npy(str(path), ImageOptions(**options))


def refusal(path, **options):
    with pytest.raises(SourceError) as caught:
        opened(path, **options).check()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def saved(path, data):
    np.save(path, data)
    return data


def pixels(shape, dtype="u2"):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", ">i4", ">f4", "f8", "f2", "?"])
def test_dtypes_and_orders(tmp_path, dtype, order):
    path = tmp_path / "a.npy"
    data = saved(path, np.asarray(pixels((3, 50, 40), dtype), order=order))
    image = opened(path, axes="CYX")
    image.check()
    assert image.dtype == ("u1" if dtype == "?" else data.dtype.newbyteorder("="))
    assert image.dtype.isnative
    assert bool(image.notes) == (dtype == "?")
    found = image.read(0, tuple(slice(0, n) for n in image.shapes[0]))
    assert found.dtype == image.dtype
    order = [image.axes.index(axis) for axis in "CYX"]
    np.testing.assert_array_equal(found.transpose(order), data)
    assert all(map(math.isnan, image.voxel_um))
    image.close()


@given(st.data())
def test_any_region(tmp_path_factory, data):
    axes = "".join(data.draw(st.permutations("TCYX")))[: data.draw(st.integers(2, 4))]
    axes += "".join(axis for axis in "YX" if axis not in axes)
    shape = tuple(data.draw(st.integers(1, 12)) for _ in axes)
    path = tmp_path_factory.mktemp("any") / "a.npy"
    order = data.draw(st.sampled_from("CF"))
    whole = saved(path, np.asarray(pixels(shape), order=order))
    region = {}
    for axis, length in zip(axes, shape, strict=True):
        start = data.draw(st.integers(0, length - 1))
        region[axis] = slice(start, data.draw(st.integers(start + 1, length)))
    image = opened(path, axes=axes)
    found = image.read(0, tuple(region[axis] for axis in image.axes))
    image.close()
    np.testing.assert_array_equal(
        found.transpose([image.axes.index(axis) for axis in axes]),
        whole[tuple(region[axis] for axis in axes)],
    )


@pytest.mark.parametrize(
    ("axes", "shape", "segment"),
    [
        ("YX", (200, 300), (64, 300)),
        ("CYX", (3, 200, 300), (1, 64, 300)),
        ("YXC", (50, 300, 3), (50, 300, 3)),
        ("YCX", (200, 2, 30), (64, 2, 30)),
    ],
)
def test_a_segment_is_one_run_of_bytes(tmp_path, axes, shape, segment):
    saved(tmp_path / "a.npy", pixels(shape))
    image = opened(tmp_path / "a.npy", axes=axes)
    assert (image.axes, image.segments) == (axes, (segment,))
    reads = []

    class Counted:
        def pread_into(self, out, offset):
            reads.append(len(out))

    image.levels[0]._file = Counted()
    image.read(0, tuple(slice(0, n) for n in segment))
    assert reads == [math.prod(segment) * 2]


def test_axes(tmp_path):
    path = tmp_path / "a.npy"
    saved(path, pixels((20, 30)))
    assert opened(path).axes == "YX"
    saved(path, pixels((5, 20, 30)))
    assert "images.axes" in refusal(path)
    assert opened(path, axes="nyx").axes == "NYX"
    assert "images.axes" in refusal(path, axes="YX")
    saved(path, pixels((20,)))
    assert "1 dimension" in refusal(path)


def test_objects_are_never_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([[{}]]), allow_pickle=True)
    assert "never loaded" in refusal(path)


@pytest.mark.parametrize("keep", [0, 5, 20, 128, 1000, -1])
def test_cut_short(tmp_path, keep):
    path = tmp_path / "a.npy"
    saved(path, pixels((50, 40)))
    path.write_bytes(path.read_bytes()[:keep])
    text = refusal(path)
    assert ("was cut short" in text) == (keep >= 128 or keep < 0)


def test_cut_short_since_the_survey(tmp_path):
    path = tmp_path / "a.npy"
    data = saved(path, pixels((50, 40)))
    image = opened(path)
    image.check()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    region = (slice(0, 49), slice(0, 40))
    np.testing.assert_array_equal(image.read(0, region), data[:49])
    with pytest.raises(EOFError):
        image.read(0, (slice(49, 50), slice(0, 40)))


def test_a_lie_about_the_size(tmp_path):
    """Refused from the header, before memory is taken."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<u2", "fortran_order": False, "shape": (10**9, 10**9)}
        )
    assert "was cut short" in refusal(path)


def test_more_than_one_array(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.save(file, pixels((20, 30)))
        np.save(file, pixels((20, 30)))
    assert "1328 bytes lie behind" in opened(path).notes[0]


def test_header_versions(tmp_path):
    data = pixels((20, 30))
    for version in [(1, 0), (2, 0)]:
        path = tmp_path / "a.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, data, version=version)
        found = opened(path).read(0, (slice(0, 20), slice(0, 30)))
        np.testing.assert_array_equal(found, data)


def test_what_is_no_npy(tmp_path):
    path = tmp_path / "a.npy"
    buffer = io.BytesIO()
    np.savez(buffer, a=pixels((20, 30)))
    path.write_bytes(buffer.getvalue())
    assert "mend it or leave it out" in refusal(path)


def test_threads(tmp_path):
    data = saved(tmp_path / "a.npy", pixels((3, 200, 300)))
    image = opened(tmp_path / "a.npy", axes="CYX")
    regions = [
        (slice(c, c + 1), slice(y, y + 50), slice(0, 300)) for c in range(3) for y in range(150)
    ]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda region: image.read(0, region), regions)
        for region, part in zip(regions, found, strict=True):
            np.testing.assert_array_equal(part, data[region])

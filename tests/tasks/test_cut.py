"""Patches, edges included, against NumPy's `pad` of the whole image; and the task around them."""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.reader.format import CHECKSUM_BYTES, MISSING, checksum, index_nbytes, unpack_index
from patchmill.tasks.cut import ShardSpec, cut_shard
from patchmill.tasks.grid import axis_starts
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.patches import cut_patches
from patchmill.tasks.resolution import as_level
from patchmill.tasks.shard import ShardFile, encode_chunk
from patchmill.tasks.source import SourceError
from patchmill.tasks.statistics import channel_moments, moments_dtype
from patchmill.tasks.windows import own_pixels, own_spans

HEIGHT, WIDTH = 37, 53


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 60_000, (2, HEIGHT, WIDTH)).astype("uint16")


@pytest.fixture(
    params=[{"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 5}], ids=["tiles", "strips"]
)
def image(tmp_path, described, pixels, request):
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}} | request.param
    tifffile.imwrite(path, pixels, **options)
    return described(path).source


def cut_at(image, y, x, spec):
    """Cut patches of the first plane."""
    none = np.zeros_like(y)
    return cut_patches(image, ImageOptions(), np.stack([none, none, y, x], axis=1), spec)


def padded(pixels, size, pad):
    """Pad behind the image by more than any patch sticks out."""
    width = ((0, 0), (0, size[0]), (0, size[1]))
    if pad == "reflect":
        return np.pad(pixels, width, mode="reflect")
    return np.pad(pixels, width, constant_values=pad)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    stride=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    edge=st.sampled_from(["drop", "pad", "shift"]),
    pad=st.sampled_from(["reflect", 0, 65535, 7]),
)
def test_patches_are_windows_of_the_padded_image(
    image, pixels, patch_spec, size, stride, edge, pad
):
    ys, xs = (
        starts[kept]
        for starts, kept in (
            axis_starts(length, size[axis], stride[axis], edge)
            for axis, length in enumerate((HEIGHT, WIDTH))
        )
    )
    y, x = np.repeat(ys, len(xs)), np.tile(xs, len(ys))
    if not y.size:
        return
    got = cut_at(image, y, x, patch_spec(channels=2, size=(1, *size), pad=pad))
    source = padded(pixels, size, pad)
    assert got.flags.c_contiguous
    for patch, top, left in zip(got, y.tolist(), x.tolist(), strict=True):
        expected = source[:, top : top + size[0], left : left + size[1]]
        np.testing.assert_array_equal(patch, expected)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    stride=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    margin=st.integers(0, 60),
    edge=st.sampled_from(["drop", "pad", "shift"]),
    pad=st.sampled_from(["reflect", 0, 65535, 7]),
)
def test_a_border_is_what_lies_around_the_window(
    image, pixels, patch_spec, size, stride, margin, edge, pad
):
    """Of the image where there is any; in the same call at corners, edges and inside."""
    ys, xs = (
        starts[kept]
        for starts, kept in (
            axis_starts(length, size[axis], stride[axis], edge)
            for axis, length in enumerate((HEIGHT, WIDTH))
        )
    )
    y, x = np.repeat(ys, len(xs)), np.tile(xs, len(ys))
    if not y.size:
        return
    spec = patch_spec(channels=2, size=(1, *size), pad=pad, margin_px=margin)
    got = cut_at(image, y, x, spec)
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    assert spec.stored_size[1:] == got.shape[2:] == (height, width)
    around = ((0, 0), (margin, size[0] + margin), (margin, size[1] + margin))
    options = {"mode": "reflect"} if pad == "reflect" else {"constant_values": pad}
    source = np.pad(pixels, around, **options)
    for patch, top, left in zip(got, y.tolist(), x.tolist(), strict=True):
        expected = source[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(patch, expected)
        (spans,) = own_spans(
            np.array([[0, top, left]]), (1, *size), as_level([(1, HEIGHT, WIDTH)], 0)
        )
        inside = pixels[:, top : top + size[0], left : left + size[1]]
        np.testing.assert_array_equal(own_pixels(patch, margin, spans), inside)


@pytest.mark.parametrize("pad", ["reflect", 9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3)])
def test_a_border_wider_than_the_image(tmp_path, described, patch_spec, shape, pad):
    pixels = np.arange(np.prod(shape), dtype="uint16").reshape(shape)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    spec = patch_spec(size=(1, 4, 4), margin_px=7, pad=pad)
    got = cut_at(described(path).source, np.array([0]), np.array([0]), spec)
    expected = pixels
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (7, 18 - 7 - shape[axis])
        reflected = {"mode": "reflect" if shape[axis] > 1 else "edge"}
        options = reflected if pad == "reflect" else {"constant_values": pad}
        expected = np.pad(expected, width, **options)
    np.testing.assert_array_equal(got[0, 0], expected)


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_a_border_is_stored_and_not_measured(tmp_path, two_images, patch_spec, codec):
    pixels, sources = two_images
    spec = patch_spec(codec=codec, level=0 if codec == "none" else 3, margin_px=3)
    bare = patch_spec(codec=codec, level=spec.level)
    result = cut_shard(shard_spec(tmp_path, None, spec, ROWS, sources, images=(7, 9)))
    expected = []
    for source, t, z, y, x in ROWS:
        plane = np.pad(pixels[source][t or z], ((3, 11), (3, 11)), mode="reflect")
        patch = np.ascontiguousarray(plane[None, y : y + 14, x : x + 14])
        expected.append(encode_chunk(patch, codec, spec.level))
    assert chunks_of(tmp_path / "image" / "c.3.0.0.0", 8) == [*expected, None, None]
    without = cut_shard(shard_spec(tmp_path, None, bare, ROWS, sources, images=(7, 9)))
    np.testing.assert_array_equal(result.records["moments"], without.records["moments"])


def test_a_value_in_another_patch_does_not_show_through(image, pixels, patch_spec):
    """The buffer is used again: what the last call left must not be seen."""
    spec = patch_spec(channels=2, size=(1, 20, 20), pad=3)
    y, x = np.array([0, 5, 10]), np.array([0, 5, 10])
    cut_at(image, y, x, spec)
    got = cut_at(image, np.array([30, 0, 30]), np.array([50, 0, 0]), spec)
    source = padded(pixels, (20, 20), 3)
    np.testing.assert_array_equal(got[0], source[:, 30:50, 50:70])
    np.testing.assert_array_equal(got[1], source[:, :20, :20])
    np.testing.assert_array_equal(got[2], source[:, 30:50, :20])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_an_image_smaller_than_its_patch(tmp_path, described, patch_spec, shape):
    pixels = np.arange(np.prod(shape), dtype="uint16").reshape(1, *shape)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels[0])
    spec = patch_spec(size=(1, 8, 8))
    got = cut_at(described(path).source, np.array([0]), np.array([0]), spec)
    expected = pixels
    for axis, length in ((1, shape[0]), (2, shape[1])):
        width = [(0, 0)] * 3
        width[axis] = (0, max(0, 8 - length))
        expected = np.pad(expected, width, mode="reflect" if length > 1 else "edge")
    np.testing.assert_array_equal(got[0], expected[:, :8, :8])


@pytest.mark.parametrize("pad", [np.nan, -1.5])
def test_a_value_for_floats(tmp_path, described, patch_spec, pad):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((4, 4), "float32"))
    spec = patch_spec("float32", size=(1, 6, 6), pad=pad)
    (got,) = cut_at(described(path).source, np.array([0]), np.array([0]), spec)
    expected = np.full((1, 6, 6), pad, "float32")
    expected[:, :4, :4] = 1
    np.testing.assert_array_equal(got, expected)


def test_pixels_inside_the_image(patch_spec):
    y, x = np.array([0, 30, 36, 29, -3]), np.array([0, 45, 52, 46, -7])
    corners = np.stack([np.zeros_like(y), y, x], axis=1)
    spans = own_spans(corners, (1, 8, 8), as_level([(1, HEIGHT, WIDTH)], 0))
    assert spans[:, :, 1].tolist() == [[1, 8, 8], [1, 7, 8], [1, 1, 1], [1, 8, 7], [1, 8, 8]]
    assert spans[:, :, 0].tolist() == [[0, 0, 0]] * 4 + [[0, 3, 7]]


def shard_spec(tmp_path, source, spec, rows, sources=None, images=(0,), void=()):
    of, corners = np.array(rows)[:, 0], np.array(rows)[:, 1:]
    (tmp_path / "image").mkdir(exist_ok=True)
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return ShardSpec(
        shard=3,
        targets=(ShardFile(str(tmp_path / "image" / "c.3.0.0.0"), str(tmp_path / "tmp")),),
        patch=spec,
        fields=(),
        images=images,
        sources=sources or (source,),
        options=ImageOptions(),
        source=of.astype(np.int32),
        corners=corners.astype(np.int64),
        splits=np.zeros(len(of), np.uint8),
        void=frozenset(void),
    )


def chunks_of(path, rows_per_shard):
    data = path.read_bytes()
    index = unpack_index(np.frombuffer(data[-index_nbytes(rows_per_shard) :], np.uint8))
    chunks = []
    for offset, nbytes in index.tolist():
        if offset == MISSING:
            assert nbytes == MISSING
            chunks.append(None)
            continue
        chunk = data[offset : offset + nbytes - CHECKSUM_BYTES]
        end = data[offset + nbytes - CHECKSUM_BYTES : offset + nbytes]
        assert checksum(chunk) == int.from_bytes(end, "little")
        chunks.append(chunk)
    return chunks


@pytest.fixture
def two_images(tmp_path, described):
    """Two images of two planes each, one (t, c, z) = (2, 1, 1) and one (1, 1, 2)."""
    rng = np.random.default_rng(5)
    pixels, sources = [], []
    for name, axes in (("a", "TYX"), ("b", "ZYX")):
        values = rng.integers(0, 999, (2, 20, 24)).astype("uint16")
        path = tmp_path / f"{name}.tif"
        options = {"photometric": "minisblack", "metadata": {"axes": axes}}
        tifffile.imwrite(path, values, compression="zlib", **options)
        pixels.append(values)
        sources.append(described(path).source)
    return pixels, tuple(sources)


ROWS = [
    # source, t, z, y, x
    (0, 0, 0, 0, 0),
    (0, 0, 0, 16, 16),
    (0, 1, 0, 0, 8),
    (1, 0, 0, 4, 4),
    (1, 0, 1, 4, 4),
    (0, 0, 0, 8, 8),
]


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_shard_of_several_planes_and_images(tmp_path, two_images, patch_spec, codec):
    pixels, sources = two_images
    spec = patch_spec(codec=codec, level=0 if codec == "none" else 3)
    result = cut_shard(shard_spec(tmp_path, None, spec, ROWS, sources, images=(7, 9)))
    path = tmp_path / "image" / "c.3.0.0.0"
    assert result.shard == 3
    ((nbytes, crc),) = result.files
    assert nbytes == path.stat().st_size
    assert result.valid.all()
    expected, moments = [], np.zeros((len(ROWS), 1), moments_dtype(np.dtype("uint16")))
    for row, (source, t, z, y, x) in enumerate(ROWS):
        plane = pixels[source][t or z][None]
        patch = np.ascontiguousarray(padded(plane, (8, 8), "reflect")[:, y : y + 8, x : x + 8])
        expected.append(encode_chunk(patch, codec, spec.level))
        # Mirrored pixels are no measurement.
        channel_moments(plane[:, y : y + 8, x : x + 8], moments[row])
    assert chunks_of(path, 8) == [*expected, None, None]
    own = b"".join(checksum(chunk).to_bytes(4, "little") for chunk in expected)
    assert crc == checksum(own + path.read_bytes()[-index_nbytes(8) : -CHECKSUM_BYTES])
    np.testing.assert_array_equal(result.records["moments"], moments)
    assert result.records["moments"]["count"][1] == 4 * 8
    assert not any((tmp_path / "tmp").iterdir())


def test_rows_of_a_void_image_are_absent(tmp_path, two_images, patch_spec):
    _, sources = two_images
    spec = shard_spec(tmp_path, None, patch_spec(), ROWS, sources, images=(7, 9), void=[9])
    result = cut_shard(spec)
    chunks = chunks_of(tmp_path / "image" / "c.3.0.0.0", 8)
    assert [chunk is None for chunk in chunks] == [
        False,
        False,
        False,
        True,
        True,
        False,
        True,
        True,
    ]
    assert result.valid.tolist() == [True, True, True, False, False, True]
    assert (result.records["moments"]["count"][3:5] == 0).all()


def test_a_shard_of_void_rows_alone(tmp_path, two_images, patch_spec):
    spec = shard_spec(tmp_path, None, patch_spec(), ROWS, two_images[1], (7, 9), void=[7, 9])
    result = cut_shard(spec)
    assert not result.valid.any()
    assert result.files[0][0] == index_nbytes(8)


def test_an_image_at_fault_is_named_and_leaves_nothing(tmp_path, two_images, patch_spec):
    _, sources = two_images
    data = (tmp_path / "b.tif").read_bytes()
    spec = shard_spec(tmp_path, None, patch_spec(), ROWS, sources, images=(7, 9))
    (tmp_path / "b.tif").write_bytes(data[:-1])
    with pytest.raises(SourceError, match=r"b\.tif: changed since the survey") as error:
        cut_shard(spec)
    assert error.value.image == 9
    assert not any((tmp_path / "tmp").iterdir())
    assert not any((tmp_path / "image").iterdir())


def test_two_attempts_write_the_same_bytes(tmp_path, two_images, patch_spec):
    spec = shard_spec(tmp_path, None, patch_spec(), ROWS, two_images[1], images=(7, 9))
    first = cut_shard(spec)
    before = (tmp_path / "image" / "c.3.0.0.0").read_bytes()
    again = cut_shard(spec)
    assert (tmp_path / "image" / "c.3.0.0.0").read_bytes() == before
    assert (first.files, first.histograms) == (again.files, again.histograms)
    np.testing.assert_array_equal(first.records, again.records)

"""Masks and label maps beside an image: the nearest pixel, against a plain gather of the whole."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.tasks import annotation_file
from patchmill.tasks.annotation import AnnotationField
from patchmill.tasks.annotation_file import BlankAnnotation, FileAnnotation
from patchmill.tasks.annotation_values import ClassValues, ColourValues, ObjectValues
from patchmill.tasks.patches import cut_patches
from patchmill.tasks.resolution import as_level, rescaled
from patchmill.tasks.source import SourceError

LABELS = AnnotationField("labels/nuclei", np.dtype(np.uint16))
MASK = AnnotationField(
    "masks/cells", np.dtype(np.uint8), ((0, "no"), (1, "live"), (2, "dead")), 255
)


def annotation(mask, values, scale=(1.0, 1.0, 1.0)):
    return FileAnnotation(mask.source, mask.options, "masks/a.tif", scale, values)


def cut(made, image, corners, patch, field):
    corners = np.asarray(corners, np.int64).reshape(-1, 4)
    return made.cut(image.source, image.options, corners, patch, field, np.empty(0))


def gathered(mask, resolution, corner, size, margin, scale, blank):
    """Gather one window pixel by pixel, from centres and floors alone; mask (y, x)."""
    out = np.full(size, blank, mask.dtype)
    for i, j in np.ndindex(*size):
        place = []
        for axis, k in ((1, i), (2, j)):
            position = int(resolution.positions(axis, np.array([corner[axis + 1]]))[0])
            at = position + k - margin
            if not 0 <= at < resolution.size[axis]:
                break
            origin = float(resolution.origins(axis, np.array([corner[axis + 1]]))[0])
            centre = (origin + (k - margin + 0.5) * resolution.zoom[axis]) * (
                resolution.scale[axis] / resolution.zoom[axis] / scale[axis]
            )
            near = round(centre)
            on_edge = abs(centre - near) < 1e-6
            index = [near - 1, near] if on_edge else [math.floor(centre)]
            if index[0] < 0 or index[-1] >= mask.shape[axis - 1]:
                break
            place.append(index)
        else:
            counts = Counter(mask[np.ix_(*place)].ravel().tolist())
            out[i, j] = max(counts, key=lambda number: (counts[number], number))
    return out


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    zoom=st.sampled_from([1.0, 1.3, 1.7, 2.0, 2.5, 3.0, 4.0]),
    factor=st.sampled_from([0.5, 1.0, 1.5, 2.0, 4.0]),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    margin=st.integers(0, 7),
    tile=st.sampled_from([None, (16, 16)]),
    data=st.data(),
)
def test_windows_are_a_gather_of_the_whole(
    tmp_path_factory, described, patch_spec, shape, zoom, factor, size, margin, tile, data
):
    folder = tmp_path_factory.mktemp("nearest")
    rng = np.random.default_rng(shape[0])
    tifffile.imwrite(folder / "image.tif", np.zeros(shape, np.uint8))
    held = tuple(math.ceil(n / factor) for n in shape)
    mask = rng.choice(np.array([1, 7, 300, 65535], np.uint16), held)
    tifffile.imwrite(folder / "mask.tif", mask, tile=tile)
    image = described(
        folder / "image.tif", resolution=lambda shapes: rescaled(shapes, (1.0, zoom, zoom))
    )
    resolution = image.source.kind.resolution
    patch = patch_spec("uint8", size=(1, *size), margin_px=margin)
    corners = []
    for _ in range(data.draw(st.integers(1, 4))):
        at = [data.draw(st.integers(0, resolution.size[axis] - 1)) for axis in (1, 2)]
        corners.append(
            [
                0,
                0,
                *(
                    int(resolution.corners(a, np.array([p]))[0])
                    for a, p in zip((1, 2), at, strict=True)
                ),
            ]
        )
    made = annotation(described(folder / "mask.tif"), ObjectValues(), (1.0, factor, factor))
    with pytest.MonkeyPatch.context() as few:
        # All windows at once, or one after the other.
        few.setattr(annotation_file, "BATCH_BYTES", data.draw(st.sampled_from([1, 1 << 26])))
        windows = cut(made, image, corners, patch, LABELS)
    assert windows.dtype == np.uint16
    for window, corner in zip(windows, corners, strict=True):
        expected = gathered(
            mask, resolution, corner, patch.stored_size[1:], margin, (1.0, factor, factor), 0
        )
        np.testing.assert_array_equal(window[0], expected)


def centroids(blobs):
    """Return the centroid (y, x) of each blob (n, y, x), in pixels."""
    y, x = (np.arange(n) + 0.5 for n in blobs.shape[1:])
    total = blobs.sum((1, 2))
    return np.stack([blobs.sum(2) @ y / total, blobs.sum(1) @ x / total], 1)


@pytest.mark.parametrize("zoom", [2.0, 1.7, 3.0])
def test_labels_lie_where_the_blobs_of_the_image_do(tmp_path, described, patch_spec, zoom):
    """Blobs stay where they are when an image is averaged over areas; so must their labels."""
    rng = np.random.default_rng(1)
    n, cell = 4, 160
    yy, xx = np.mgrid[: n * cell, : n * cell] + 0.5
    labels = np.zeros((n * cell, n * cell), np.uint16)
    for number, (row, column) in enumerate(np.ndindex(n, n), 1):
        y, x = (np.array([row, column]) + 0.5) * cell + rng.uniform(-8, 8, 2)
        radius = rng.uniform(45, 70)
        labels[np.hypot(yy - y, xx - x) < radius] = number
    # A channel per blob, so that each has a centroid in the averaged image.
    shapes = [(1, *labels.shape)]
    resolution = rescaled(shapes, (1.0, zoom, zoom))
    tifffile.imwrite(tmp_path / "mask.tif", labels, tile=(64, 64))
    blobs = np.stack([labels == label for label in range(1, n * n + 1)]).astype(np.uint8) * 255
    tifffile.imwrite(
        tmp_path / "image.tif", blobs, photometric="minisblack", metadata={"axes": "CYX"}
    )
    image = described(tmp_path / "image.tif", "CYX", resolution=lambda shapes: resolution)
    _, height, width = resolution.size
    patch = patch_spec("float32", channels=n * n, size=(1, height, width))
    found = cut(
        annotation(described(tmp_path / "mask.tif"), ObjectValues()),
        image,
        [0, 0, 0, 0],
        patch,
        LABELS,
    )
    averaged = cut_patches(image.source, image.options, np.zeros((1, 4), np.int64), patch)[0]
    numbers = np.arange(1, n * n + 1)[:, None, None]
    off = centroids((found[0, 0] == numbers).astype(float)) - centroids(averaged.astype(float))
    assert np.abs(off).max() < 0.1
    # All of them lie to no side.
    assert np.abs(off.mean(0)).max() < 0.03


def test_of_pixels_equally_near_most_decide_wherever_a_window_begins(
    tmp_path, described, patch_spec
):
    mask = np.zeros((4, 16), np.uint16)
    mask[:, 1:4] = 5  # of the first two columns half, of the next two all
    mask[1, 10] = 9  # one of four
    tifffile.imwrite(tmp_path / "image.tif", np.zeros_like(mask))
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    image = described(tmp_path / "image.tif", resolution=lambda s: rescaled(s, (1.0, 2.0, 2.0)))
    made = annotation(described(tmp_path / "mask.tif"), ObjectValues())
    whole = cut(made, image, [0, 0, 0, 0], patch_spec(size=(1, 2, 8)), LABELS)[0, 0]
    assert whole.tolist() == [[5, 5, 0, 0, 0, 0, 0, 0]] * 2
    for first in range(5):
        part = cut(made, image, [0, 0, 0, 2 * first], patch_spec(size=(1, 2, 4)), LABELS)
        np.testing.assert_array_equal(part[0, 0], whole[:, first : first + 4])


@pytest.mark.parametrize("pad", ["reflect", 7])
def test_what_lies_beyond_the_image_is_ignored_whatever_its_padding(
    tmp_path, described, patch_spec, pad
):
    mask = np.random.default_rng(0).integers(0, 3, (10, 12), np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", mask)
    image = described(tmp_path / "image.tif")
    patch = patch_spec("uint8", size=(1, 8, 8), margin_px=3, pad=pad)
    corners = [[0, 0, 0, 0], [0, 0, 8, 8], [0, 0, 1, 2]]
    for values, field, blank in ((ClassValues(), MASK, 255), (ObjectValues(), LABELS, 0)):
        found = cut(annotation(image, values), image, corners, patch, field)
        around = np.pad(mask, 20, constant_values=blank)
        for window, (_, _, y, x) in zip(found, corners, strict=True):
            expected = around[y + 17 : y + 31, x + 17 : x + 31]
            np.testing.assert_array_equal(window[0], expected)
    found = cut(BlankAnnotation(1), image, corners, patch, MASK)
    around = np.pad(np.ones_like(mask), 20, constant_values=255)
    for window, (_, _, y, x) in zip(found, corners, strict=True):
        np.testing.assert_array_equal(window[0], around[y + 17 : y + 31, x + 17 : x + 31])


def test_a_stack_of_labels_follows_in_z_and_t(tmp_path, described, patch_spec):
    labels = np.random.default_rng(0).integers(0, 2**16, (2, 5, 20, 24), np.uint16)
    for name, pixels in (("image.tif", labels // 2), ("mask.tif", labels)):
        tifffile.imwrite(tmp_path / name, pixels, metadata={"axes": "TZYX"}, ome=True)
    image, mask = (described(tmp_path / name) for name in ("image.tif", "mask.tif"))
    made = annotation(mask, ObjectValues())
    flat = cut(made, image, [[1, 3, 4, 8], [0, 0, 12, 16]], patch_spec(), LABELS)
    np.testing.assert_array_equal(flat[0, 0], labels[1, 3, 4:12, 8:16])
    np.testing.assert_array_equal(flat[1, 0], labels[0, 0, 12:20, 16:24])
    patch = patch_spec(size=(4, 8, 8), is_3d=True)
    (deep,) = cut(made, image, [1, 3, 4, 8], patch, LABELS)
    np.testing.assert_array_equal(deep[:2], labels[1, 3:5, 4:12, 8:16])
    assert not deep[2:].any()  # planes beyond the last


def test_one_plane_is_that_of_a_projection(tmp_path, described, patch_spec):
    stack = np.zeros((3, 2, 16, 16), np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", stack, metadata={"axes": "TZYX"}, ome=True)
    labels = np.random.default_rng(0).integers(0, 2**16, (16, 16), np.uint16)
    tifffile.imwrite(tmp_path / "mask.tif", labels)
    image, mask = (described(tmp_path / name) for name in ("image.tif", "mask.tif"))
    patch = patch_spec(project_z="max", project_t="max")
    found = cut(annotation(mask, ObjectValues()), image, [0, 0, 8, 4], patch, LABELS)
    np.testing.assert_array_equal(found[0, 0], labels[8:16, 4:12])


@pytest.mark.parametrize("planar", [False, True])
def test_colours_are_classes(tmp_path, described, patch_spec, planar):
    colours = {1: (0, 255, 0), 2: (255, 0, 0), 0: (0, 0, 0), 255: (9, 9, 9)}
    numbers = np.random.default_rng(0).choice(list(colours), (16, 16))
    pixels = np.array([colours[n] for n in numbers.ravel().tolist()], np.uint8).reshape(16, 16, 3)
    pixels = np.moveaxis(pixels, -1, 0) if planar else pixels
    options = {"planarconfig": "separate"} if planar else {}
    tifffile.imwrite(tmp_path / "mask.tif", pixels, photometric="rgb", **options)
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((16, 16), np.uint8))
    image, mask = (described(tmp_path / name) for name in ("image.tif", "mask.tif"))
    table = tuple((colour, number) for number, colour in colours.items())
    found = cut(annotation(mask, ColourValues(table)), image, [0, 0, 8, 8], patch_spec(), MASK)
    np.testing.assert_array_equal(found[0, 0], numbers[8:, 8:])
    lacking = tuple(entry for entry in table if entry[1] != 2)
    with pytest.raises(SourceError, match=r"colours that are none.*found \[255, 0, 0\]") as caught:
        cut(annotation(mask, ColourValues(lacking)), image, [0, 0, 8, 8], patch_spec(), MASK)
    assert str(caught.value).startswith("masks/a.tif: ")
    loose = cut(
        annotation(mask, ColourValues(lacking, refuses_unknown=False)),
        image,
        [0, 0, 8, 8],
        patch_spec(),
        MASK,
    )
    np.testing.assert_array_equal(loose[0, 0], np.where(numbers[8:, 8:] == 2, 255, numbers[8:, 8:]))


def values_of(values, pixels, field):
    return values("a.tif", np.asarray(pixels)[None], field)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "uint64", "float16", "float64"]
)
def test_numbers_of_no_class_are_ignored_never_background(dtype):
    pixels = np.array([0, 1, 2, 3, 100], dtype)
    assert values_of(ClassValues(), pixels, MASK).tolist() == [0, 1, 2, 255, 255]
    with pytest.raises(SourceError, match=r"none of its classes \(0, 1, 2\).*found 3"):
        values_of(ClassValues(refuses_unknown=True), pixels, MASK)
    if dtype not in ("uint8", "uint16", "uint64"):
        assert values_of(ClassValues(), -pixels, MASK).tolist() == [0, 255, 255, 255, 255]


def test_a_mask_of_floats_is_of_whole_numbers_and_nan_is_unknown():
    assert values_of(ClassValues(), [1.0, np.nan, np.inf, 2.0], MASK).tolist() == [1, 255, 255, 2]
    with pytest.raises(SourceError, match=r"no whole numbers.*found 0\.5"):
        values_of(ClassValues(), [1.0, 0.5], MASK)
    known = [1.0, 255.0]
    assert values_of(ClassValues(refuses_unknown=True), known, MASK).tolist() == [1, 255]
    with pytest.raises(SourceError, match="found nan"):
        values_of(ClassValues(refuses_unknown=True), [1.0, np.nan], MASK)


def test_labels_are_kept_to_the_last_number():
    wide = AnnotationField("labels/n", np.dtype(np.uint32))
    deep = AnnotationField("labels/n", np.dtype(np.uint64))
    most = 2**32 - 1
    for pixels, field in (
        (np.array([0, most], np.uint32), wide),
        (np.array([0, most], np.float64), wide),
        (np.array([0, most], np.int64), wide),
        (np.array([0, 65535], np.int32), LABELS),
        (np.array([0, 2**24], np.float32), wide),
        (np.array([0, 2048], np.float16), wide),
        (np.array([0, 2**64 - 1], np.uint64), deep),
        (np.array([0, 2**53], np.float64), deep),
    ):
        found = values_of(ObjectValues(), pixels, field)
        assert found.dtype == field.dtype
        assert found.tolist() == [int(n) for n in pixels.tolist()]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (65536, "uint32"),
        (65536, "int64"),
        (65536, "float64"),
        (-1, "int16"),
        (-1, "float32"),
        (0.5, "float64"),
        (np.nan, "float64"),
        (np.inf, "float32"),
        (2**63, "uint64"),
    ],
)
def test_what_is_no_label_is_an_error_that_names_file_and_number(given, dtype):
    pixels = np.array([1, given], dtype)
    with pytest.raises(SourceError, match=r"^a\.tif: holds what is no label.*found") as caught:
        values_of(ObjectValues(), pixels, LABELS)
    assert str(pixels[1]) in caught.value.detail
    assert str(pixels[1]) not in caught.value.text or given == 65536


def test_floats_beyond_their_exact_range_are_no_labels():
    deep = AnnotationField("labels/n", np.dtype(np.uint64))
    for value, dtype in ((2**24 + 2, "float32"), (2**53 + 2, "float64"), (2**64, "float64")):
        with pytest.raises(SourceError, match="no label"):
            values_of(ObjectValues(), np.array([value], dtype), deep)


def test_memory_is_that_of_the_patches(tmp_path, described, patch_spec):
    """A mask of 400 MB in tiles, of which a few windows are cut."""
    import tracemalloc

    shape = (20_000, 20_000)
    with tifffile.TiffWriter(tmp_path / "mask.tif") as tif:
        tile = np.ones((512, 512), np.uint8)
        tiles = (tile for _ in range(40 * 40))
        tif.write(tiles, shape=shape, dtype=np.uint8, tile=(512, 512), compression="zlib")
    mask = described(tmp_path / "mask.tif")
    corners = [[0, 0, 4000 * n, 4000 * n] for n in range(5)]
    patch = patch_spec("uint8", size=(1, 256, 256))
    tracemalloc.start()
    found = cut(annotation(mask, ClassValues()), mask, corners, patch, MASK)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found == 1).all()
    assert peak < 8_000_000


def test_a_file_that_changed_since_the_survey_is_noticed(tmp_path, described, patch_spec):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8))
    mask = described(path)
    tifffile.imwrite(path, np.zeros((16, 17), np.uint8))
    with pytest.raises(SourceError, match=r"^masks/a\.tif: changed since the survey"):
        cut(annotation(mask, ClassValues()), mask, [0, 0, 0, 0], patch_spec(), MASK)


def test_a_level_of_the_image_and_one_of_the_mask(tmp_path, described, patch_spec):
    """An image cut at a level of its pyramid, a mask without one: the same centres."""
    mask = np.random.default_rng(0).permutation(64 * 64).astype(np.uint16).reshape(64, 64)
    with tifffile.TiffWriter(tmp_path / "image.tif") as tif:
        tif.write(np.zeros((64, 64), np.uint8), subifds=1, tile=(16, 16))
        tif.write(np.zeros((16, 16), np.uint8), subfiletype=1, tile=(16, 16))
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    image = described(tmp_path / "image.tif", resolution=lambda shapes: as_level(shapes, 1))
    made = annotation(described(tmp_path / "mask.tif"), ObjectValues())
    found = cut(made, image, [0, 0, 0, 32], patch_spec("uint8"), LABELS)[0, 0]
    # The four pixels around each centre, of which the largest is taken where all differ.
    around = mask.reshape(16, 4, 16, 4)[:, 1:3, :, 1:3].max((1, 3))
    np.testing.assert_array_equal(found, around[:8, 8:])

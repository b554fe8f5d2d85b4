"""Thumbnails are the means of blocks that NumPy finds in the whole file."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.reference import Reference
from patchmill.tasks.survey import describe
from patchmill.tasks.thumbnails import (
    BLOCKS,
    make_thumbnails,
    shrink_dark,
    shrink_flat,
    thumbnail,
)


def block_means(pixels, good=None):
    """Means of blocks that are not whole pixels, by cumulative sums in float64."""
    good = np.ones(pixels.shape) if good is None else good.astype(float)
    sums = []
    for values in (np.where(good, pixels, 0), good):
        for axis in range(2):
            length = values.shape[axis]
            total = np.insert(np.cumsum(values, axis=axis, dtype=float), 0, 0, axis=axis)
            edges = np.linspace(0, length, min(BLOCKS, length) + 1)
            at = np.apply_along_axis(
                lambda v, e=edges, n=length: np.interp(e, np.arange(n + 1), v), axis, total
            )
            values = np.diff(at, axis=axis)
        sums.append(values)
    return sums[0] / sums[1]


@pytest.fixture
def reference(tmp_path):
    def make(name, pixels):
        np.save(tmp_path / name, pixels)
        info = describe(str(tmp_path / name), ImageOptions())
        return Reference(str(tmp_path / name), (), info.identity, 0, ImageOptions())

    return make


@pytest.mark.parametrize("shape", [(64, 128), (77, 301), (20, 150)])
def test_blocks_are_means_without_saturated_pixels(tmp_path, described, rng, shape):
    pixels = rng.integers(0, 4000, (2, *shape), dtype=np.uint16)
    pixels[:, ::9, ::40] = 65535
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"}, ome=True, rowsperstrip=5)
    found = thumbnail(described(path).source, ImageOptions(), (1, 0), None)
    assert found.shape == (2, min(64, shape[0]), min(64, shape[1]))
    assert found.dtype == np.float32
    for own, channel in zip(found, (1, 0), strict=True):
        known = np.isfinite(own)
        assert known.any()
        assert not known.all()
        full = block_means(pixels[channel] == 65535)
        np.testing.assert_array_equal(known, full <= 0.01)
        wanted = block_means(pixels[channel], pixels[channel] < 65535)
        np.testing.assert_allclose(own[known], wanted[known], rtol=1e-6)
    lower = thumbnail(described(path).source, ImageOptions(), (0,), 3000.0)
    assert np.isinf(lower).mean() > 0.2


def test_the_middle_plane_and_time_are_read(tmp_path, described, rng):
    pixels = rng.random((3, 5, 64, 64), dtype=np.float32)
    pixels[1, 2, 0, 0] = np.nan
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "TZYX"}, ome=True)
    found = thumbnail(described(path).source, ImageOptions(), (0,), None)
    np.testing.assert_array_equal(found[0], pixels[1, 2])


def test_what_cannot_be_read_is_a_sentence(tmp_path, described):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint16))
    source = described(path).source
    path.unlink()
    found = make_thumbnails([source], ImageOptions(), (0,), [None])
    assert isinstance(found[0], str)
    assert "a.tif" in found[0]


def test_references(reference, rng):
    pixels = rng.uniform(500, 600, (70, 90))
    pixels[3, 4] = 90
    dark = rng.uniform(90, 110, (70, 90))
    flat, unlit = reference("flat.npy", pixels), reference("dark.npy", dark)
    for own, light in ((unlit, pixels - dark), (100.0, pixels - 100)):
        blocks, below, mean = shrink_flat(flat, own)
        np.testing.assert_allclose(blocks, block_means(light), rtol=1e-6)
        assert (below, mean) == (1, light.mean())
    blocks, missing = shrink_dark(unlit)
    assert missing == 0
    np.testing.assert_allclose(blocks, block_means(dark), rtol=1e-6)
    dark[5, 5] = np.nan
    _, missing = shrink_dark(reference("nan.npy", dark))
    assert missing == 1
    assert shrink_flat(flat, reference("nan.npy", dark))[1] == 2

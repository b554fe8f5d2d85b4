"""What the fast path decodes is what was written, and what zarr-python reads."""

import json

import numpy as np
import pytest
import zarr

from patchmill.reader import open_store
from patchmill.reader.format import INDEX_CODECS, field_codecs


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_equal_zarr(make_store, codec, dtype):
    written = make_store(codec=codec, dtype=dtype)
    store = open_store(written.path)
    block = store.read(range(len(store)))
    assert block["image"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(block["image"], written.pixels)
    np.testing.assert_array_equal(block["image"], zarr.open_array(written.path / "image")[:])
    field = store.fields["image"]
    assert (field.codec, field.shape, field.rows_per_shard) == (codec, (2, 12, 10), 8)
    assert field.patch_nbytes == written.pixels[0].nbytes


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_fixture_is_format_1(make_store, codec, dtype):
    """The independent writer's metadata are those that `format` describes."""
    meta = json.loads((make_store(codec=codec, dtype=dtype).path / "image/zarr.json").read_text())
    sharding = meta["codecs"][0]["configuration"]
    level = 0 if codec == "none" else 5
    assert sharding["codecs"] == field_codecs(np.dtype(dtype), codec, level)
    assert sharding["index_codecs"] == INDEX_CODECS


def test_large_chunks_of_many_blosc_blocks(make_store):
    written = make_store(rows=5, shape=(3, 700, 900), rows_per_shard=2)
    assert written.pixels[0].nbytes > 3 << 20
    block = open_store(written.path).read([4, 0])
    np.testing.assert_array_equal(block["image"], written.pixels[[4, 0]])


def test_without_verification(plain):
    store = open_store(plain.path, verify=False)
    np.testing.assert_array_equal(store.read(range(37))["image"], plain.pixels)

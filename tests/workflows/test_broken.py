"""Runs over wrecks: what is good is all there, what is bad is named, and nothing is made up."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from zarr.codecs import GzipCodec

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, prepare, verify

SUFFIXES = {".tif", ".tiff", ".svs"}
#: Of one file, from its survey to the finished store; and of a worker over all files.
MAX_SECONDS, MAX_BYTES = 30, 1_000_000_000
GROUPS = ("divide_by_zero", "inf_loop", "oom_crash", "oor_panic", "libtiffpic", "pillow", "derived")


@pytest.fixture(autouse=True)
def _quiet():
    """tifffile logs what it finds in broken files."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def own_client(survey_cache):
    """Workers whose memory is that of this module's tests."""
    with local_cluster(workers=2, dashboard="127.0.0.1:0") as started:
        yield started


def wrecks_in(folder):
    return [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES]


def read_whole(path):
    """All of an image as tifffile reads it, (t, c, z, y, x); None where it cannot."""
    try:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            pixels, axes = series.asarray(), series.axes
    except Exception:
        return None
    pixels = pixels.view(np.uint8) if pixels.dtype == bool else pixels
    # Samples of a pixel are channels, and pages of such samples have no others.
    names = axes.replace("S", "C")
    names = names.replace("I", "Z").replace("Q", "Z")
    order = [names.index(axis) for axis in "TCZYX" if axis in names]
    lengths = [pixels.shape[names.index(axis)] if axis in names else 1 for axis in "TCZYX"]
    return pixels.transpose(order).reshape(lengths)


def one_sentence(text):
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def check_patches(store, images, size=16):
    """Compare every valid patch; `images` are of (t, c, z, y, x), by id; return ids of the rows."""
    names = store.images["id"].tolist()
    rows = np.flatnonzero(store.index["valid"])
    index = {key: store.index[key] for key in ("image", "t", "z", "y", "x")}
    patches = store.read(range(len(store)))["image"]
    for row, patch in zip(rows.tolist(), patches, strict=True):
        t, z, y, x = (int(index[key][row]) for key in ("t", "z", "y", "x"))
        name = names[index["image"][row]]
        held = images[name][t, :, z, y : y + size, x : x + size][: len(patch)]
        inside = patch[:, : held.shape[1], : held.shape[2]]
        np.testing.assert_array_equal(inside, held, err_msg=name)
    return {names[n] for n in set(index["image"][rows].tolist())}


def write_good(folder, noise, dtype):
    """Write whole images; return them by id."""
    images = {}
    for number, options in enumerate(
        ({}, {"compression": "zlib", "rowsperstrip": 8}, {"tile": (16, 16)})
    ):
        name = f"good{number}.tif"
        images[name] = noise(1, 1, 1, 50, 60, seed=number, dtype=dtype)
        tifffile.imwrite(folder / name, images[name][0, 0, 0], photometric="minisblack", **options)
    images["good.npy"] = noise(1, 1, 1, 40, 48, seed=9, dtype=dtype)
    np.save(folder / "good.npy", images["good.npy"][0, 0, 0])
    return images


def tables(paths, dtype=None, on_error="skip", **images):
    """A recipe of the first channel of each image."""
    stated = {"dtype": dtype} if dtype else {}
    return {
        "images": {
            "paths": paths,
            "on_error": on_error,
            "channels": {"0": "first"},
            **stated,
            **images,
        },
        "patches": {"size": 16, "edge": "pad"},
        "store": {"shard_bytes": "1 MB"},
    }


# The folder of wrecks


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_run_over_all_wrecks_and_some_good_files(tmp_path, cut, data_folder, noise, dtype):
    good = write_good(tmp_path, noise, dtype)
    wrecks = wrecks_in(data_folder / "broken")
    globs = [str(data_folder / f"broken/**/*{suffix}") for suffix in sorted(SUFFIXES)]
    outcome = cut(tables(["good*", *globs], dtype))
    store = open_store(outcome.store)
    listed = dict(zip(store.images["id"].tolist(), store.images["path"].tolist(), strict=True))
    assert len(listed) == len(good) + len(wrecks)
    # What is refused is listed once, with one sentence; all else is in the store.
    failed = dict(outcome.failed)
    assert len(failed) == len(outcome.failed) > 20
    for name, reason in outcome.failed:
        one_sentence(reason)
        assert Path(name).name in reason or f"images.dtype is {dtype}" in reason
    assert not failed.keys() & good.keys()
    images = dict(good)
    for name in listed.keys() - failed.keys() - good.keys():
        images[name] = read_whole(tmp_path / name)
        assert images[name] is not None, f"{name}: tifffile cannot read it, and we do"
    assert check_patches(store, images) == images.keys()
    assert len(images) > len(good)
    status = dict(zip(store.images["id"].tolist(), store.images["status"].tolist(), strict=True))
    assert {name for name, bad in status.items() if bad} == failed.keys()
    assert verify(outcome.store).damage == ()


def test_on_the_command_line(tmp_path, command, data_folder, noise, write_toml):
    good = write_good(tmp_path, noise, "uint8")
    shutil.copytree(data_folder / "broken/truncated_derived", tmp_path / "wrecks")
    recipe = tables(["good*", "wrecks/*.tif", "wrecks/*.svs"], "uint8")
    write_toml(tmp_path / "r.toml", recipe)
    text = command("prepare", "r.toml", "-o", "s.zarr", "--workers", "1").finish(status=1)
    assert "Traceback" not in text
    failed = [line for line in text.splitlines() if line.startswith("failed: ")]
    wrecks = {f"wrecks/{path.name}" for path in wrecks_in(tmp_path / "wrecks")}
    assert {line.split(": ")[1] for line in failed} == wrecks
    assert len(failed) == len(wrecks)
    check_patches(open_store(tmp_path / "s.zarr"), good)
    assert "are what was written" in command("verify", "s.zarr").finish()
    write_toml(tmp_path / "raise.toml", tables(["good*", "wrecks/*.tif"], "uint8", "raise"))
    text = command("prepare", "raise.toml", "-o", "r.zarr", "--workers", "1").finish(status=1)
    assert "Traceback" not in text
    assert "cannot be used" in text


@pytest.mark.parametrize("group", GROUPS)
def test_each_wreck_alone(tmp_path, own_client, data_folder, group):
    """In one process after another, with "raise": read right, or refused in one sentence."""
    paths = [p for p in wrecks_in(data_folder / "broken") if group in str(p.parent)]
    assert paths
    slowest, read = 0.0, 0
    for number, path in enumerate(paths):
        recipe = tables([path.name], on_error="raise")
        recipe["patches"]["size"] = 256
        begun = time.monotonic()
        try:
            made = prepare(
                Recipe.from_dict(recipe, path.parent), tmp_path / f"{number}", client=own_client
            )
        except PatchmillError as error:
            refused = str(error)
            # What cannot be used, which image it is and why, and what can be done.
            assert refused.count("\n") < 3, refused
            assert path.name in refused
        else:
            whole = read_whole(path)
            assert whole is not None, path
            check_patches(open_store(made.store), {path.name: whole}, 256)
            read += 1
        slowest = max(slowest, time.monotonic() - begun)
    print(f"{group}: {read} of {len(paths)} read, slowest {slowest:.2f} s")
    assert slowest < MAX_SECONDS
    if sys.platform.startswith("linux"):
        # Not ru_maxrss, which a process takes over from the one that started it.
        found = own_client.run(lambda: Path("/proc/self/status").read_text())
        peaks = [1024 * int(text.split("VmHWM:")[1].split()[0]) for text in found.values()]
        assert max(peaks) < MAX_BYTES


# Series that were cut short


def test_truncated_series_are_found_out(tmp_path, cut, noise):
    """tifffile opens many of them without a word: fewer planes, or others."""
    stack = noise(1, 1, 5, 32, 40)
    kinds = {
        "ome": {"ome": True},
        "ome-zlib": {"ome": True, "compression": "zlib"},
        "imagej": {"imagej": True},
        "imagej-runs": {"imagej": True, "truncate": True},
        "shaped": {},
        "shaped-runs": {"truncate": True},
    }
    whole = {}
    for kind, options in kinds.items():
        path = tmp_path / f"{kind}{'.ome' * kind.startswith('ome')}.tif"
        metadata = {"axes": "ZYX"}
        plain = {"photometric": "minisblack", "metadata": metadata}
        tifffile.imwrite(path, stack[0, 0], **plain, **options)
        whole[path.name] = stack
        data = path.read_bytes()
        for number, length in enumerate(np.linspace(9, len(data) - 1, 12).astype(int)):
            path.with_name(f"cut{number}-{path.name}").write_bytes(data[:length])
    outcome = cut(tables(["*.tif"], "uint16"))
    failed = dict(outcome.failed)
    found = check_patches(open_store(outcome.store), dict.fromkeys(whole | all_ids(outcome), stack))
    assert found >= whole.keys()
    assert not failed.keys() & whole.keys()
    # What is read of the others is all of it: what they lack lies behind the last pixel.
    assert len(failed) == 12 * len(kinds) - (len(found) - len(whole))
    assert len(failed) > 11 * len(kinds)


def all_ids(outcome):
    return dict.fromkeys(image.id for image in outcome.plan.images)


# What only decoding tells


def write_tiff(path, pixels):
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        return path, tif.pages[0].dataoffsets[-1] + 20


def write_tiled(path, pixels):
    tifffile.imwrite(path, pixels, compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(path) as tif:
        return path, tif.pages[0].dataoffsets[-1] + tif.pages[0].databytecounts[-1] // 2


def write_zarr(path, pixels):
    options = {"shape": pixels.shape, "dtype": pixels.dtype, "chunks": (16, 16)}
    zarr.create_array(path, compressors=GzipCodec(), **options)[:] = pixels
    return path / "c/3/4", 100


def write_png(path, pixels):
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path, path.stat().st_size // 2


def write_hdf5(path, pixels):
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", data=pixels, chunks=(16, 16), compression="gzip")
        chunk = made.id.get_chunk_info(made.id.get_num_chunks() - 1)
    return path, chunk.byte_offset + 100


WRITERS = {
    "strip.tif": write_tiff,
    "tile.tif": write_tiled,
    "chunk.zarr": write_zarr,
    "idat.png": write_png,
    "chunk.h5": write_hdf5,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_only_decoding_tells(tmp_path, cut, noise, check_store, same_files, name):
    good = {f"good{n}.tif": noise(1, 1, 1, 64, 80, seed=n) for n in range(2)}
    for each, pixels in good.items():
        tifffile.imwrite(tmp_path / each, pixels[0, 0, 0])
    bad = noise(1, 1, 1, 64, 80, seed=7)
    victim, at = WRITERS[name](tmp_path / name, bad[0, 0, 0])
    whole = victim.read_bytes()
    recipe = {
        "images": {"paths": ["good*.tif", name], "channels": {"0": "grey"}},
        "patches": {"size": 16},
        "store": {"shard_bytes": 1024},
    }
    damaged = bytearray(whole)
    damaged[at : at + 8] = bytes(byte ^ 0x5A for byte in damaged[at : at + 8])
    victim.write_bytes(damaged)
    # "raise": one sentence, and what is finished stays.
    with pytest.raises(PatchmillError) as caught:
        cut(recipe, "raise.zarr")
    sentence, advice = str(caught.value).split("\n")
    assert name in sentence
    assert "what is finished stays finished" in advice
    # "skip": all rows of the image are void, all others are there.
    skipped = cut(recipe | {"images": {**recipe["images"], "on_error": "skip"}}, "skip.zarr")
    ((failed, reason),) = skipped.failed
    assert failed == name
    one_sentence(reason)
    check_store(skipped.store, {**good, name: bad}, void=(name,))
    assert verify(skipped.store).damage == ()
    # Mended, both go on to the bytes of a clean run.
    victim.write_bytes(whole)
    finished = cut(recipe, "raise.zarr")
    assert finished.kept + finished.cut == finished.plan.n_shards
    check_store(finished.store, {**good, name: bad})
    same_files(cut(recipe, "clean.zarr").store, finished.store)
    mended = cut(recipe | {"images": {**recipe["images"], "on_error": "skip"}}, "skip.zarr")
    assert mended.failed == ()
    check_store(mended.store, {**good, name: bad})


def test_a_damaged_page_of_a_table(tmp_path, cut, noise, check_store):
    """Of many images in one file those that lie in the damage are left out, and no others."""
    rows = noise(12, 16 * 16, dtype="uint8")
    columns = {str(n): column for n, column in enumerate(rows.T)}
    ids = [f"image{n}" for n in range(12)]
    path = tmp_path / "a.parquet"
    table = pa.table({"image_id": pa.array(ids), **columns})
    options = {"row_group_size": 4, "compression": "zstd", "use_dictionary": False}
    pq.write_table(table, path, write_page_checksum=True, **options)
    column = pq.ParquetFile(path).metadata.row_group(1).column(50)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 2] ^= 0x11
    path.write_bytes(data)
    recipe = {
        "images": {"paths": "a.parquet", "table": {"size": 16}, "on_error": "skip"},
        "patches": {"size": 16},
        "store": {"shard_bytes": "1 kB"},
    }
    outcome = cut(recipe)
    images = {
        name: row.reshape(1, 1, 1, 16, 16)
        for name, row in zip((image.id for image in outcome.plan.images), rows, strict=True)
    }
    void = tuple(list(images)[4:8])
    assert sorted(name for name, _ in outcome.failed) == sorted(void)
    for _, reason in outcome.failed:
        assert "a.parquet" in one_sentence(reason)
    check_store(outcome.store, images, void=void)
    assert verify(outcome.store).damage == ()


SLEEPER = """
import time
import numpy as np
from patchmill.tasks.image import ArrayImage

class Slow:
    shape, dtype, chunks = (64, 64), np.dtype(np.uint16), (8, 8)

    def __init__(self, seconds):
        self.seconds = seconds

    def __getitem__(self, region):
        time.sleep(self.seconds)
        return np.zeros([part.stop - part.start for part in region], np.uint16)

def open_slow(path):
    image = ArrayImage([Slow(0.2 if "slow" in path else 0)], "YX")
    image.band_bytes = 0
    return image
"""


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_reader_that_takes_too_long(tmp_path, monkeypatch, on_error):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("quick.raw", "slow.raw"):
        (tmp_path / name).write_bytes(b"x")
    recipe = {
        "images": {
            "paths": "*.raw",
            "reader": "sleeper:open_slow",
            "max_seconds": 1,
            "on_error": on_error,
        },
        "patches": {"size": 16},
    }
    begun = time.monotonic()
    with local_cluster(workers=1, dashboard="127.0.0.1:0") as client:
        made = Recipe.from_dict(recipe, tmp_path)
        if on_error == "raise":
            with pytest.raises(PatchmillError, match=r"slow\.raw: reading took longer than .* = 1"):
                prepare(made, tmp_path / "s.zarr", client=client)
        else:
            outcome = prepare(made, tmp_path / "s.zarr", client=client)
            ((name, reason),) = outcome.failed
            assert name == "slow.raw"
            assert "images.max_seconds = 1" in one_sentence(reason)
            assert len(open_store(outcome.store)) == 16
    # All of its segments would take 13 s each time that they are read.
    assert time.monotonic() - begun < 12

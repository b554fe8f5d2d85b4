"""Any HDF5: data sets by name, what they call their axes, what is missing or damaged."""

import json
import os
import struct
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.hdf5_image import open_hdf5
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming


@pytest.fixture
def hdf5(tmp_path):
    """Return a function that writes data sets, by their names, and returns the path."""

    def write(name="a.h5", attributes=None, labels=(), **datasets):
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, value in datasets.items():
                options = value if isinstance(value, dict) else {"data": value}
                dataset = file.create_dataset(key.replace("__", "/"), **options)
                for number, label in enumerate(labels):
                    dataset.dims[number].label = label
                dataset.attrs.update(attributes or {})
        return str(path)

    return write


def whole(image, level=0):
    return image.read(level, tuple(slice(0, length) for length in image.shapes[level]))


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
    """Return the sentence with which a file is refused, be it opened, checked or read."""
    with pytest.raises(SourceError) as caught:
        read_all(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("chunks", [None, (3, 40, 50)])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", "f4", ">f8", "f2"])
def test_a_dataset_by_name(hdf5, rng, dtype, chunks):
    pixels = rng.integers(0, 200, (7, 90, 110)).astype(dtype)
    path = hdf5(group__raw={"data": pixels, "chunks": chunks}, other=np.zeros((4, 4)))
    image = open_hdf5(path, ImageOptions(dataset="group/raw", axes="ZYX"))
    image.check()
    assert image.axes == "ZYX"
    assert image.shapes == ((7, 90, 110),)
    assert image.segments == (chunks or (1, 64, 110),)
    assert image.dtype == pixels.dtype.newbyteorder("=")
    assert image.files == (path,)
    found = whole(image)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, pixels)
    image.close()


def test_booleans_become_numbers(hdf5):
    path = hdf5(mask=np.eye(5, dtype=bool))
    image = open_hdf5(path, ImageOptions())
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(whole(image), np.eye(5, dtype=np.uint8))


def test_the_only_dataset_is_the_image_and_a_note_says_so(hdf5):
    path = hdf5(deep__pixels=np.ones((5, 6), np.uint8), histogram=np.zeros(256), text="words")
    image = open_hdf5(path, ImageOptions())
    assert (image.axes, image.shapes[0]) == ("YX", (5, 6))
    assert "/deep/pixels" in image.notes[0]


def test_of_several_datasets_one_must_be_named(hdf5):
    path = hdf5(a=np.zeros((5, 6), np.uint8), b=np.zeros((2, 5, 6), np.uint16))
    text = refused(path)
    assert "/a (5, 6) uint8, /b (2, 5, 6) uint16" in text
    assert 'images.dataset = "a"' in text
    many = hdf5("many.h5", **{f"d{n:02d}": np.zeros((2, 2)) for n in range(40)})
    assert "/d11 (2, 2) float64 and more" in refused(many)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "nothing"}, "'nothing' is no data set in it; it holds /group/a (5, 6) uint8"),
        ({"dataset": "group"}, "'group' is no data set in it"),
        ({"dataset": "group/nothing"}, "has no data set group/nothing"),
        ({"dataset": "group/a/deeper"}, "has no data set group/a/deeper"),
        ({"dataset": "text"}, "holds object, not numbers"),
        ({"dataset": "line"}, "has 1 dimensions"),
        ({"dataset": "empty"}, "not numbers in an array"),
        ({"dataset": "complex"}, "holds complex64, not numbers"),
        ({"dataset": "group/a", "axes": "ZYX"}, "images.axes = 'ZYX'"),
        ({"dataset": "group/a", "axes": "YY"}, "images.axes = 'YY'"),
        ({"dataset": "link"}, "link lies in another file, gone.h5, which cannot be opened"),
    ],
)
def test_names_that_are_wrong(hdf5, options, words):
    path = hdf5(
        group__a=np.zeros((5, 6), np.uint8),
        text="words",
        line=np.zeros(4),
        empty={"data": h5py.Empty("f4")},
        complex=np.zeros((3, 3), np.complex64),
    )
    with h5py.File(path, "r+") as file:
        file["link"] = h5py.ExternalLink("gone.h5", "/a")
    assert words in refused(path, **options)


def test_no_dataset_at_all(hdf5):
    assert "holds no data set" in refused(hdf5(line=np.zeros(4)))


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("t", "c", "y", "x"), "TCYX"),
        (("Time", "Channel", "Y", "X"), "TCYX"),
        (("z", "y", "x", "s"), "ZYXC"),
    ],
)
def test_axes_by_labels(hdf5, labels, axes):
    path = hdf5(a=np.zeros((2, 3, 4, 5), np.uint8), labels=labels)
    assert open_hdf5(path, ImageOptions()).axes == axes
    assert open_hdf5(path, ImageOptions(axes="CZYX")).axes == "CZYX"


def test_axes_by_the_tags_of_ilastik(hdf5):
    tags = {"axes": [{"key": key, "typeFlags": 2, "resolution": 0} for key in "zyxc"]}
    path = hdf5(a=np.zeros((2, 3, 4, 5), np.uint8), attributes={"axistags": json.dumps(tags)})
    assert open_hdf5(path, ImageOptions()).axes == "ZYXC"
    broken = hdf5("b.h5", a=np.zeros((2, 3, 4), np.uint8), attributes={"axistags": "{"})
    assert "does not say what they are" in refused(broken)


@pytest.mark.parametrize(
    ("shape", "suggested"),
    [((3, 50, 60), "CYX"), ((30, 50, 60), "ZYX"), ((50, 60, 3), "YXC"), ((2, 3, 4, 5), "CZYX")],
)
def test_axes_that_nobody_says_are_asked_for(hdf5, shape, suggested):
    text = refused(hdf5(a=np.zeros(shape, np.uint8)))
    assert f'images.axes, for instance "{suggested}"' in text


def test_labels_that_say_nothing_are_named(hdf5):
    path = hdf5(a=np.zeros((2, 3, 4), np.uint8), labels=("q", "y", "x"))
    assert "called 'q', 'y', 'x'" in refused(path)


def test_voxels(hdf5):
    three = hdf5(a=np.zeros((5, 6)), attributes={"element_size_um": [2.0, 0.5, 0.25]})
    assert open_hdf5(three, ImageOptions()).voxel_um == (2.0, 0.5, 0.25)
    two = hdf5("b.h5", a=np.zeros((5, 6)), attributes={"element_size_um": [0.5, 0.25]})
    np.testing.assert_equal(open_hdf5(two, ImageOptions()).voxel_um, (np.nan, 0.5, 0.25))
    none = hdf5("c.h5", a=np.zeros((5, 6)), attributes={"element_size_um": "big"})
    assert np.isnan(open_hdf5(none, ImageOptions()).voxel_um).all()


@pytest.mark.parametrize("chunks", [None, (10, 10)])
def test_pixels_that_were_never_written(hdf5, chunks):
    path = hdf5(a={"shape": (100, 100), "dtype": "u2", "chunks": chunks})
    assert "none of its pixels was ever written" in refused(path)


def test_a_shape_that_is_a_lie_costs_no_memory(hdf5):
    path = hdf5(a={"shape": (2_000_000, 2_000_000), "dtype": "u2", "chunks": (64, 64)})
    assert "none of its pixels was ever written" in refused(path)


def test_chunks_that_were_never_written_are_noted(hdf5):
    path = hdf5(a={"shape": (100, 100), "dtype": "u2", "chunks": (30, 30)})
    with h5py.File(path, "r+") as file:
        file["a"][:60, :60] = 7
    image = open_hdf5(path, ImageOptions())
    image.check()
    assert "12 of its 16 chunks were never written" in image.notes[-1]


def test_small_datasets_that_lie_in_the_header(tmp_path):
    path = str(tmp_path / "compact.h5")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((4, 5))
        h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT8, space, plist)
        file["a"][...] = 9
    image = open_hdf5(path, ImageOptions())
    image.check()
    assert (whole(image) == 9).all()


def test_raw_files_beside_it_are_refused(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4, 5), "u2", external=[(str(tmp_path / "a.raw"), 0, 40)])
    assert "raw files beside it" in refused(path)


def test_a_filter_that_is_not_installed(tmp_path):
    path = str(tmp_path / "a.h5")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 5))
    plist.set_filter(32_123, h5py.h5z.FLAG_OPTIONAL, (1,))
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((4, 5))
        h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT8, space, plist)
    text = refused(path)
    assert "filter 32123" in text
    assert "pip install hdf5plugin" in text


def test_filters_of_hdf5plugin(hdf5, rng):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    pixels = rng.integers(0, 99, (90, 80)).astype("u2")
    for number, options in enumerate((hdf5plugin.Blosc(), hdf5plugin.LZ4(), hdf5plugin.Zstd())):
        path = hdf5(f"{number}.h5", a={"data": pixels, "chunks": (40, 40), **options})
        image = open_hdf5(path, ImageOptions())
        image.check()
        np.testing.assert_array_equal(whole(image), pixels)


@pytest.fixture
def virtual(tmp_path):
    """Return a function that writes a virtual data set of two planes from two files."""

    def write(planes=2, **source):
        layout = h5py.VirtualLayout((2, 4, 5), "u2", maxshape=(None, 4, 5))
        for n in range(2):
            with h5py.File(tmp_path / f"{n}.h5", "w") as file:
                file.create_dataset("d", **(source or {"data": np.full((4, 5), n + 1, "u2")}))
            if n < planes:
                layout[n] = h5py.VirtualSource(f"{n}.h5", "d", shape=(4, 5))
        path = tmp_path / "v.h5"
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("v", layout, fillvalue=0)
        return str(path)

    return write


def test_a_virtual_dataset(virtual, tmp_path, monkeypatch):
    path = virtual()
    monkeypatch.chdir("/")
    image = open_hdf5(path, ImageOptions(axes="ZYX"))
    image.check()
    assert image.notes == ("its image is /v, the only data set of two or more dimensions",)
    assert image.files == (path, str(tmp_path / "0.h5"), str(tmp_path / "1.h5"))
    np.testing.assert_array_equal(whole(image), np.full((2, 4, 5), [[[1]], [[2]]]))


def test_a_virtual_dataset_whose_file_is_gone(virtual, tmp_path):
    """HDF5 reads it as fill, without a word."""
    path = virtual()
    (tmp_path / "1.h5").unlink()
    with h5py.File(path) as file:
        assert not file["v"][1].any()
    assert f"takes pixels from {tmp_path / '1.h5'}, which is not there" in refused(path, axes="ZYX")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"planes": 1}, "20 of the 40 pixels of /v come from no file"),
        ({"data": np.zeros((3, 5), "u2")}, "0.h5, but more than the shape (3, 5) of /d holds"),
        ({"shape": (4, 5), "dtype": "u2"}, "none of its pixels was ever written"),
    ],
)
def test_virtual_datasets_with_parts_missing(virtual, options, words):
    assert words in refused(virtual(**options), axes="ZYX")


def test_a_virtual_dataset_by_a_pattern(tmp_path):
    path = str(tmp_path / "v.h5")
    unlimited = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((2, 4, 5), (unlimited, 4, 5))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space.select_hyperslab((0, 0, 0), (unlimited, 1, 1), (1, 4, 5), (1, 4, 5))
    plist.set_virtual(space, b"%b.h5", b"d", h5py.h5s.create_simple((4, 5)))
    space.select_all()
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_UINT8, space, plist)
    assert "by a pattern, %b.h5" in refused(path, axes="ZYX")


def test_a_virtual_dataset_of_a_virtual_one(virtual, tmp_path):
    inner = virtual()
    layout = h5py.VirtualLayout((2, 4, 5), "u2")
    layout[...] = h5py.VirtualSource(inner, "v", shape=(2, 4, 5))
    path = str(tmp_path / "outer.h5")
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("v", layout)
    assert "is virtual again" in refused(path, axes="ZYX")


def test_a_truncated_file(hdf5, rng):
    path = hdf5(a=rng.integers(0, 9, (200, 200)))
    size = os.path.getsize(path)  # noqa: PTH202
    os.truncate(path, size - 5000)
    assert f"is truncated: it has {size - 5000} of {size} bytes" in refused(path)


def test_every_truncation_is_found(hdf5, rng):
    pixels = rng.integers(0, 99, (60, 60)).astype("u2")
    path = hdf5(a={"data": pixels, "chunks": (20, 20), "compression": "gzip"})
    size = os.path.getsize(path)  # noqa: PTH202
    for left in range(size - 1, 0, -97):
        os.truncate(path, left)
        refused(path)


def test_bit_rot_under_a_checksum_is_found(hdf5, rng):
    pixels = rng.integers(0, 9999, (40, 40)).astype("u2")
    options = {"data": pixels, "chunks": (20, 20), "fletcher32": True, "compression": "gzip"}
    path = hdf5(a=options)
    with h5py.File(path) as file:
        chunks = [file["a"].id.get_chunk_info(n) for n in range(4)]
    with open(path, "rb") as file:  # noqa: PTH123
        good = file.read()
    for chunk in chunks:
        for at in range(chunk.byte_offset, chunk.byte_offset + chunk.size, 61):
            bad = bytearray(good)
            bad[at] ^= 0x55
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(bad)
            refused(path)


def test_any_damage_gives_the_same_pixels_or_a_sentence(tmp_path, rng):
    """In the latest format metadata have checksums; gzip has one of the pixels."""
    path = str(tmp_path / "a.h5")
    pixels = rng.integers(0, 99, (60, 60)).astype("u2")
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("a", data=pixels, chunks=(20, 20), compression="gzip")
    good = (tmp_path / "a.h5").read_bytes()
    refusals = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= rng.integers(1, 256)
        (tmp_path / "a.h5").write_bytes(bad)
        try:
            found = read_all(path)
        except SourceError:
            refusals += 1
        else:
            np.testing.assert_array_equal(found, pixels)
    assert refusals > 100


def test_bytes_that_are_no_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    refused(str(path))


def test_threads_read_the_same(hdf5, rng):
    pixels = rng.integers(0, 60_000, (256, 256)).astype("u2")
    path = hdf5(a={"data": pixels, "chunks": (32, 32), "compression": "gzip"})
    image = open_hdf5(path, ImageOptions())
    faults = []

    def read(seed):
        places = np.random.default_rng(seed).integers(0, 8, (40, 2)) * 32
        for y, x in places.tolist():
            part = (slice(y, y + 32), slice(x, x + 32))
            if not np.array_equal(image.read(0, part), pixels[part]):
                faults.append((y, x))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_file_that_somebody_writes_to_elsewhere(hdf5):
    """Locks are not asked for."""
    path = hdf5(a=np.ones((5, 6), np.uint8))
    hold = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        image = open_hdf5(path, ImageOptions())
        assert (whole(image) == 1).all()
        image.close()
        writer.communicate("\n")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_region_equals_that_of_the_array(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 20), min_size=3, max_size=3)))
    chunks = data.draw(
        st.one_of(st.none(), st.tuples(*(st.integers(1, length) for length in shape)))
    )
    pixels = np.arange(np.prod(shape), dtype="u4").reshape(shape)
    path = str(tmp_path_factory.mktemp("h") / "a.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=pixels, chunks=chunks)
    image = open_hdf5(path, ImageOptions(axes=data.draw(st.sampled_from(["ZYX", "YXC", "XZY"]))))
    assert all(1 <= s <= n for s, n in zip(image.segments[0], shape, strict=True))
    region = []
    for length in shape:
        start = data.draw(st.integers(0, length - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, length))))
    np.testing.assert_array_equal(image.read(0, tuple(region)), pixels[tuple(region)])
    image.close()


def test_a_file_of_a_server(hdf5, server, rng):
    pytest.importorskip("obstore")
    pixels = rng.integers(0, 60_000, (400, 500)).astype("u2")
    hdf5(a={"data": pixels, "chunks": (64, 64), "compression": "gzip"})
    url = f"{server.url}/a.h5"
    image = open_hdf5(url, ImageOptions())
    image.check()
    assert image.files == (url,)
    np.testing.assert_array_equal(whole(image), pixels)
    image.close()


def test_a_virtual_dataset_of_a_server_is_refused(virtual, server):
    pytest.importorskip("obstore")
    virtual()
    assert "on a mounted file system only" in refused(f"{server.url}/v.h5", axes="ZYX")


def test_a_file_that_this_process_has_open_with_a_lock(hdf5):
    path = hdf5(a=np.ones((5, 6), np.uint8))
    with h5py.File(path):
        assert (whole(open_hdf5(path, ImageOptions())) == 1).all()


def test_without_h5py(hdf5, monkeypatch):
    path = hdf5(a=np.ones((5, 6)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SourceError, match=r"pip install 'patchmill\[hdf5\]'"):
        open_hdf5(path, ImageOptions())


def test_a_chunk_larger_than_its_data_set(hdf5):
    """A data set that may grow has such chunks, and they are decoded whole."""
    value = {"data": np.zeros((8, 8), np.uint8), "chunks": (4096, 4096), "maxshape": (None, None)}
    path = hdf5(a=value)
    assert read_all(path).shape == (8, 8)
    assert "hold 16777216 bytes each" in refused(path, max_segment_bytes=1 << 20)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize(("field", "value"), [(0, 0), (0, 0xFFFFFFF0), (24, 1 << 40)])
def test_chunks_that_do_not_lie_in_the_file(tmp_path, checksum, field, value):
    """HDF5 crashes on a checksum of nothing, and takes memory for whatever length is written."""
    path = tmp_path / "a.h5"
    data = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "a", data=data, chunks=(16, 16), compression="gzip", fletcher32=checksum
        )
        chunk = made.id.get_chunk_info(5)
    np.testing.assert_array_equal(read_all(str(path)), data)
    content = bytearray(path.read_bytes())
    # A key of the chunks' tree: length, mask, three offsets; then where the chunk is.
    key = struct.pack("<IIQQQQ", chunk.size, 0, *chunk.chunk_offset, 0, chunk.byte_offset)
    assert content.count(key) == 1
    place = content.index(key) + (32 if field else 0)
    struct.pack_into("<Q" if field else "<I", content, place, value)
    path.write_bytes(content)
    assert "it is truncated or damaged" in refused(str(path))


def test_small_chunks_are_whole(hdf5):
    """A chunk of one byte is not less than it must be."""
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_all(hdf5(a={"data": data, "chunks": (1, 1)})), data)

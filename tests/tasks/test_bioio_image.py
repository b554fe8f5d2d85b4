"""What bioio opens: TIFFs here, whose pixels tifffile tells; CZI where its packages are there."""

import sys
import threading

import dask
import numpy as np
import pytest
import tifffile

from patchmill.tasks.bioio_image import open_bioio
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming

bioio = pytest.importorskip("bioio")
pytest.importorskip("bioio_tifffile")


def whole(image, level=0):
    return image.read(level, tuple(slice(0, length) for length in image.shapes[level]))


def refused(path, **options):
    with pytest.raises(SourceError) as caught, naming(str(path), "be opened"):
        whole(open_bioio(str(path), ImageOptions(**options)))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.fixture
def stack(tmp_path, rng):
    """The path and the pixels (t, c, z, y, x) of a hyperstack."""
    pixels = rng.integers(0, 60_000, (2, 3, 4, 50, 60)).astype(np.uint16)
    path = tmp_path / "a.tif"
    ordered = pixels.swapaxes(1, 2)  # ImageJ's order is TZCYX
    metadata = {"axes": "TZCYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(path, ordered, imagej=True, resolution=(4, 2), metadata=metadata)
    return path, pixels


def test_a_hyperstack(stack):
    path, pixels = stack
    image = open_bioio(str(path), ImageOptions())
    image.check()
    assert image.axes == "TCZYX"
    assert image.shapes == (pixels.shape,)
    assert image.dtype == np.uint16
    assert len(image.channels) == 3
    np.testing.assert_allclose(image.voxel_um, (2.0, 0.5, 0.25))
    assert "micrometres" in image.notes[0]
    np.testing.assert_array_equal(whole(image), pixels)
    (segment,) = image.segments
    region = tuple(slice(n - s, n) for n, s in zip(pixels.shape, segment, strict=True))
    np.testing.assert_array_equal(image.read(0, region), pixels[region])
    image.close()


def test_axes_that_the_recipe_corrects(stack):
    path, pixels = stack
    image = open_bioio(str(path), ImageOptions(axes="ZCTYX"))
    assert (image.axes, image.channels) == ("ZCTYX", ())
    np.testing.assert_array_equal(whole(image), pixels)
    assert "images.axes = 'YX'" in refused(path, axes="YX")


def test_nothing_is_computed_elsewhere(stack):
    """A worker of Dask would else send it to the scheduler whose task it is."""
    path, pixels = stack
    image = open_bioio(str(path), ImageOptions())

    def elsewhere(*args, **kwargs):
        pytest.fail("went to another scheduler")

    with dask.config.set(scheduler=elsewhere):
        np.testing.assert_array_equal(whole(image), pixels)


def test_threads_read_the_same(stack):
    path, pixels = stack
    image = open_bioio(str(path), ImageOptions())
    found = [None] * 4

    def read(number):
        found[number] = whole(image)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pixels_of_one in found:
        np.testing.assert_array_equal(pixels_of_one, pixels)


def test_samples_of_a_pixel_are_channels(tmp_path, rng):
    pixels = rng.integers(0, 255, (50, 60, 3)).astype(np.uint8)
    path = tmp_path / "rgb.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    image = open_bioio(str(path), ImageOptions())
    assert image.axes == "TZYXC"
    assert image.channels == ("R", "G", "B")
    np.testing.assert_array_equal(whole(image)[0, 0], pixels)


def test_samples_beside_channels_are_refused(tmp_path, rng):
    pixels = rng.integers(0, 255, (2, 50, 60, 3)).astype(np.uint8)
    path = tmp_path / "both.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", metadata={"axes": "CYXS"})
    assert "both channels (C) and samples" in refused(path)


@pytest.fixture
def scenes(tmp_path, rng):
    path = tmp_path / "scenes.tif"
    pixels = [rng.integers(0, 255, (40 + n, 60)).astype(np.uint8) for n in range(3)]
    with tifffile.TiffWriter(path) as tif:
        for page in pixels:
            tif.write(page)
    return path, pixels


def test_a_scene_by_number_or_name(scenes):
    path, pixels = scenes
    names = bioio.BioImage(str(path)).scenes
    assert len(names) == 3
    for number, (name, page) in enumerate(zip(names, pixels, strict=True)):
        for wanted in (str(number), name):
            image = open_bioio(str(path), ImageOptions(dataset=wanted))
            np.testing.assert_array_equal(whole(image)[0, 0, 0], page)


def test_of_several_scenes_one_must_be_named(scenes):
    path, _ = scenes
    text = refused(path)
    assert "holds 3 scenes: 0 'Image:0', 1 'Image:1', 2 'Image:2'; choose one" in text
    assert "images.dataset = '7' is not one of them" in refused(path, dataset="7")


def test_a_kind_that_nobody_reads(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    assert "pip install bioio and the plug-in for it" in refused(path)


def test_a_plug_in_that_is_not_installed(tmp_path):
    path = tmp_path / "a.oir"
    path.write_bytes(b"OLYMPUSRAWFORMAT")
    assert "pip install bioio bioio-bioformats" in refused(path)


def test_a_damaged_file(stack):
    path, _ = stack
    path.write_bytes(path.read_bytes()[:3000])
    refused(path)


def test_a_url_is_refused():
    with pytest.raises(SourceError, match="copy it there"):
        open_bioio("s3://bucket/a.czi", ImageOptions())


def test_without_bioio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    assert "pip install bioio bioio-czi," in refused(tmp_path / "a.czi")


def test_czi(tmp_path, rng):
    czi = pytest.importorskip("pylibCZIrw.czi")
    pytest.importorskip("bioio_czi")
    path = tmp_path / "a.czi"
    pixels = rng.integers(0, 60_000, (2, 3, 4, 50, 60)).astype(np.uint16)
    with czi.create_czi(str(path)) as file:
        for t, c, z in np.ndindex(pixels.shape[:3]):
            file.write(pixels[t, c, z][..., None], plane={"T": t, "C": c, "Z": z})
        scales = {"scale_x": 1e-7, "scale_y": 2e-7, "scale_z": 5e-7}
        names = {0: "DAPI", 1: "GFP", 2: "RFP"}
        file.write_metadata(document_name="a", channel_names=names, **scales)
    image = open_bioio(str(path), ImageOptions())
    image.check()
    assert (image.axes, image.channels) == ("TCZYX", ("DAPI", "GFP", "RFP"))
    np.testing.assert_allclose(image.voxel_um, (0.5, 0.2, 0.1))
    assert "micrometres" in image.notes[0]
    np.testing.assert_array_equal(whole(image), pixels)

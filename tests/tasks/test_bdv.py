"""BigDataViewer and BigStitcher, made by hand as https://imagej.net/plugins/bdv/ says."""

import h5py
import numpy as np
import pytest

from patchmill.tasks.hdf5_image import open_hdf5
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming

SIZES = ((6, 50, 70), (6, 25, 35))
#: Two channels of one tile; the ids of channels are not in the order of the setups.
CHANNELS = ({"channel": 5, "tile": 0}, {"channel": 2, "tile": 0})
TILES = ({"channel": 0, "tile": 0}, {"channel": 0, "tile": 1})


def xml_of(name, setups, last=1, unit="nm", voxel="100 200 3000", registered=False):
    names = "".join(
        f"<Channel><id>{s['channel']}</id><name>dye {s['channel']}</name></Channel>" for s in setups
    )
    views = "".join(
        f"<ViewSetup><id>{n}</id><name>setup {n}</name>"
        f"<voxelSize><unit>{unit}</unit><size>{voxel}</size></voxelSize><attributes>"
        + "".join(f"<{kind}>{number}</{kind}>" for kind, number in setup.items())
        + "</attributes></ViewSetup>"
        for n, setup in enumerate(setups)
    )
    transforms = "".join(
        f'<ViewRegistration timepoint="0" setup="{n}"><ViewTransform type="affine"><affine>'
        f"1 0 0 {n if registered else 0} 0 1 0 0 0 0 1 0"
        "</affine></ViewTransform></ViewRegistration>"
        for n in range(len(setups))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><SpimData version="0.2">'
        '<BasePath type="relative">.</BasePath><SequenceDescription>'
        f'<ImageLoader format="bdv.hdf5"><hdf5 type="relative">{name}</hdf5></ImageLoader>'
        f'<ViewSetups>{views}<Attributes name="channel">{names}</Attributes></ViewSetups>'
        f'<Timepoints type="range"><first>0</first><last>{last}</last></Timepoints>'
        f"</SequenceDescription><ViewRegistrations>{transforms}</ViewRegistrations></SpimData>"
    )


@pytest.fixture
def pixels(rng):
    """Of each level, axes (t, setup, z, y, x); many of them above 32767."""
    found = [rng.integers(0, 65_536, (2, 2, *size)).astype(np.uint16) for size in SIZES]
    assert (found[0] > 32_767).any()
    return found


@pytest.fixture
def bdv(tmp_path, pixels):
    """Return a function that writes two time points of some setups and returns the path."""

    def write(setups=CHANNELS, change=lambda file: None, xml=None, **about):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        path = folder / "a.h5"
        with h5py.File(path, "w") as file:
            for s in range(len(setups)):
                file[f"s{s:02d}/resolutions"] = np.array([[1, 1, 1], [2, 2, 1]], float)
                file[f"s{s:02d}/subdivisions"] = np.array([[16, 16, 4], [16, 16, 4]], np.int32)
                for level, data in enumerate(pixels):
                    for t in range(2):
                        file.create_dataset(
                            f"t{t:05d}/s{s:02d}/{level}/cells",
                            data=data[t, s].view(np.int16),
                            chunks=(4, 16, 16),
                            compression="gzip",
                        )
            change(file)
        if xml is None:
            xml = xml_of("a.h5", setups, **about)
        if xml:
            path.with_suffix(".xml").write_text(xml, encoding="utf-8")
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
    with pytest.raises(SourceError) as caught:
        read_all(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_setups_that_differ_in_channel_are_channels(bdv, pixels):
    path = bdv()
    image = open_hdf5(path, ImageOptions())
    image.check()
    assert image.axes == "TCZYX"
    assert image.shapes == tuple(data.shape for data in pixels)
    assert image.segments == ((1, 1, 4, 16, 16),) * 2
    assert image.dtype == np.uint16
    assert image.channels == ("dye 2", "dye 5")
    assert image.voxel_um == (3.0, 0.2, 0.1)
    assert image.notes == ()
    assert image.files == (path, path.replace(".h5", ".xml"))
    for level, data in enumerate(pixels):
        np.testing.assert_array_equal(whole(image, level), data[:, ::-1])
    region = (slice(1, 2), slice(0, 1), slice(4, 6), slice(16, 48), slice(64, 70))
    np.testing.assert_array_equal(image.read(0, region), pixels[0][:, ::-1][region])
    image.close()


@pytest.mark.parametrize("setup", [0, 1])
def test_one_setup_is_chosen(bdv, pixels, setup):
    for path in (bdv(TILES), bdv(TILES, xml="")):
        image = open_hdf5(path, ImageOptions(dataset=f"s{setup:02d}"))
        image.check()
        np.testing.assert_array_equal(whole(image), pixels[0][:, setup : setup + 1])


def test_one_setup_without_an_xml(bdv, pixels):
    path = bdv(({"channel": 0},), xml="")
    image = open_hdf5(path, ImageOptions())
    np.testing.assert_array_equal(whole(image), pixels[0][:, :1])
    assert np.isnan(image.voxel_um).all()
    assert image.channels == ()
    assert image.files == (path,)


def test_registered_channels_are_noted(bdv):
    (note,) = open_hdf5(bdv(registered=True), ImageOptions()).notes
    assert "registered" in note


@pytest.mark.parametrize(
    ("unit", "voxel"),
    [("um", (3000, 200, 100)), ("micrometer", (3000, 200, 100)), ("pixel", (np.nan,) * 3)],
)
def test_units(bdv, unit, voxel):
    np.testing.assert_equal(open_hdf5(bdv(unit=unit), ImageOptions()).voxel_um, voxel)


def test_pixels_that_are_stored_as_they_are(bdv, rng):
    """Newer programs store uint16 and other types by their own name."""

    def change(file):
        for name in [f"t{t:05d}/s00/{level}/cells" for t in range(2) for level in range(2)]:
            shape = file[name].shape
            del file[name]
            file[name] = np.full(shape, 40_000, np.uint16)

    image = open_hdf5(bdv(({"channel": 0},), change), ImageOptions())
    image.check()
    assert image.segments[0] == (1, 1, 1, 50, 70)
    assert (whole(image) == 40_000).all()


def test_axes_that_the_recipe_corrects(bdv, pixels):
    image = open_hdf5(bdv(), ImageOptions(axes="ZCTYX"))
    assert (image.axes, image.channels, len(image.shapes)) == ("ZCTYX", (), 1)
    np.testing.assert_array_equal(whole(image), pixels[0][:, ::-1])


def delete(*names):
    def change(file):
        for name in names:
            del file[name]

    return change


def replace(name, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, **options)

    return change


CELLS = "t00001/s01/0/cells"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"setups": TILES}, "2 view setups: s00 (channel 0, tile 0), s01 (channel 0, tile 1)"),
        ({"xml": ""}, "no XML beside it says whether they are channels"),
        ({"setups": ({"channel": 0}, {"channel": 0})}, 'images.dataset = "s00"'),
        ({"last": 2}, "s01 has no pixels at time point 2"),
        ({"last": 10**9}, "time points 0 to 1000000000"),
        ({"change": delete("t00001/s00")}, "s00 has no pixels at time point 1"),
        ({"change": delete(CELLS)}, f"has no data set {CELLS}"),
        (
            {"change": replace(CELLS, data=np.zeros((6, 50, 71), np.int16))},
            "is int16 of shape (6, 50, 71), but",
        ),
        ({"change": replace(CELLS, data=np.zeros((6, 50, 70), np.uint8))}, "is uint8 of shape"),
        (
            {"change": replace(CELLS, shape=(6, 50, 70), dtype="i2", chunks=(1, 10, 10))},
            "none of its pixels was ever written",
        ),
        ({"change": delete("s00/resolutions")}, "has no data set s00/resolutions"),
        (
            {"change": replace("s00/resolutions", data=[[1, 1, 1]])},
            "levels of its channels are not alike (x, y, z): [[[1.0, 1.0, 1.0], [2.0, 2.0, 1.0]]",
        ),
        ({"xml": "<SpimData"}, "cannot read the XML of the views"),
        ({"xml": xml_of("other.h5", CHANNELS)}, "belongs to other.h5"),
        ({"voxel": "one two three"}, "cannot read the XML of the views"),
    ],
)
def test_what_is_missing_or_contradicts(bdv, options, words):
    assert words in refused(bdv(**options))


@pytest.mark.parametrize("name", ["s02", "0", "t00000/s00/0/cells"])
def test_a_setup_that_is_not_there(bdv, name):
    assert "its view setups are s00 (channel 5, tile 0), s01" in refused(bdv(), dataset=name)


def test_a_server(bdv, pixels, server):
    pytest.importorskip("obstore")
    bdv()
    url = f"{server.url}/0/a.h5"
    image = open_hdf5(url, ImageOptions())
    image.check()
    assert image.files == (url, f"{server.url}/0/a.xml")
    assert image.voxel_um == (3.0, 0.2, 0.1)
    np.testing.assert_array_equal(whole(image), pixels[0][:, ::-1])
    image.close()
    bdv(({"channel": 0},), xml="")
    image = open_hdf5(f"{server.url}/1/a.h5", ImageOptions())
    assert np.isnan(image.voxel_um).all()
    image.close()


def test_views_in_files_of_their_own(bdv, pixels):
    """As BigStitcher writes them from a cluster: the first file only has links."""
    path = bdv()
    part = path.replace("a.h5", "a-01-00.h5")
    with h5py.File(path, "r+") as file, h5py.File(part, "w") as other:
        file.copy("t00001", other)
        for s, level in np.ndindex(2, 2):
            name = f"t00001/s{s:02d}/{level}/cells"
            del file[name]
            file[name] = h5py.ExternalLink("a-01-00.h5", name)
    image = open_hdf5(path, ImageOptions())
    image.check()
    assert image.files == (path, part, path.replace(".h5", ".xml"))
    np.testing.assert_array_equal(whole(image), pixels[0][:, ::-1])
    image.close()
    with h5py.File(part, "r+") as other:
        del other["t00001"]
    assert "lies in another file, a-01-00.h5" in refused(path)

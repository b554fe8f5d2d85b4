"""TIFFs behind a URL: the same pixels, in requests for what is needed."""

import numpy as np
import pytest
import tifffile

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError
from patchmill.tasks.tiff import open_tiff

pytest.importorskip("obstore")
OPTIONS = ImageOptions()


@pytest.fixture
def stack(rng):
    return rng.integers(0, 999, (3, 64, 96)).astype("uint16")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("raw.tif", {"rowsperstrip": 8}),
        ("strips.ome.tif", {"rowsperstrip": 1, "compression": "zlib"}),
        ("tiles.ome.tif", {"tile": (16, 16), "compression": "zlib"}),
    ],
)
def test_it_reads_as_a_file_does(tmp_path, server, stack, name, options):
    path = tmp_path / name
    metadata = {"axes": "ZYX"}
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata, **options)
    url = f"{server.url}/{name}"
    image = open_tiff(url, OPTIONS)
    try:
        image.check()
        assert (image.axes, image.shapes, image.files) == ("ZYX", (stack.shape,), (url,))
        server.requests.clear()
        found = image.read(0, (slice(1, 2), slice(16, 48), slice(0, 96)))
        np.testing.assert_array_equal(found[0], stack[1, 16:48])
        # Strips that lie one after another are one request, and so are rows of raw ones.
        if "tile" not in options:
            assert len(server.requests) <= 2
    finally:
        image.close()


def test_a_set_of_several_files_is_read_from_file_systems(tmp_path, server, stack):
    """A URL has no folder that could be looked into."""
    planes = "".join(
        f'<TiffData FirstZ="{n}" IFD="0" PlaneCount="1"><UUID FileName="z{n}.ome.tif">urn:uuid:{n}'
        "</UUID></TiffData>"
        for n in range(2)
    )
    for number in range(2):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{number}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="96" SizeY="64" SizeZ="2" SizeC="1" '
            f'SizeT="1">{planes}</Pixels></Image></OME>'
        )
        path = tmp_path / f"z{number}.ome.tif"
        tifffile.imwrite(path, stack[number], description=xml, metadata=None)
    with pytest.raises(SourceError, match=r"z1\.ome\.tif"):
        open_tiff(f"{server.url}/z0.ome.tif", OPTIONS)

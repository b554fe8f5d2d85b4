"""The survey of any image: which reader opens it, what a reader may say, and the limits."""

import os

import numpy as np
import pytest
import tifffile

from patchmill.tasks import opened
from patchmill.tasks.image import ArrayImage, ImageOptions
from patchmill.tasks.opened import OpenImage
from patchmill.tasks.source import SourceError
from patchmill.tasks.survey import describe, survey_files

PIXELS = np.arange(2 * 3 * 40 * 50, dtype="uint16").reshape(2, 3, 40, 50)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a function that makes `images.reader` of a function's source."""

    def make(text):
        folder = tmp_path / "modules"
        folder.mkdir()
        name = f"own_reader_{os.urandom(4).hex()}"
        (folder / f"{name}.py").write_text(
            "import numpy as np\nfrom patchmill.tasks.image import ArrayImage\n"
            f"def open_mine(path):\n    {text}\n"
        )
        monkeypatch.syspath_prepend(str(folder))
        (tmp_path / "a.xyz").write_bytes(PIXELS.tobytes())
        return str(tmp_path / "a.xyz"), ImageOptions(reader=f"{name}:open_mine")

    return make


def test_a_function_of_the_user(own):
    path, options = own(
        "return ArrayImage([np.fromfile(path, 'u2').reshape(2, 3, 40, 50)], 'ZCYX', "
        "channels=('a', 'b', 'c'), voxel_um=(2, .5, .25), segments=[(1, 1, 8, 50)], notes=['ours'])"
    )
    info = describe(path, options)
    assert info.shape == (1, 3, 2, 40, 50)
    assert info.channels == ("a", "b", "c")
    assert info.voxel_um == (2, 0.5, 0.25)
    assert info.dtype == "uint16"
    assert info.notes == ("ours",)
    assert info.levels[0].segment == (1, 1, 1, 8, 50)
    image = OpenImage(path, options)
    region = (slice(0, 1), slice(1, 3), slice(1, 2), slice(8, 24), slice(0, 50))
    got = image.read(0, 0, region)
    np.testing.assert_array_equal(got[0, :, 0], PIXELS[1, 1:3, 8:24])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise RuntimeError('no such thing')", "cannot be opened; .*RuntimeError: no such thing"),
        ("return ArrayImage([np.zeros((3, 4, 5))], 'QYX')", "its reader says axes 'QYX'"),
        ("return ArrayImage([np.zeros((3, 4, 5))], 'YX')", r"axes 'YX' are not those of .* \(3, 4"),
        ("return ArrayImage([np.zeros((0, 5))], 'YX')", "holds no image"),
        ("return ArrayImage([np.zeros((4, 5), complex)], 'YX')", "has pixels of type complex128"),
        ("return 3", r"cannot be opened; .*AttributeError"),
        (
            "return ArrayImage([np.zeros((4, 5)), np.zeros((4, 6))], 'YX')",
            r"its levels do not belong together: \(1, 1, 1, 1, 4, 5\), then",
        ),
    ],
)
def test_what_a_function_of_the_user_gets_wrong(own, text, sentence):
    path, options = own(text)
    with pytest.raises(SourceError, match=rf"a\.xyz: .*{sentence}"):
        describe(path, options)


@pytest.mark.parametrize("name", ["no_such_module:open", "json:no_such_function"])
def test_a_function_that_is_not_there(tmp_path, name):
    (tmp_path / "a.xyz").write_bytes(b"1")
    with pytest.raises(SourceError, match=rf"images\.reader: {name} cannot be imported"):
        describe(str(tmp_path / "a.xyz"), ImageOptions(reader=name))


class Liar(ArrayImage):
    def read(self, level, region):
        return super().read(level, region)[..., :-1]


def test_a_reader_that_returns_something_else(tmp_path, monkeypatch):
    (tmp_path / "a.xyz").write_bytes(b"1")
    monkeypatch.setattr(opened, "open_image", lambda path, options: Liar([PIXELS[0, 0]], "YX"))
    image = OpenImage(str(tmp_path / "a.xyz"), ImageOptions())
    whole = (*[slice(0, 1)] * 3, slice(0, 40), slice(0, 50))
    sentence = r"a\.xyz: cannot read its pixels; .* \(rows 0 to 40, columns 0 to 50 of level 0"
    with pytest.raises(SourceError, match=sentence):
        image.read(0, 0, whole)


def test_it_is_what_it_begins_with(tmp_path):
    """Whatever it is called."""
    tifffile.imwrite(tmp_path / "a.png", PIXELS[0, 0])
    assert describe(str(tmp_path / "a.png"), ImageOptions()).shape == (1, 1, 1, 40, 50)
    np.save(tmp_path / "b.npy", PIXELS[0, 0])
    (tmp_path / "b.npy").rename(tmp_path / "b.tif")
    assert describe(str(tmp_path / "b.tif"), ImageOptions()).shape == (1, 1, 1, 40, 50)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "is empty; leave it out"), (b"some text", "")]
)
def test_what_is_no_image(tmp_path, content, sentence):
    (tmp_path / "a.tif").write_bytes(content)
    (answer,) = survey_files([str(tmp_path / "a.tif")], ImageOptions(), False)
    assert isinstance(answer, str)
    assert answer.startswith(f"{tmp_path}/a.tif: {sentence}")
    assert "\n" not in answer


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "a.tif"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    (answer,) = survey_files([str(path)], ImageOptions(), False)
    assert isinstance(answer, str)
    assert answer.startswith(f"{path}: ")


def test_more_pixels_than_the_recipe_allows(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0])
    assert describe(str(path), ImageOptions(max_pixels=2000))
    with pytest.raises(SourceError, match=r"40 x 50 pixels, more than images\.max_pixels = 1999"):
        describe(str(path), ImageOptions(max_pixels=1999))


def test_segments_that_are_too_large(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], compression="zlib", rowsperstrip=40)
    assert describe(str(path), ImageOptions(max_segment_bytes=4000))
    with pytest.raises(SourceError, match=r"hold 4000 bytes each, more than images\.max_segment"):
        describe(str(path), ImageOptions(max_segment_bytes=3999))


def test_each_along_n_is_an_image(tmp_path, described):
    path = tmp_path / "a.npy"
    np.save(path, PIXELS)
    info = describe(str(path), ImageOptions(axes="NCYX"))
    assert info.items == ("0", "1")
    assert info.shape == (1, 3, 1, 40, 50)
    for item in range(2):
        (got,) = described(path, "NCYX", item=item).read(0, 0, [(3, 9, 4, 11)])
        np.testing.assert_array_equal(got, PIXELS[item, :, 3:9, 4:11])


def test_reading_that_takes_too_long(tmp_path, described):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], tile=(16, 16))
    with pytest.raises(SourceError, match=r"took longer than images\.max_seconds = 1e-09"):
        described(path, max_seconds=1e-9).read(0, 0, [(0, 40, 0, 50)])

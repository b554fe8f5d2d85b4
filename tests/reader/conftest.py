"""Stores of format 1 written by zarr-python itself: a writer that shares no code with ours."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec


@dataclasses.dataclass
class Written:
    """A store and the pixels that it was made of."""

    path: Path
    pixels: NDArray[Any]

    def shard(self, number: int) -> Path:
        return self.path / f"image/c.{number}.0.0.0"

    def edit(self, change: Callable[[dict[str, Any]], object], file: str = "zarr.json") -> None:
        """Change a zarr.json in place; of the root's, only what patchmill wrote."""
        content = json.loads((self.path / file).read_text())
        change(content["attributes"]["patchmill"] if file == "zarr.json" else content)
        (self.path / file).write_text(json.dumps(content))


def write_store(
    path: Path,
    *,
    rows: int = 37,
    shape: tuple[int, ...] = (2, 12, 10),
    dtype: str = "uint16",
    codec: str = "lz4",
    rows_per_shard: int = 8,
    splits: dict[str, int] | None = None,
    void: Sequence[int] = (),
    seed: int = 7,
    **attributes: Any,
) -> Written:
    rng = np.random.default_rng(seed)
    pixels = (rng.poisson(200, (rows, *shape)) % 250).astype(dtype)
    pixels[rows // 2] = 0  # a chunk that is all fill value must be there too
    sizes = splits or {"train": rows}
    stops = np.cumsum([0, *sizes.values()]).tolist()
    channels = [f"c{number}" for number in range(shape[0])]
    ranges = {name: [a, b] for name, a, b in zip(sizes, stops, stops[1:], strict=False)}
    own: dict[str, Any] = {
        "format": 1,
        "complete": True,
        "plan": "0" * 64,
        "recipe": {},
        "software": {},
        "axes": ["c", "y", "x"],
        "channels": channels,
        "voxel_um": {"nominal": None},
        "fields": ["image"],
        "splits": ranges,
        "void": len(void),
        "statistics": {
            name: _statistics(pixels[[r for r in range(a, b) if r not in void]], channels)
            for name, (a, b) in ranges.items()
        },
        "sha256": {},
    }
    group = zarr.open_group(str(path), mode="w", attributes={"patchmill": own | attributes})
    blosc = BloscCodec(
        typesize=pixels.itemsize,
        cname=codec if codec != "none" else "lz4",
        clevel=5,
        shuffle="shuffle" if pixels.itemsize > 1 else "noshuffle",
        blocksize=0,
    )
    array = group.create_array(
        "image",
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(1, *shape),
        shards=(rows_per_shard, *shape),
        compressors=[Crc32cCodec()] if codec == "none" else [blosc, Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=["patch", "c", "y", "x"],
        config={"write_empty_chunks": True},
    )
    if void:
        for row in sorted(set(range(rows)) - set(void)):
            array[row] = pixels[row]
    else:
        array[:] = pixels
    index = group.create_group("index")
    columns = {
        "valid": np.isin(np.arange(rows), list(void), invert=True),
        "x": np.arange(rows, dtype=np.int64) * 3,
        "split": np.repeat(np.arange(len(sizes)), list(sizes.values())).astype(np.uint8),
    }
    for name, column in columns.items():
        index.create_array(name, shape=column.shape, dtype=column.dtype)[:] = column
    index["split"].attrs["names"] = list(sizes)
    images = group.create_group("images")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*vlen-utf8")  # zarr-python before 3.1
        images.create_array("path", shape=(2,), dtype=str)[:] = np.array(["a.tif", "b.tif"], object)
    written = Written(path, pixels)
    if pixels.itemsize == 1:  # zarr-python before 3.1 notes an order of bytes here too
        written.edit(
            lambda meta: meta["codecs"][0]["configuration"]["codecs"][0].pop("configuration", None),
            "image/zarr.json",
        )
    return written


def _statistics(pixels: NDArray[Any], channels: list[str]) -> dict[str, dict[str, float | None]]:
    result: dict[str, dict[str, float | None]] = {}
    for number, name in enumerate(channels):
        values = pixels[:, number].astype(np.float64)
        some = values.size > 0
        result[name] = {
            "count": values.size,
            "mean": values.mean() if some else None,
            "std": values.std() if some else None,
            "min": values.min() if some else None,
            "max": values.max() if some else None,
        }
    return result


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A store of 37 patches in three splits, not to be changed."""
    return write_store(
        tmp_path_factory.mktemp("plain") / "train.zarr", splits={"train": 21, "val": 6, "test": 10}
    )


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Written]:
    """Return `write_store` into a folder of this test."""
    return lambda **options: write_store(tmp_path / "train.zarr", **options)


@pytest.fixture
def reader_work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of that name, which worker processes can import too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("reader_work")


@pytest.fixture
def workers() -> Callable[[], list[psutil.Process]]:
    """Return a function that names this process's worker processes, dead ones not collected too."""

    def found() -> list[psutil.Process]:
        children = psutil.Process().children()
        return [each for each in children if "patchmill.reader.worker" in _command(each)]

    return found


@pytest.fixture
def nothing_left(
    plain: Written,  # written by zarr-python, whose event loop has sockets of its own from then on
    workers: Callable[[], list[psutil.Process]],
    reader_threads: Callable[[], list[str]],
) -> Iterator[Callable[[], None]]:
    """Return a check that loaders have left no thread, process, descriptor or shared memory."""
    gc.collect()
    before = _descriptors()

    def check() -> None:
        assert reader_threads() == []
        assert workers() == []
        assert "memfd:patchmill" not in Path("/proc/self/maps").read_text()
        assert [name for name in _descriptors() if name not in before] == []

    check()
    yield check
    check()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or "patchmill.reader.worker"  # a zombie's is empty
    except psutil.NoSuchProcess:
        return ""


def _descriptors() -> list[str]:
    """Return what this process's descriptors are of, but for maps of shards and for pipes."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = str(link.readlink())
        except FileNotFoundError:  # the one of this listing
            continue
        if "memfd" in name or "socket" in name:
            names.append(name)
    return names


@pytest.fixture
def reader_threads() -> Callable[[], list[str]]:
    """Return a function that names the loaders' threads that are alive."""
    return lambda: [t.name for t in threading.enumerate() if t.name.startswith("patchmill-reader")]


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Written]:
    """Return `write_store` into a folder of its own each time."""
    return lambda **options: write_store(tmp_path_factory.mktemp("new") / "train.zarr", **options)


@pytest.fixture(scope="session")
def add_columns() -> Callable[..., None]:
    """Return a function that adds columns to `index` or `images` of a store, or replaces them."""

    def add(
        store: Path, group: str, names: dict[str, list[str]] | None = None, /, **columns: Any
    ) -> None:
        opened = zarr.open_group(str(store / group), mode="r+")
        for name, values in columns.items():
            column = np.asarray(values)
            if column.dtype.kind in "UO":
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=".*vlen-utf8")
                    array = opened.create_array(name, shape=column.shape, dtype=str, overwrite=True)
                    array[:] = column.astype(object)
            else:
                array = opened.create_array(
                    name, shape=column.shape, dtype=column.dtype, overwrite=True
                )
                array[...] = column
            if names and name in names:
                array.attrs["names"] = names[name]

    return add


@pytest.fixture(scope="session")
def consolidate() -> Callable[[Path], None]:
    """Return a function that writes consolidated metadata, which remote stores need."""

    def write(store: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*onsolidated metadata")
            warnings.filterwarnings("ignore", message=".*vlen-utf8")
            zarr.consolidate_metadata(str(store))

    return write

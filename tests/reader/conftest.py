"""Stores of format 1 written by zarr-python itself: a writer that shares no code with ours."""

from __future__ import annotations

import dataclasses
import json
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    **attributes: Any,
) -> Written:
    rng = np.random.default_rng(7)
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
def reader_threads() -> Callable[[], list[str]]:
    """Return a function that names the loaders' threads that are alive."""
    return lambda: [t.name for t in threading.enumerate() if t.name.startswith("patchmill-reader")]

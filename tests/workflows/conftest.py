"""Real TIFFs, a cluster of two processes, and the plain loop that stores are compared with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from numpy.typing import NDArray

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.workflows import Outcome, Recipe, prepare

#: Seconds within which anything that a test waits for must happen.
DEADLINE = 60.0


@pytest.fixture(scope="session", autouse=True)
def survey_cache(tmp_path_factory) -> Iterator[Path]:
    """Keep what tests survey out of the user's cache."""
    folder = tmp_path_factory.mktemp("survey-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATCHMILL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def client(survey_cache):
    """A cluster of two worker processes that all tests share which do not kill it."""
    with local_cluster(workers=2, dashboard="127.0.0.1:0") as started:
        yield started


@pytest.fixture
def cut(client, tmp_path) -> Callable[..., Outcome]:
    """Return `prepare` of nested tables in this test's folder, on the shared cluster."""

    def run(tables: Mapping[str, Any], store: str = "s.zarr", **options: Any) -> Outcome:
        recipe = Recipe.from_dict(tables, options.pop("folder", tmp_path))
        return prepare(recipe, tmp_path / store, client=client, **options)

    return run


@pytest.fixture(scope="session")
def noise() -> Callable[..., NDArray[Any]]:
    """Return a function that makes pixels in which no two windows are alike."""

    def make(*shape: int, seed: int = 0, dtype: str = "uint16") -> NDArray[Any]:
        rng = np.random.default_rng(seed)
        if np.dtype(dtype).kind == "f":
            return rng.normal(100, 30, shape).astype(dtype)
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    return make


@pytest.fixture
def plate(tmp_path, noise) -> Callable[..., dict[str, NDArray[Any]]]:
    """Return a function that writes a plate, one file per channel, and returns what it holds."""

    def write(
        wells: str = "ABCD",
        *,
        shape: tuple[int, int] = (64, 80),
        channels: int = 2,
        folder: Path = tmp_path,
        seed: int = 0,
        **options: Any,
    ) -> dict[str, NDArray[Any]]:
        images = {}
        folder.mkdir(parents=True, exist_ok=True)
        for number, well in enumerate(wells):
            pixels = noise(1, channels, 1, *shape, seed=seed * 1000 + number)
            for channel in range(channels):
                path = folder / f"{well}01_w{channel + 1}.tif"
                tifffile.imwrite(path, pixels[0, channel, 0], rowsperstrip=16, **options)
            images[f"well={well}01"] = pixels
        return images

    return write


@pytest.fixture(scope="session")
def plate_tables() -> Callable[..., dict[str, Any]]:
    """Return the recipe of such a plate, with more or other keys by table."""

    def make(**tables: Any) -> dict[str, Any]:
        recipe: dict[str, Any] = {
            "images": {
                "paths": ["*.tif"],
                "pattern": r"(?P<well>[A-Z]\d\d)_w(?P<channel>\d)",
                "group": ["well"],
            },
            "patches": {"size": [16, 16]},
            "store": {"shard_bytes": "5 kB"},
        }
        for name, keys in tables.items():
            recipe[name] = {**recipe.get(name, {}), **keys} if isinstance(keys, dict) else keys
        return recipe

    return make


@pytest.fixture(scope="session")
def annotated() -> Callable[..., dict[str, Any]]:
    """Return a function that writes fields with masks, labels and a flat field.

    What it returns is their recipe, which has some of everything that pixels and places can go
    through.
    """

    def write(
        folder: Path, wells: str = "ABCDEFGH", shape: tuple[int, int] = (64, 80)
    ) -> dict[str, Any]:
        (folder / "m").mkdir()
        light = np.linspace(0.7, 1.3, shape[1]) * np.linspace(1.2, 0.8, shape[0])[:, None]
        for channel in "01":
            flat = 100 + 5000 * light ** (1 + int(channel))
            tifffile.imwrite(folder / "m" / f"flat_c{channel}.tif", flat.astype(np.uint16))
        for number, well in enumerate(wells):
            rng = np.random.default_rng(number)
            cells = np.zeros(shape, np.uint32)
            for label in range(1, shape[0] * shape[1] // 160):
                y, x = (int(rng.integers(length)) for length in shape)
                cells[y : y + 9, x : x + 7] = label
            seen = np.stack([200 + 900 * (cells > 0), 300 + 500 * (cells % 3 == 1)])
            raw = 100 + rng.poisson(seen * light)
            options: dict[str, Any] = {"compression": "zlib", "rowsperstrip": 16}
            tifffile.imwrite(
                folder / f"{well}.tif",
                raw.astype(np.uint16),
                photometric="minisblack",
                **options,
            )
            mask = np.where(cells > 0, 1 + (cells % 3 == 1), 0).astype(np.uint8)
            tifffile.imwrite(folder / "m" / f"{well}_mask.tif", mask, **options)
            labels = cells.astype(np.float64)
            tifffile.imwrite(folder / "m" / f"{well}_labels.tif", labels, **options)
        classes = {"0": "background", "1": "live", "2": "dead"}
        rule = {"class": "cell", "channel": "c0", "above": 900}
        return {
            "images": {
                "paths": ["*.tif"],
                "pattern": r"(?P<well>[A-Z])\.tif",
                "group": ["well"],
                "axes": "CYX",
            },
            "patches": {"size": [16, 16], "stride": [11, 13], "margin_px": 2, "edge": "pad"},
            "split": {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}},
            "store": {"shard_bytes": "6 kB"},
            "steps": [
                {"name": "illumination", "flat": "m/flat_{channel}.tif", "dark": 100},
                {"name": "gaussian", "sigma_px": 0.7},
                {"name": "percentile", "scope": "all", "to": [0, 3000]},
            ],
            "foreground": {
                "method": "otsu",
                "channel": ["c0"],
                "min_foreground_fraction": 0.05,
            },
            "filters": {"brightness": {"channel": ["c1"], "min": 250}},
            "masks": {
                "cells": {"path": "m/{stem}_mask.tif", "classes": classes},
                "bright": {
                    "from": "thresholds",
                    "scope": "image",
                    "classes": {"0": "background", "1": "cell"},
                    "rules": [rule],
                    "min_area_px": 5,
                },
            },
            "labels": {"nuclei": {"path": "m/{stem}_labels.tif", "dtype": "uint32"}},
            "classes": {"kind": {"from": "mask", "mask": "cells", "rule": "majority"}},
        }

    return write


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Return a function that reads every file of a folder, by its relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def same_files(files_of) -> Callable[[Path, Path], None]:
    """Return a function that asserts that two folders hold the same files, byte for byte."""

    def compare(one: Path, other: Path) -> None:
        first, second = files_of(one), files_of(other)
        assert sorted(first) == sorted(second)
        assert [name for name in first if first[name] != second[name]] == []

    return compare


def grid(length: int, size: int, stride: int, edge: str) -> Iterator[tuple[int, bool]]:
    """Yield each position along an axis and whether it is kept, step by step."""
    start = 0
    while True:
        inside = start + size <= length
        if inside or edge == "pad":
            yield start, True
        elif edge == "shift" and size <= length:
            yield length - size, True
        else:
            yield start, False
        if start + size >= length:
            return
        start += stride


def window(image: NDArray[Any], y: int, x: int, size: tuple[int, int], pad: Any) -> NDArray[Any]:
    """Cut (c, y, x) out of one plane with nothing but slices and `numpy.pad`."""
    held = image[:, y : y + size[0], x : x + size[1]]
    beyond = (size[0] - held.shape[1], size[1] - held.shape[2])
    if beyond == (0, 0):
        return held
    if pad == "reflect":
        padded = np.pad(image, ((0, 0), (0, beyond[0]), (0, beyond[1])), mode="reflect")
        return padded[:, y : y + size[0], x : x + size[1]]
    return np.pad(held, ((0, 0), (0, beyond[0]), (0, beyond[1])), constant_values=pad)


@pytest.fixture(scope="session")
def check_store() -> Callable[..., Any]:
    """Return the plain loop: every patch of a store is the window of the image that it names.

    Every position of every plane's grid is there once, or is a candidate with a reason.
    """

    def check(
        path: Path,
        images: Mapping[str, NDArray[Any]],
        size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] | None = None,
        edge: str = "drop",
        pad: Any = "reflect",
        void: tuple[str, ...] = (),
    ) -> Any:
        store = open_store(path)
        index = {name: store.index[name] for name in ("image", "t", "z", "y", "x", "valid")}
        names = store.images["id"].tolist()
        dtype = store.fields["image"].dtype
        valid = np.flatnonzero(index["valid"])
        assert len(store) == len(valid)
        patches = store.read(range(len(store)))
        assert patches["index"].tolist() == valid.tolist()
        for row, patch in zip(valid.tolist(), patches["image"], strict=True):
            name = names[index["image"][row]]
            assert name not in void
            t, z, y, x = (int(index[key][row]) for key in ("t", "z", "y", "x"))
            expected = window(images[name][t, :, z], y, x, size, pad).astype(dtype)
            np.testing.assert_array_equal(patch, expected)
        steps = stride or size
        wanted, rejected = [], []
        for name, image in images.items():
            ys = list(grid(image.shape[3], size[0], steps[0], edge))
            xs = list(grid(image.shape[4], size[1], steps[1], edge))
            for t, z in np.ndindex(image.shape[0], image.shape[2]):
                for y, y_kept in ys:
                    for x, x_kept in xs:
                        kept = y_kept and x_kept
                        (wanted if kept else rejected).append((name, t, z, y, x))
        rows = [
            (names[row[0]], *map(int, row[1:]))
            for row in zip(*(index[k].tolist() for k in ("image", "t", "z", "y", "x")), strict=True)
        ]
        assert sorted(rows) == sorted(wanted)
        assert {names[n] for n in index["image"][~index["valid"]].tolist()} == set(void)
        check_candidates(path, names, wanted, rejected)
        check_statistics(store, patches["image"], valid, images, size)
        return store

    return check


def check_candidates(path: Path, names: list[str], wanted: list[Any], rejected: list[Any]) -> None:
    import zarr

    group = zarr.open_group(path / "candidates", mode="r")
    columns = {name: group[name][:].tolist() for name in ("image", "t", "z", "y", "x", "kept")}
    reasons = [group["reason"].attrs["names"][n] for n in group["reason"][:].tolist()]
    found: dict[bool, list[Any]] = {True: [], False: []}
    for image, t, z, y, x, kept, reason in zip(*columns.values(), reasons, strict=True):
        assert kept == (reason == "")
        found[kept].append((names[image], t, z, y, x))
    assert sorted(found[True]) == sorted(wanted)
    assert sorted(found[False]) == sorted(rejected)


def check_statistics(
    store: Any,
    patches: NDArray[Any],
    rows: NDArray[Any],
    images: Mapping[str, NDArray[Any]],
    size: tuple[int, int],
) -> None:
    """Compare columns and statistics with NumPy's, of the pixels that lie inside the images."""
    names = store.images["id"].tolist()
    held = []
    for row, patch in zip(rows.tolist(), patches, strict=True):
        image = images[names[store.index["image"][row]]]
        y, x = int(store.index["y"][row]), int(store.index["x"][row])
        held.append(patch[:, : image.shape[3] - y, : image.shape[4] - x].astype(np.float64))
    for number, channel in enumerate(store.channels):
        for name in ("mean", "std", "min", "max"):
            expected = [getattr(np, name)(one[number]) for one in held]
            found = store.index[f"{name}_{channel}"][rows]
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)
    for split, (start, stop) in store.splits.items():
        own = [one for row, one in zip(rows.tolist(), held, strict=True) if start <= row < stop]
        written = store.attributes["statistics"][split]
        for number, channel in enumerate(store.channels):
            values = np.concatenate([one[number].ravel() for one in own])
            assert written[channel]["count"] == values.size
            for name in ("mean", "std", "min", "max"):
                expected = getattr(np, name)(values)
                np.testing.assert_allclose(written[channel][name], expected, rtol=1e-12)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Return a function that waits until a condition holds, and fails when it never does."""

    def wait(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"not within {deadline} s: {what}"
            time.sleep(0.005)

    return wait


class Command:
    """A `patchmill` command line in a process of its own, with all that it starts."""

    def __init__(self, *arguments: str | Path, folder: Path, **environment: str) -> None:
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "patchmill.workflows.main", *map(str, arguments)],
                cwd=folder,
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def children(self) -> list[psutil.Process]:
        """Every process below it that is alive."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The worker processes: Dask spawns them with `multiprocessing`."""
        found = []
        for child in self.children():
            try:
                if any("spawn_main" in part for part in child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """Kill -9 of the driver alone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def finish(self, status: int = 0, seconds: float = 2 * DEADLINE) -> str:
        """Wait for its end and return what it printed."""
        found = self.process.wait(seconds)
        text = self.log.read_text()
        assert found == status, text
        return text


@pytest.fixture
def command(tmp_path) -> Iterator[Callable[..., Command]]:
    """Return a function that starts `patchmill` in this test's folder."""
    started: list[Command] = []

    def start(*arguments: str | Path, **environment: str) -> Command:
        started.append(Command(*arguments, folder=tmp_path, **environment))
        return started[-1]

    yield start
    for each in started:
        below = each.children()
        if each.process.poll() is None:
            each.kill()
        for child in below:
            if child.is_running():
                child.kill()


@pytest.fixture(scope="session")
def write_toml() -> Callable[[Path, Mapping[str, Any]], Path]:
    """Return a function that writes nested tables as TOML; but null, JSON values are TOML."""

    def inline(value: Any) -> str:
        if isinstance(value, Mapping):
            pairs = (f"{json.dumps(key)} = {inline(each)}" for key, each in value.items())
            return "{ " + ", ".join(pairs) + " }"
        if isinstance(value, list):
            return f"[{', '.join(map(inline, value))}]"
        return json.dumps(value)

    def write(path: Path, tables: Mapping[str, Any]) -> Path:
        plain = [f"{key} = {inline(v)}" for key, v in tables.items() if not isinstance(v, dict)]
        for name, keys in tables.items():
            if isinstance(keys, dict):
                plain += [f"[{name}]", *(f"{key} = {inline(v)}" for key, v in keys.items())]
        path.write_text("\n".join(plain) + "\n")
        return path

    return write

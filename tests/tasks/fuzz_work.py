"""Damages images and reads them, in a process whose memory and time are bounded.

    python fuzz_work.py FOLDER SEED FIRST LAST

reads the cases FIRST to LAST of the images that `seeds.json` in FOLDER lists; prints a JSON object
per violation. The number of the case at work stands in FOLDER/at-FIRST, for who finds it dead.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from patchmill.tasks.copied import copying
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.read import read_boxes
from patchmill.tasks.resolution import as_level
from patchmill.tasks.source import ImageKind, ImageSource, SourceError
from patchmill.tasks.survey import describe

#: What a case may take.
MEMORY_BYTES, SECONDS = 1 << 30, 20
#: What is reported although it is below that.
MORE_BYTES, SLOW_SECONDS = 300_000_000, 8.0
#: What is given to a case that asks for more than the bound, to see whether it fills it.
MUCH_BYTES = 8 << 30
#: Of a plane that has more, corners are read.
WHOLE_PIXELS, CORNER = 1 << 18, 24
MOST_PLANES = 6
#: A damaged file may rightly hold large segments; not so large that the bound above is of no use.
LIMITS = {"max_pixels": 10**9, "max_segment_bytes": 1 << 26, "max_seconds": 5.0}
SPECIAL = [0, 1, 2, 3, 7, 8, 255, 256, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
#: A sentence, whatever is quoted in it.
MOST_LETTERS = 1500

Image = list[np.ndarray]


def read_all(path: Path, options: dict[str, Any]) -> tuple[Any, Image]:
    """Survey an image, and read it as tasks do: all of it, or its corners."""
    chosen = ImageOptions(**{"table_size": None, **options, **LIMITS})
    info = describe(str(path), chosen)
    n_t, n_c = info.shape[:2]
    shapes = [level.shape for level in info.levels]
    found = []
    for number, level in enumerate(info.levels):
        n_z, height, width = level.shape
        planes = [(t, z) for t in range(min(n_t, MOST_PLANES)) for z in range(min(n_z, 3))]
        channels = min(n_c, MOST_PLANES)
        own = np.zeros((n_t if n_t * n_z < 10**6 else 1, channels, min(n_z, 10**6), 4), np.int32)
        own[..., 1:] = np.moveaxis(np.indices(own.shape[:3]), 0, -1)
        kind = ImageKind(own, as_level(shapes, number), level.segment, np.dtype(info.dtype))
        ys, xs = [(0, height)], [(0, width)]
        if height * width > WHOLE_PIXELS:
            ys, xs = ([(0, CORNER), (n - CORNER, n)] if n > 2 * CORNER else [(0, n)]
                      for n in (height, width))  # fmt: skip
        boxes = np.array(
            [(t, t + 1, z, z + 1, *y, *x) for t, z in planes for y in ys for x in xs], np.int64
        )
        sizes = [(channels, 1, b[5] - b[4], b[7] - b[6]) for b in boxes.tolist()]
        for item in range(min(len(info.items), MOST_PLANES) or 1):
            source = ImageSource(
                "image", (str(path),), (info.identity,), (info.members,), item, kind
            )
            out = [np.full(size, 77, kind.dtype) for size in sizes]
            read_boxes(source, chosen, boxes, copying(out, boxes))
            found += out
    return (info.shape, info.dtype, shapes, info.channels), found


def damage(
    data: bytes, sealed: list[tuple[int, int]], marks: list[int], rng: np.random.Generator
) -> tuple[str, bytes]:
    """Return what was done, and the damaged bytes."""
    size, out = len(data), bytearray(data)

    def place() -> int:
        # Much damage is done to what says where things are: at the ends of a file, and in heads.
        where = rng.integers(5)
        if where == 0:
            return int(rng.integers(min(size, 512)))
        if where == 1:
            return max(0, size - 1 - int(rng.integers(min(size, 2048))))
        if where == 2 and marks:
            return min(size - 1, marks[int(rng.integers(len(marks)))] + int(rng.integers(40)))
        return int(rng.integers(size))

    what = int(rng.integers(12))
    if size == 0:
        return "empty", b"\0"
    if what <= 1:
        return "cut short", data[: place()]
    if what <= 4 and sealed:
        start, stop = sealed[int(rng.integers(len(sealed)))]
        for _ in range(int(rng.integers(1, 4))):
            out[int(rng.integers(start, stop))] ^= int(rng.integers(1, 256))
        return "sealed", bytes(out)
    if what <= 6:
        for _ in range(int(rng.integers(1, 9))):
            out[place()] = int(rng.integers(256))
    elif what <= 8:
        width = int(rng.choice([1, 2, 4, 8]))
        value = int(rng.choice([*SPECIAL, size, size - 1])) & ((1 << 8 * width) - 1)
        at = place()
        order = "little" if rng.integers(2) else "big"
        out[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
    elif what == 9:
        length = int(rng.integers(1, max(2, size // 4)))
        one, other = (int(rng.integers(max(1, size - length))) for _ in range(2))
        first, second = data[one : one + length], data[other : other + length]
        out[one : one + length], out[other : other + length] = second, first
    elif what == 10:
        at = place()
        out[at : at + int(rng.integers(1, 64))] = bytes(int(rng.integers(64)))
    else:
        at = place()
        out[at:at] = rng.bytes(int(rng.integers(1, 64)))
    return "changed", bytes(out)


class Fuzz:
    """The images, what they hold, and a folder for the damaged ones."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.seeds = json.loads((folder / "seeds.json").read_text())
        self.scratch = scratch
        self.whole: dict[int, tuple[Any, Image] | None] = {}
        self.refused = self.read = 0

    def warm_up(self) -> None:
        """Read each image as it is: imports and threads of libraries are not the cases'."""
        for number, seed in enumerate(self.seeds):
            seed["options"] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in seed["options"].items()
            }
            target = self.copy(Path(seed["path"]), "whole")
            try:
                self.whole[number] = read_all(target / seed["inside"], seed["options"])
            except SourceError:
                if not seed["is_real"]:
                    raise
                self.whole[number] = None  # one of several files, or broken before
            remove(target)

    def copy(self, path: Path, name: str) -> Path:
        """Return a copy of an image, a file or a folder."""
        target = self.scratch / f"{name}-{path.name}"
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, target)
        return target

    def case(self, seed: int, number: int) -> str | None:
        """Damage and read one image; return what is wrong."""
        rng = np.random.default_rng([seed, number])
        of = number % len(self.seeds)
        one = self.seeds[of]
        target = self.copy(Path(one["path"]), str(number))
        victim, name = target, target.name.partition("-")[2]
        if target.is_dir():
            files = sorted(p for p in target.rglob("*") if p.is_file())
            # Few of them are metadata, and these matter most.
            said = [p for p in files if p.name.startswith((".z", "zarr.")) or p.suffix == ".xml"]
            among = said if said and rng.integers(3) == 0 else files
            victim = among[int(rng.integers(len(among)))]
            name = str(victim.relative_to(target))
        what, data = damage(victim.read_bytes(), one["sealed"].get(name, []), one["marks"], rng)
        victim.write_bytes(data)
        try:
            return self.outcome(of, target, what)
        finally:
            remove(target)

    def outcome(self, of: int, target: Path, what: str) -> str | None:
        one, whole = self.seeds[of], self.whole[of]
        before, begun = peak_bytes(), time.monotonic()
        try:
            about, found = read_all(target / one["inside"], one["options"])
        except SourceError as error:
            text = str(error)
            self.refused += 1
            if not text.startswith(str(target)) or "\n" in text or len(text) > MOST_LETTERS:
                return f"{what}: no sentence: {text!r}"
            if "MemoryError" in text:
                return self.without_limit(of, target, what)
        except BaseException as error:
            return f"{what}: {type(error).__name__}: {error}"
        else:
            self.read += 1
            if what in ("cut short", "sealed") and whole is not None:
                if about[:3] != whole[0][:3]:
                    return f"{what}: another image: {about} instead of {whole[0]}"
                for one_box, other in zip(found, whole[1], strict=True):
                    if not np.array_equal(one_box, other, equal_nan=one_box.dtype.kind == "f"):
                        return f"{what}: other pixels"
        seconds, more = time.monotonic() - begun, peak_bytes() - before
        if more > MORE_BYTES:
            return f"{what}: took {more} bytes"
        return f"{what}: took {seconds:.1f} s" if seconds > SLOW_SECONDS else None

    def without_limit(self, of: int, target: Path, what: str) -> str | None:
        """Read once more what was refused memory: it may have asked for more than it fills."""
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if soft > MUCH_BYTES:
            return f"{what}: asks for all memory"
        resource.setrlimit(resource.RLIMIT_AS, (soft + MUCH_BYTES, hard))
        try:
            return self.outcome(of, target, what)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    if not sys.platform.startswith("linux"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def remove(target: Path) -> None:
    shutil.rmtree(target) if target.is_dir() else target.unlink()


def main(folder: Path, seed: int, first: int, last: int) -> None:
    logging.disable(logging.CRITICAL)
    scratch = folder / f"scratch-{first}-{os.getpid()}"
    scratch.mkdir()
    fuzz = Fuzz(folder, scratch)
    fuzz.warm_up()
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    # By default it ends the process, also in a library's own loop.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    at = os.open(folder / f"at-{first}", os.O_CREAT | os.O_WRONLY)
    slowest = 0.0
    for number in range(first, last):
        os.pwrite(at, f"{number:12d}".encode(), 0)
        signal.alarm(SECONDS)
        begun = time.monotonic()
        wrong = fuzz.case(seed, number)
        slowest = max(slowest, time.monotonic() - begun)
        if wrong:
            name = fuzz.seeds[number % len(fuzz.seeds)]["path"]
            print(json.dumps({"case": number, "image": name, "wrong": wrong}), flush=True)
    signal.alarm(0)
    counts = {"refused": fuzz.refused, "read": fuzz.read}
    print(json.dumps({**counts, "slowest": slowest, "memory_bytes": peak_bytes()}), flush=True)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))

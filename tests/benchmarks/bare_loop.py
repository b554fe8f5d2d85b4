"""One of two bare processes: read segments, decode, cut, blosc-lz4, write. No Dask, no checks.

    python bare_loop.py OUT PART PARTS FILE...

Takes its part of the files (or of the bands of tiles of a single one), waits for a line on
standard input, does the work and prints the seconds that it took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import tifffile

PATCH = 256
PATCHES_PER_FILE = 488


def bands(path: str, part: int, parts: int) -> Iterator[np.ndarray]:
    """Yield bands of whole patches across the image, in a buffer that is used again."""
    with tifffile.TiffFile(path) as tif:
        page: Any = tif.pages.first
        fd = os.open(path, os.O_RDONLY)
        height, width = page.shape
        rows = page.tilelength if page.is_tiled else PATCH
        step = page.tilelength if page.is_tiled else page.rowsperstrip
        across = -(-width // page.tilewidth) if page.is_tiled else 1
        band = np.empty((rows, width), page.dtype)
        numbers = range(height // rows)
        for number in list(numbers)[part::parts]:
            for line in range(number * rows // step, (number + 1) * rows // step):
                for segment in range(line * across, (line + 1) * across):
                    data = os.pread(fd, page.databytecounts[segment], page.dataoffsets[segment])
                    decoded, (_, _, y, x, _), shape = page.decode(data, segment)
                    y -= number * rows
                    band[y : y + shape[1], x : x + shape[2]] = decoded[0, ..., 0]
            yield band
        os.close(fd)


def main() -> None:
    out, part, parts, *files = sys.argv[1:]
    numcodecs.blosc.use_threads = False
    single = len(files) == 1
    own = files if single else files[int(part) :: int(parts)]
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    encoded: list[bytes] = []
    written = 0

    def flush() -> None:
        nonlocal written
        with (Path(out) / f"{part}-{written}").open("wb") as file:
            file.writelines(encoded)
            file.flush()
            os.fsync(file.fileno())
        written += 1
        encoded.clear()

    for path in own:
        for band in bands(path, int(part) if single else 0, int(parts) if single else 1):
            for y in range(0, band.shape[0] - PATCH + 1, PATCH):
                for x in range(0, band.shape[1] - PATCH + 1, PATCH):
                    patch = np.ascontiguousarray(band[y : y + PATCH, x : x + PATCH])
                    encoded.append(numcodecs.blosc.compress(patch, b"lz4", 5, 1, 0))
                    if len(encoded) == PATCHES_PER_FILE:
                        flush()
    if encoded:
        flush()
    print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()

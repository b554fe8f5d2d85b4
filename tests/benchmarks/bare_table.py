"""The plain way from a table to pictures: rows through a pool of processes, PNGs into a zip.

Called with the table, the zip to make, height, width and the number of processes; prints seconds.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import zipfile

import cv2
import numpy as np
import pyarrow.parquet as pq


def encode(name: str, pixels: np.ndarray, height: int, width: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a PNG."""
    done, data = cv2.imencode(".png", pixels.reshape(height, width))
    assert done
    return f"{name}.png", data.tobytes()


def main() -> None:
    table, out, *numbers = sys.argv[1:]
    height, width, processes = map(int, numbers)
    began = time.perf_counter()
    read = pq.read_table(table)
    names = read.column("image_id").to_pylist()
    rows = np.stack([column.to_numpy() for column in read.columns[1:]], axis=1)
    del read
    with multiprocessing.Pool(processes) as pool, zipfile.ZipFile(out, "w") as pictures:
        work = ((*row, height, width) for row in zip(names, rows, strict=True))
        for name, data in pool.starmap(encode, work):
            pictures.writestr(name, data)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()

"""The plain way from a table of characters to pictures of one size: read, loop, OpenCV.

Called with the table, the .npy to make, height, width and the side of a picture; prints seconds.
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
import pyarrow.parquet as pq


def crop_resize(image: np.ndarray, side: int) -> np.ndarray:
    """Return what is usual for the characters of Bengali.AI, in float32."""
    height, width = image.shape
    inner = image[5:-5, 5:-5] > 80
    ymin, ymax = np.where(np.any(inner, axis=1))[0][[0, -1]]
    xmin, xmax = np.where(np.any(inner, axis=0))[0][[0, -1]]
    xmin = xmin - 13 if xmin > 13 else 0
    ymin = ymin - 10 if ymin > 10 else 0
    xmax = xmax + 13 if xmax < width - 13 else width
    ymax = ymax + 10 if ymax < height - 10 else height
    image = image[ymin:ymax, xmin:xmax]
    image[image < 28] = 0
    lx, ly = xmax - xmin, ymax - ymin
    full = max(lx, ly) + 16
    image = np.pad(image, [((full - ly) // 2,), ((full - lx) // 2,)], mode="constant")
    return np.clip(np.rint(cv2.resize(image, (side, side))), 0, 255).astype(np.uint8)


def main() -> None:
    table, out, *numbers = sys.argv[1:]
    height, width, side = map(int, numbers)
    began = time.perf_counter()
    file = pq.ParquetFile(table)
    made = np.empty((file.metadata.num_rows, side, side), np.uint8)
    number = 0
    for group in range(file.num_row_groups):
        columns = file.read_row_group(group).columns[1:]
        rows = np.stack([column.to_numpy() for column in columns], axis=1)
        for row in rows.reshape(-1, height, width):
            image = (255 - row).astype(np.float32)
            image *= np.float32(255 / image.max())
            made[number] = crop_resize(image, side)
            number += 1
    np.save(out, made)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()

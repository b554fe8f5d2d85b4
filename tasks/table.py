"""Opens a parquet table whose rows are flattened images: an id, then a column for each pixel.

Or one column with a list of all pixels. Pixels lie row after row, from the top.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..reader.remote import is_remote
from .bytes import open_bytes
from .image import UNKNOWN_VOXEL, ImageOptions
from .parquet_pages import ParquetPages
from .row_groups import RowGroups
from .scratch import scratch
from .source import SourceError
from .table_columns import ids_of, pixel_columns, pixel_list, size_of, some

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class Table:
    """An open table; an `ImageReader` of axes NYX, whose items are the ids as text.

    What it needs of disk and memory is told at `RowGroups`. Parquet has no checksum unless its
    writer was told to make them (`write_page_checksum`); they are verified where they are.

    Parameters
    ----------
    groups
        The rows of pixels; closed by `close`.
    items
        The ids.
    size
        (height, width) of every image.
    dtype
        Of the pixels.
    notes
        What the user should know.
    """

    axes = "NYX"
    channels = ()
    voxel_um = UNKNOWN_VOXEL
    files = ()
    band_bytes = 0  # each image is one segment

    def __init__(
        self,
        groups: RowGroups,
        items: tuple[str, ...],
        size: tuple[int, int],
        dtype: np.dtype[Any],
        notes: tuple[str, ...],
    ) -> None:
        self._groups = groups
        self._size = size
        self.items = items
        self.shapes = ((len(items), *size),)
        self.segments = ((1, *size),)
        self.dtype = dtype
        # As measured: what a group takes to decode, and what the footer takes for each column.
        self.held_bytes = 100_000_000 + 4096 * groups.n_columns
        self.notes = notes

    def read(self, level: int, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of a region, see `ImageReader.read`."""
        first, stop = region[0].start, region[0].stop
        rows = scratch("table", (stop - first, *self._size), self.dtype)
        self._groups.read_into(rows, first)
        return rows[:, region[1], region[2]]

    def check(self) -> None:
        """Do nothing: what the footer tells was checked when it was opened."""

    def close(self) -> None:
        """Let go of the file, and of what was decoded."""
        self._groups.close()


def open_table(path: str, options: ImageOptions) -> Table:
    """Open a parquet table; its footer and its ids are read.

    Parameters
    ----------
    path
        Of the file, or a URL.
    options
        `table_size` is (height, width) of the images, `table_id` the column with their names,
        `table_pixels` that with lists of pixels. Without the latter, the columns of pixels are the
        numbers of one type of which there are height times width; others are left out, with a
        note.

    Raises
    ------
    SourceError
        Where pyarrow is not installed, or the table is not what the options say.
    """
    file, pages = _open(path, options), None
    try:
        schema = file.schema_arrow
        if options.table_id not in schema.names:
            raise SourceError(
                f"{path}: has no column {options.table_id!r}, but {some(schema.names)}; name that "
                "of the images' ids with images.table.id"
            )
        find = pixel_columns if options.table_pixels is None else pixel_list
        names, pixel = find(path, schema, options)
        if options.table_pixels is not None:
            pages = ParquetPages(path, open_bytes(path, options.storage))
            for group in range(file.metadata.num_row_groups):
                pages.check(group, options.table_id)
        items = ids_of(path, file, options.table_id)
        left_out = len(schema.names) - 1 - len(names)
        notes = (f"columns that are no pixels: {left_out}, left out",) if left_out else ()
        size, dtype = size_of(path, options, 0), np.dtype(pixel.to_pandas_dtype())
        groups = RowGroups(path, file, names, math.prod(size), dtype, pages)
        return Table(groups, items, size, dtype, notes)
    except BaseException:
        file.close(force=True)
        if pages is not None:
            pages.close()
        raise


def _open(path: str, options: ImageOptions) -> pq.ParquetFile:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise SourceError(
            f"{path}: is a parquet table, which needs pyarrow; pip install 'patchmill[tables]', "
            "for the workers too"
        ) from None
    return pq.ParquetFile(
        open_bytes(path, options.storage).file() if is_remote(path) else path,
        memory_map=False,  # mapped pages count as the worker's memory
        pre_buffer=False,
        # A list column is one chunk of the file, which would be read whole; others are small.
        buffer_size=1 << 20 if options.table_pixels else 0,
        page_checksum_verification=True,
    )

"""The row groups of a parquet table as rows of pixels, each decoded once while it is kept."""

from __future__ import annotations

import errno
import tempfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .parquet_pages import ParquetPages
from .row_file import RowFile, rows_of_columns
from .source import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Row groups that an open table keeps decoded.
KEPT_GROUPS = 3
#: What one call of pyarrow may take; it needs about 16 bytes for a value of one byte: codes, 32-bit
#: integers, pages as they are stored. More is slower, as it does not stay in the CPU's caches.
_DECODE_BYTES, _BYTES_PER_VALUE = 8 << 20, 16
#: Pixels of a list column that are decoded at once, with their levels.
_BATCH_BYTES = 4 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class RowGroups:
    """Rows of pixels of an open table, for several threads.

    Whoever needs a row first has its row group decoded into a temporary file; the few that were
    used last are kept. That takes as much room in the folder of temporary files (`TMPDIR`) as the
    group has bytes when decoded, and about 100 MB of memory while it is made.

    Parameters
    ----------
    path
        Of the file, for errors.
    file
        The open table.
    names
        Of the columns of pixels, in their order; or of one column with a list of all of them.
    n_pixels, dtype
        Of one row.
    pages
        Of a table whose pixels are a column of lists, else None; closed with it.

    Attributes
    ----------
    n_columns
        Of the table, those that are no pixels included.
    """

    def __init__(
        self,
        path: str,
        file: pq.ParquetFile,
        names: Sequence[str],
        n_pixels: int,
        dtype: np.dtype[Any],
        pages: ParquetPages | None,
    ) -> None:
        self._path = path
        self._file = file
        self._names = list(names)
        self._n_pixels = n_pixels
        self._dtype = dtype
        self._pages = pages
        meta = file.metadata
        self.n_columns = int(meta.num_columns)
        counts = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self._kept: OrderedDict[int, RowFile] = OrderedDict()
        self._lock = threading.Lock()
        # pyarrow's file is for one thread; and two groups at once would take twice the memory.
        self._decoding = threading.Lock()

    def read_into(self, out: NDArray[Any], row: int) -> None:
        """Fill a contiguous array, shape (rows, …), with the pixels of rows from `row` on."""
        done = 0
        while done < len(out):
            group = bisect_right(self._starts, row + done) - 1
            n = min(len(out) - done, self._starts[group + 1] - row - done)
            part = out[done : done + n].reshape(-1).view(np.uint8)
            self._rows(group).read_into(part, row + done - self._starts[group])
            done += n

    def _rows(self, group: int) -> RowFile:
        with self._lock:
            found = self._kept.get(group)
            if found is not None:
                self._kept.move_to_end(group)
                return found
        with self._decoding:
            with self._lock:
                found = self._kept.get(group)
            if found is None:
                with self._lock:
                    # Before the next one takes its room.
                    while len(self._kept) >= KEPT_GROUPS:
                        self._kept.popitem(last=False)
                found = self._decoded(group)
                with self._lock:
                    self._kept[group] = found
        return found

    def _decoded(self, group: int) -> RowFile:
        n_rows = self._starts[group + 1] - self._starts[group]
        try:
            if self._pages is not None:
                self._pages.check(group, self._names[0])
                return self._from_lists(group)
            columns = self._columns(group, n_rows)
            return rows_of_columns(columns, n_rows, self._n_pixels, self._dtype)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            nbytes = n_rows * self._n_pixels * self._dtype.itemsize
            raise SourceError(
                f"{self._path}: a row group has {nbytes} bytes when decoded, and no room for them "
                f"in {tempfile.gettempdir()}; set TMPDIR to a folder that has room, or write the "
                "table with smaller row groups"
            ) from error

    def _columns(self, group: int, n_rows: int) -> Iterator[NDArray[Any]]:
        at_once = max(1, _DECODE_BYTES // (_BYTES_PER_VALUE * max(1, n_rows)))
        for first in range(0, self._n_pixels, at_once):
            names = self._names[first : first + at_once]
            table = self._file.read_row_group(group, columns=names, use_threads=False)
            if table.column_names != names or table.num_rows != n_rows:
                raise ValueError(f"row group {group} has other columns or rows than it declares")
            for column in table.columns:
                self._check_nulls(group, 0, column, 1)
                yield column.to_numpy()

    def _from_lists(self, group: int) -> RowFile:
        import pyarrow.compute as pc

        n_rows, n_pixels = 0, self._n_pixels
        row_bytes = n_pixels * self._dtype.itemsize
        out = RowFile(0, row_bytes, row_bytes)
        for batch in self._file.iter_batches(
            batch_size=max(1, _BATCH_BYTES // row_bytes),
            row_groups=[group],
            columns=self._names,
            use_threads=False,
        ):
            lists = batch.column(0)
            self._check_nulls(group, n_rows, lists, 1)
            lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
            if (lengths != n_pixels).any():
                row = int(np.argmax(lengths != n_pixels))
                raise SourceError(
                    f"{self._path}: row {self._starts[group] + n_rows + row} has {lengths[row]} "
                    f"pixels in column {self._names[0]!r}, not {n_pixels}; mend the table or "
                    "correct images.table.size"
                )
            values = lists.flatten()
            self._check_nulls(group, n_rows, values, n_pixels)
            out.append(values.to_numpy())
            n_rows += len(lists)
        if n_rows != self._starts[group + 1] - self._starts[group]:
            raise ValueError(f"row group {group} has other rows than it declares")
        return out

    def _check_nulls(
        self, group: int, row: int, values: pa.Array | pa.ChunkedArray, per_row: int
    ) -> None:
        if values.null_count:
            import pyarrow.compute as pc

            row += self._starts[group] + pc.index(pc.is_null(values), True).as_py() // per_row
            raise SourceError(
                f"{self._path}: row {row} lacks pixels (null); fill them in or leave the row out"
            )

    def close(self) -> None:
        """Let go of the table, and of all that was decoded."""
        with self._decoding, self._lock:
            self._kept.clear()
            self._file.close(force=True)
            if self._pages is not None:
                self._pages.close()

"""Whether the pages of a parquet column lie where they say, before pyarrow takes memory for them.

Read through a buffer, which is how a large column is read in little memory, pyarrow believes the
head of a page: a damaged one makes it ask for gigabytes. So heads are walked first. The footer is
read here too, as pyarrow ends the process over some that are damaged when it is asked for a column.

Of the format: https://github.com/apache/parquet-format, `FileMetaData` and `PageHeader`.
"""

from __future__ import annotations

from .bytes import Bytes
from .source import SourceError
from .thrift import Fields, read_struct

#: Of a page's head; it may hold the smallest and the largest value, which may be long texts.
_HEAD_BYTES, _LONG_HEAD_BYTES = 1 << 10, 1 << 20
#: At the end of a file: the length of the footer, and the magic word.
_TAIL_BYTES = 8
# Numbers of fields.
_ROW_GROUPS = 4  # of FileMetaData
_COLUMNS = 1  # of RowGroup
_COLUMN = 3  # of ColumnChunk
_PATH, _UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY = 3, 6, 7, 9, 11  # of ColumnMetaData
_PAGE_UNCOMPRESSED, _PAGE_COMPRESSED = 2, 3  # of PageHeader


class ParquetPages:
    """The pages of a table, by row group and column.

    Parameters
    ----------
    path
        Of the file, for errors.
    file
        Its bytes; closed by `close`.

    Raises
    ------
    SourceError
        Where the footer cannot be read.
    """

    def __init__(self, path: str, file: Bytes) -> None:
        self._path = path
        self._file = file
        try:
            tail = file.pread(_TAIL_BYTES, file.size - _TAIL_BYTES)
            nbytes = int.from_bytes(tail[:4], "little")
            footer, _ = read_struct(file.pread(nbytes, file.size - _TAIL_BYTES - nbytes))
            self._groups = [
                [column[_COLUMN] for column in group[_COLUMNS]] for group in footer[_ROW_GROUPS]
            ]
        except (EOFError, IndexError, KeyError, TypeError) as error:
            raise SourceError(
                f"{path}: its footer is damaged; copy it again or leave it out"
            ) from error

    def check(self, group: int, name: str) -> None:
        """Raise a SourceError where pages of a column, which may be of lists, do not fit into it.

        They must lie in the file, and hold no more than the footer says of all of them.
        """
        for column in self._groups[group]:
            path = column.get(_PATH) or [b""]
            if path[0] == name.encode() and not self._fit(column):
                raise SourceError(
                    f"{self._path}: pages of column {name!r} in row group {group} do not fit into "
                    "it; the table is damaged; copy it again or leave it out"
                )

    def _fit(self, column: Fields) -> bool:
        at = min(column.get(number) or self._file.size for number in (_DATA, _DICTIONARY))
        end = at + column.get(_COMPRESSED, 0)
        most: int = column.get(_UNCOMPRESSED, 0)
        while 0 <= at < end:
            size, head = self._head(at)
            stored, nbytes = head.get(_PAGE_COMPRESSED, -1), head.get(_PAGE_UNCOMPRESSED, -1)
            if not size or stored < 0 or not 0 <= nbytes <= most:
                return False
            at += size + stored
        # Some writers leave a head out of what they say of the whole (PARQUET-816).
        return bool(end <= at <= self._file.size)

    def _head(self, at: int) -> tuple[int, Fields]:
        """Return how long a head is, 0 where there is none, and its fields."""
        for nbytes in (_HEAD_BYTES, _LONG_HEAD_BYTES):
            try:
                fields, size = read_struct(
                    self._file.pread(min(nbytes, max(0, self._file.size - at)), at)
                )
            except IndexError:  # it goes on behind the data, or is none
                continue
            return size, fields
        return 0, {}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

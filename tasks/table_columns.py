"""Which columns of a parquet table are pixels, and the ids of its rows."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from .image import ImageOptions
from .source import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Ids, columns or types that an error names.
_NAMED = 5


def size_of(path: str, options: ImageOptions, n_pixels: int) -> tuple[int, int]:
    """Return (height, width) of the recipe.

    Where it does not say, the error names what `n_pixels`, if that is known, could be.
    """
    if options.table_size is not None:
        return options.table_size
    if not n_pixels:
        raise SourceError(f"{path}: is a table; give images.table.size = [height, width]")
    factors = [n for n in range(math.isqrt(n_pixels), 0, -1) if n_pixels % n == 0][:3]
    sizes = " or ".join(f"[{n}, {n_pixels // n}]" for n in factors)
    raise SourceError(
        f"{path}: is a table with {n_pixels} pixels in a row; give images.table.size = [height, "
        f"width], such as {sizes}"
    )


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def pixel_columns(
    path: str, schema: pa.Schema, options: ImageOptions
) -> tuple[list[str], pa.DataType]:
    """Return the names of the columns of pixels, and their type.

    Raises
    ------
    SourceError
        Where no type of numbers has as many columns as the image has pixels.
    """
    others = [field for field in schema if field.name != options.table_id]
    counts = Counter(field.type for field in others if _is_number(field.type))
    if not counts:
        raise SourceError(
            f"{path}: has no columns of numbers, but {some([f.name for f in others])}; name a "
            "column with lists of pixels with images.table.pixels"
        )
    height, width = size_of(path, options, counts.most_common(1)[0][1])
    kinds = [kind for kind, count in counts.items() if count == height * width]
    if len(kinds) != 1:
        found = ", ".join(f"{count} of type {kind}" for kind, count in counts.most_common(_NAMED))
        raise SourceError(
            f"{path}: images.table.size = [{height}, {width}] needs {height * width} columns of "
            f"one type of numbers; it has {found}; correct the size, or drop the other columns"
        )
    names = [field.name for field in others if field.type == kinds[0]]
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise SourceError(f"{path}: has columns of the same name: {some(twice)}; rename them")
    return names, kinds[0]


def pixel_list(
    path: str, schema: pa.Schema, options: ImageOptions
) -> tuple[list[str], pa.DataType]:
    """Return the name of the column with lists, and the type of a pixel.

    Raises
    ------
    SourceError
        Where it is no list of numbers, or one of another length.
    """
    import pyarrow as pa

    name = options.table_pixels or ""
    if name not in schema.names:
        raise SourceError(
            f"{path}: has no column {name!r} (images.table.pixels), but {some(schema.names)}"
        )
    kind = schema.field(name).type
    fixed = pa.types.is_fixed_size_list(kind)
    lists = fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists or not _is_number(kind.value_type):
        raise SourceError(
            f"{path}: column {name!r} (images.table.pixels) is of type {kind}; it must be a list "
            "of numbers"
        )
    height, width = size_of(path, options, kind.list_size if fixed else 0)
    if fixed and kind.list_size != height * width:
        raise SourceError(
            f"{path}: images.table.size = [{height}, {width}] is {height * width} pixels, column "
            f"{name!r} has lists of {kind.list_size}; correct the size"
        )
    return [name], kind.value_type


def ids_of(path: str, file: pq.ParquetFile, name: str) -> tuple[str, ...]:
    """Return the ids as text.

    Raises
    ------
    SourceError
        Where one is lacking, or stands twice.
    """
    import pyarrow as pa

    (column,) = file.read(columns=[name], use_threads=False).columns
    if column.null_count or len(column) != file.metadata.num_rows:
        raise SourceError(
            f"{path}: {column.null_count} of {file.metadata.num_rows} rows have no id in column "
            f"{name!r}; give them one"
        )
    items = tuple(column.cast(pa.string()).to_pylist())
    if len(set(items)) < len(items):
        twice = [item for item, count in Counter(items).items() if count > 1]
        raise SourceError(f"{path}: ids in column {name!r} are not unique: {some(twice)}; rename")
    return items


def some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more

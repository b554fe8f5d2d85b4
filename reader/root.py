"""A store's own attributes, read from its root zarr.json and checked before anything else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from .errors import DamagedStoreError, IncompleteStoreError, StoreError
from .format import ATTRIBUTE, FORMAT
from .remote import Place, RemotePath
from .staged import refuse_half_staged

AnyPlace = TypeVar("AnyPlace", bound=Place)


@dataclass(frozen=True)
class AnyRoot(Generic[AnyPlace]):
    """What the root of a store says.

    Attributes
    ----------
    path
        Where it is.
    attributes
        The whole of `attributes["patchmill"]`, as written.
    is_complete
        Whether the run that makes the store has finished.
    axes, channels
        Axes of a patch of `image`, and the names along its `c`.
    fields
        Names of the arrays of patches, for instance `image`.
    splits
        Name to rows (start, stop), in row order.
    void
        Number of rows that have no patch.
    arrays
        Paths of all arrays in the store, by its consolidated metadata; None where it has none.
    """

    path: AnyPlace
    attributes: dict[str, Any]
    is_complete: bool
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    fields: tuple[str, ...]
    splits: dict[str, tuple[int, int]]
    void: int
    arrays: tuple[str, ...] | None


#: Of a store in a folder of this machine.
Root = AnyRoot[Path]


def read_json(file: Place) -> dict[str, Any]:
    """Read a zarr.json; one that is no JSON object is damage."""
    try:
        return parse_json(file, file.read_bytes())
    except FileNotFoundError as error:
        raise DamagedStoreError(f"{file} is missing; make or copy the store again") from error


def parse_json(file: Place, data: bytes) -> dict[str, Any]:
    """Return what is in a zarr.json; one that is no JSON object is damage."""
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamagedStoreError(
            f"{file} is not JSON ({error}); make or copy the store again"
        ) from error
    if not isinstance(content, dict):
        raise DamagedStoreError(f"{file} holds no JSON object; make or copy the store again")
    return content


def read_root(path: AnyPlace, *, allow_incomplete: bool) -> AnyRoot[AnyPlace]:
    """Read and check the root of a store.

    Raises
    ------
    StoreError
        For a folder that is no store, or a store of a newer format.
    IncompleteStoreError
        For a store whose run has not finished, unless `allow_incomplete`.
    DamagedStoreError
        For metadata that cannot be what patchmill wrote.
    """
    content = _content(path)
    attributes = _own_attributes(path, content)
    number = attributes.get("format", 0)
    if not _is_count(number) or number < 1:
        raise _unfit(path, "format", number, "a positive whole number")
    if number > FORMAT:
        raise StoreError(
            f"{path} is a store of format {number}, this version reads {FORMAT}; upgrade patchmill"
        )
    if not isinstance(attributes.get("complete"), bool):
        raise _unfit(path, "complete", attributes.get("complete"), "true or false")
    if not attributes["complete"] and not allow_incomplete:
        raise IncompleteStoreError(
            f"{path} is not complete, its run has not finished; run the same `patchmill prepare` "
            "again, or pass allow_incomplete=True to read what is there"
        )
    for key in ("axes", "channels", "fields"):
        if not _is_names(attributes.get(key)):
            raise _unfit(path, key, attributes.get(key), "a list of different names")
    for name in attributes["fields"]:
        # A store may come from elsewhere: its field names must not lead out of its folder.
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise _unfit(path, "fields", name, "names of arrays inside the store")
    void = attributes.get("void", 0)
    if not _is_count(void):
        raise _unfit(path, "void", void, "a number of rows")
    return AnyRoot(
        path=path,
        attributes=attributes,
        is_complete=attributes["complete"],
        axes=tuple(attributes["axes"]),
        channels=tuple(attributes["channels"]),
        fields=tuple(attributes["fields"]),
        splits=_splits(path, attributes.get("splits")),
        void=void,
        arrays=_arrays(content),
    )


def _content(path: Place) -> dict[str, Any]:
    if isinstance(path, RemotePath):
        try:
            return parse_json(path / "zarr.json", (path / "zarr.json").read_bytes())
        except FileNotFoundError as error:
            raise StoreError(
                f"{path} is not a patchmill store, it has no zarr.json; check the address"
            ) from error
    if not path.is_dir():
        raise StoreError(f"{path} is not a folder; give the folder of a prepared store")
    if not (path / "zarr.json").is_file():
        refuse_half_staged(path)
        raise StoreError(f"{path} is not a patchmill store, it has no zarr.json")
    return read_json(path / "zarr.json")


def _own_attributes(path: Place, content: dict[str, Any]) -> dict[str, Any]:
    attributes = content.get("attributes")
    if content.get("node_type") != "group" or not isinstance(attributes, dict):
        raise StoreError(f"{path} is not a patchmill store, its zarr.json is not that of a group")
    own = attributes.get(ATTRIBUTE)
    if not isinstance(own, dict):
        raise StoreError(f"{path} is not a patchmill store, it has no attribute {ATTRIBUTE!r}")
    return own


def _arrays(content: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the paths of the arrays that a group's consolidated metadata name."""
    try:
        below = content["consolidated_metadata"]["metadata"]
        return tuple(name for name, meta in below.items() if meta["node_type"] == "array")
    except (KeyError, TypeError, AttributeError):
        return None


def _splits(path: Place, written: Any) -> dict[str, tuple[int, int]]:
    """Check that the splits follow each other from row 0 on, and return them in row order."""
    expected = "row ranges [start, stop] that follow each other from row 0"
    if not isinstance(written, dict) or not written:
        raise _unfit(path, "splits", written, expected)
    for pair in written.values():
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair))):
            raise _unfit(path, "splits", written, expected)
    splits = dict(sorted(((n, (p[0], p[1])) for n, p in written.items()), key=lambda s: s[1]))
    row = 0
    for start, stop in splits.values():
        if start != row or stop < start:
            raise _unfit(path, "splits", written, expected)
        row = stop
    return splits


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _unfit(path: Place, key: str, found: Any, expected: str) -> DamagedStoreError:
    return DamagedStoreError(
        f"{path}: in the metadata {key} is {found!r}, which should be {expected}; "
        "make or copy the store again"
    )

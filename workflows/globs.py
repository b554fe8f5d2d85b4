"""The files that a recipe's globs name."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..reader.remote import is_remote
from ..tasks.remote_place import Storage
from .errors import RecipeError
from .natural import natural_key
from .places import Places, is_zarr
from .problems import show
from .remote_globs import list_remote

#: How many files, images or groups an error names before it only counts.
FEW = 5


def few(items: Iterable[str], total: int, separator: str = ", ") -> str:
    """Return the first items as text, and how many more there are."""
    text = separator.join(islice(items, FEW))
    return text if total <= FEW else f"{text}{separator}and {total - FEW} more"


def list_files(
    folder: Path, paths: Sequence[str], exclude: Sequence[str], storage: Storage = ()
) -> dict[str, str]:
    """Return the files that globs match, as absolute paths by path relative to a folder.

    Parameters
    ----------
    folder
        Absolute; globs and the result's keys are relative to it.
    paths
        Globs; `**` stands for any number of folders. One that is a file's own name is that file,
        brackets and all. A folder that is a zarr group or array counts as a file; what is in it is
        matched only where it is a zarr folder itself, and the glob has no `**`. For URLs see
        `list_remote`.
    exclude
        Globs on the relative path (where `*` also crosses folders) or on the file's name.
    storage
        Options of remote stores.

    Returns
    -------
    dict
        In natural order of the relative paths, which have forward slashes.

    Raises
    ------
    RecipeError
        When a glob matches no file, or all are excluded.
    """
    skip = excluded_by(exclude)
    place = Places(folder, folder)
    seen: dict[str, str] = {}
    left: dict[str, str] = {}
    for pattern in paths:
        directories = count = 0
        own_name = os.path.expanduser(pattern)  # noqa: PTH111
        remote = is_remote(pattern)
        for match in list_remote(pattern, storage) if remote else _matches(folder, pattern):
            path, relative = place(match)
            if relative in seen:
                count += 1
                continue
            is_excluded = skip(relative)
            if not is_excluded and not remote:
                if os.path.isdir(path):  # noqa: PTH112
                    if not is_zarr(path) or ("**" in pattern and place.is_in_zarr(path)):
                        directories += 1
                        continue
                elif match != own_name and place.is_in_zarr(path):
                    continue  # a chunk or metadata
            count += 1
            seen[relative] = path
            if not is_excluded:
                left[relative] = path
        if not count:
            raise RecipeError(_nothing(folder, pattern, directories))
    if not left:
        raise RecipeError(
            f"images.exclude: {show(list(exclude))} leaves none of the {len(seen)} files that "
            "images.paths names; write narrower globs"
        )
    return {relative: left[relative] for relative in sorted(left, key=natural_key)}


def excluded_by(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a relative path is left out by globs on it or on the file's name."""
    if not globs:
        return lambda relative: False
    match = re.compile("|".join(map(fnmatch.translate, globs))).match
    return lambda relative: bool(match(relative) or match(relative.rpartition("/")[2]))


def _matches(folder: Path, pattern: str) -> Iterator[str]:
    pattern = os.path.expanduser(pattern)  # noqa: PTH111
    if os.path.lexists(folder / pattern):
        return iter([pattern])
    return glob.iglob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207


def _nothing(folder: Path, pattern: str, directories: int) -> str:
    """Return why a glob matches no file, with what would."""
    text = f'images.paths: "{pattern}" matches no file under {folder}'
    if directories:
        what = "it is a folder" if directories == 1 else f"it matches {directories} folders"
        return f'{text}: {what}; write "{pattern.rstrip("/")}/*.tif" or "{pattern.rstrip("/")}/**"'
    other = sorted(_matches(folder, _any_case(pattern)))
    if other:
        names = few((f'"{name}"' for name in other), len(other))
        return f"{text}; in another case it would match {names}"
    return f"{text}; check the path, which is relative to the recipe"


def _any_case(pattern: str) -> str:
    """Return a glob whose last part matches letters of either case."""
    head, name = os.path.split(pattern)
    parts = re.split(r"(\[[^\]]*\])", name)
    for n in range(0, len(parts), 2):
        parts[n] = re.sub(
            r"[A-Za-z]", lambda found: f"[{found[0].lower()}{found[0].upper()}]", parts[n]
        )
    return os.path.join(head, "".join(parts))  # noqa: PTH118

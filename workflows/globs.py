"""The files that a recipe's globs name."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from .errors import RecipeError
from .natural import natural_key
from .problems import show

#: How many files, images or groups an error names before it only counts.
FEW = 5


def few(items: Iterable[str], total: int, separator: str = ", ") -> str:
    """Return the first items as text, and how many more there are."""
    text = separator.join(islice(items, FEW))
    return text if total <= FEW else f"{text}{separator}and {total - FEW} more"


def list_files(folder: Path, paths: Sequence[str], exclude: Sequence[str]) -> dict[str, str]:
    """Return the files that globs match, as absolute paths by path relative to a folder.

    Parameters
    ----------
    folder
        Absolute; globs and the result's keys are relative to it.
    paths
        Globs; `**` stands for any number of folders. One that is a file's own name is that file,
        brackets and all.
    exclude
        Globs on the relative path (where `*` also crosses folders) or on the file's name.

    Returns
    -------
    dict
        In natural order of the relative paths, which have forward slashes.

    Raises
    ------
    RecipeError
        When a glob matches no file, or all are excluded.
    """
    skip = re.compile("|".join(map(fnmatch.translate, exclude))) if exclude else None
    relative_folders: dict[str, str] = {}
    seen: dict[str, str] = {}
    left: dict[str, str] = {}
    for pattern in paths:
        directories = count = 0
        for match in _matches(folder, pattern):
            # Only the folder is made relative, once: os.path.relpath is slow for many files.
            head, name = os.path.split(os.path.normpath(os.path.join(folder, match)))  # noqa: PTH118
            if head not in relative_folders:
                relative = Path(os.path.relpath(head, folder)).as_posix()
                relative_folders[head] = "" if relative == "." else f"{relative}/"
            path, relative = os.path.join(head, name), relative_folders[head] + name  # noqa: PTH118
            if relative in seen:
                count += 1
                continue
            is_excluded = skip is not None and (skip.match(relative) or skip.match(name))
            if not is_excluded and os.path.isdir(path):  # noqa: PTH112
                directories += 1
                continue
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

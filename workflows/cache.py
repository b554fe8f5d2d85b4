"""What surveys have found, kept outside any store so that a second look costs nothing.

Small JSON files in `$PATCHMILL_CACHE` or `~/.cache/patchmill`, keyed by a source's path and
identity and by the options of the survey, never by thresholds.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..tasks.identity import identity_of
from ..tasks.image import ImageOptions
from ..tasks.source import FileIdentity, FileInfo, ImageSource, SourceError

#: Raised whenever the survey of a file finds more, or something else, than it did.
SURVEY_VERSION = 3
#: Raised whenever another plane may be called the sharpest.
FOCUS_VERSION = 1
_FILE_INFO = TypeAdapter(FileInfo)
_PLANES = TypeAdapter(list[list[int]])


def cache_folder() -> Path:
    """Return where surveys are kept."""
    chosen = os.environ.get("PATCHMILL_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "patchmill"


class Cache:
    """Small JSON texts by key, one file each.

    Parameters
    ----------
    kind
        Of what is kept: a folder.
    options
        JSON values that are part of every key.
    """

    def __init__(self, kind: str, options: Sequence[Any]) -> None:
        self._folder = cache_folder() / kind
        self._options = list(options)

    def _path(self, key: Sequence[Any]) -> Path:
        digest = hashlib.sha256(json.dumps([*key, *self._options]).encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:]}.json"

    def read(self, key: Sequence[Any]) -> bytes | None:
        """Return a text; None where there is none, or it cannot be read."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def write(self, key: Sequence[Any], text: str) -> None:
        """Keep a text; where the folder cannot be written, do without."""
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            attempt = target.with_suffix(f".{uuid.uuid4().hex}")
            attempt.write_text(text)
            attempt.replace(target)
        except OSError:
            return


def option_values(options: ImageOptions) -> dict[str, Any]:
    """Return what of the options decides what is found in a file, as JSON values."""
    # How long a task may take, and by what keys a server lets us in, say nothing of a file.
    return asdict(replace(options, max_seconds=0, storage=()))


class SurveyCache:
    """Finds and keeps what was found in a file.

    Parameters
    ----------
    options, content
        Of the survey, as in `patchmill.tasks.survey.describe`.
    """

    def __init__(self, options: ImageOptions, content: bool) -> None:
        self._cache = Cache("survey", [SURVEY_VERSION, option_values(options), content])
        self._options = options

    def _identity(self, *paths: str) -> FileIdentity:
        return identity_of(paths, content=False, storage=self._options.storage)

    def get(self, path: str) -> FileInfo | None:
        """Return what was found in the file as it is now, None where it was not surveyed."""
        if self._options.reader is not None:
            return None  # a user's own function, which may be another tomorrow
        try:
            own = self._identity(path)
            found = self._cache.read([path, own.size_bytes, own.mtime_ns])
            info = None if found is None else _FILE_INFO.validate_json(found)
            if info is not None and info.members:
                changed = replace(info.identity, sha256="") != self._identity(*info.members)
                return None if changed else info
            return info
        except ValueError:
            return None  # the survey's task says what is wrong

    def put(self, path: str, info: FileInfo) -> None:
        """Keep what was found."""
        try:
            own = self._identity(path) if info.members else info.identity
        except SourceError:
            return
        self._cache.write([path, own.size_bytes, own.mtime_ns], json.dumps(asdict(info)))


def source_key(source: ImageSource) -> list[Any]:
    """Return what tells an image, its planes and its level from any other, as JSON values."""
    return [
        [[i.size_bytes, i.mtime_ns] for i in source.identities],
        list(source.paths),
        source.item,
        source.kind.resolution.level,
        source.kind.planes.tolist(),
    ]


class FocusCache:
    """Finds and keeps which planes of an image are the sharpest.

    Parameters
    ----------
    options, channels
        As in `patchmill.tasks.sharpest.find_sharpest`.
    """

    def __init__(self, options: ImageOptions, channels: Sequence[int]) -> None:
        values = [FOCUS_VERSION, option_values(options), list(channels)]
        self._cache = Cache("focus", values)

    def get(self, source: ImageSource) -> list[list[int]] | None:
        """Return the planes, a list of channels for each time; None where nobody looked."""
        found = self._cache.read(source_key(source))
        try:
            return None if found is None else _PLANES.validate_json(found)
        except ValueError:
            return None

    def put(self, source: ImageSource, planes: list[list[int]]) -> None:
        """Keep the planes."""
        self._cache.write(source_key(source), json.dumps(planes))

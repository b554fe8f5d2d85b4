"""What surveys have found, kept outside any store so that a second look costs nothing.

One small JSON file per source file, in `$PATCHMILL_CACHE` or `~/.cache/patchmill`, keyed by the
source's path and identity and by the options of the survey, never by thresholds.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from ..tasks.source import FileIdentity, FileInfo

#: Raised whenever the survey of a file finds more, or something else, than it did.
SURVEY_VERSION = 1
_FILE_INFO = TypeAdapter(FileInfo)


def cache_folder() -> Path:
    """Return where surveys are kept."""
    chosen = os.environ.get("PATCHMILL_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "patchmill"


class SurveyCache:
    """Finds and keeps what was found in a file.

    Parameters
    ----------
    axes, content
        The options of the survey, as in `patchmill.tasks.tiff.describe`.
    """

    def __init__(self, axes: str | None, content: bool) -> None:
        self._options = [SURVEY_VERSION, axes, content]
        self._folder = cache_folder() / "survey"

    def _path(self, path: str, identity: FileIdentity) -> Path:
        key = [path, identity.size_bytes, identity.mtime_ns, *self._options]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:]}.json"

    def get(self, path: str, identity: FileIdentity) -> FileInfo | None:
        """Return what was found in the file as it is now, None where it was not surveyed."""
        try:
            return _FILE_INFO.validate_json(self._path(path, identity).read_bytes())
        except (OSError, ValueError):
            # Not there, or not readable: the file is surveyed again.
            return None

    def put(self, path: str, info: FileInfo) -> None:
        """Keep what was found; where the folder cannot be written, do without."""
        target = self._path(path, info.identity)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            attempt = target.with_suffix(f".{uuid.uuid4().hex}")
            attempt.write_text(json.dumps(asdict(info)))
            attempt.replace(target)
        except OSError:
            return

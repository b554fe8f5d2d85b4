"""The task that surveys a batch of files."""

from __future__ import annotations

from collections.abc import Sequence

from .source import FileInfo, SourceError
from .tiff import describe


def survey_files(paths: Sequence[str], axes: str | None, content: bool) -> list[FileInfo | str]:
    """Describe files, one after another.

    Parameters
    ----------
    paths
        Of the files.
    axes, content
        As in `patchmill.tasks.tiff.describe`.

    Returns
    -------
    found
        For each file what is in it, or one sentence that says why it cannot be read.
    """
    found: list[FileInfo | str] = []
    for path in paths:
        try:
            found.append(describe(path, axes, content))
        except SourceError as error:
            found.append(str(error))
    return found

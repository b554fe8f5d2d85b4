"""The files that a glob names on an object store: s3://bucket/plate1/**/*.tif and the like."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterator

from ..reader.remote_client import RemoteClient
from ..reader.remote_fetch import at_once
from ..tasks.folders import ZARR_FILES
from ..tasks.remote_place import Storage, remote_place, saying
from ..tasks.source import SourceError
from .errors import RecipeError

#: Folders that are listed at once.
_MOST_AT_ONCE = 16


def list_remote(url: str, storage: Storage) -> list[str]:
    """Return the URLs that a glob on an object store matches; one without wildcards is itself.

    `**` stands for any number of folders, and no wildcard for a name that begins with a dot, as in
    folders of this machine. A folder that is a zarr group or array counts as a file, and `**` does
    not look inside. Only folders that may match are listed, so a literal beginning is worth it.

    Parameters
    ----------
    url
        s3://bucket/key, gs://bucket/key or az://container/key, with wildcards; or an https://
        address without.
    storage
        Options of the store, as `patchmill.tasks.bytes.open_bytes` takes them.

    Returns
    -------
    list of str
        Sorted; nothing is asked about a URL without wildcards.

    Raises
    ------
    RecipeError
        When nothing matches, for wildcards in an https:// address, and where the store cannot be
        listed.
    """
    scheme, _, rest = url.partition("://")
    if scheme in ("http", "https"):
        # A question mark there is the beginning of a query.
        if re.search(r"[*[]", rest):
            raise RecipeError(
                f'images.paths: "{url}" has wildcards, and a web server says not what it has; '
                "write the address of each file, or list them in images.manifest"
            )
        return [url]
    if not glob.has_magic(rest):
        return [url]
    try:
        client, pattern = remote_place(url.rstrip("/"), storage)
        search = _Search(client)
        found = saying(lambda: search.files(pattern.split("/")) or search.named(pattern))
    except (SourceError, FileNotFoundError) as error:
        raise RecipeError(f"images.paths: {error}") from error
    if not found:
        raise RecipeError(
            f'images.paths: "{url}" matches no file; check the bucket, the path and its case '
            "(a folder matches if it is a zarr group or array)"
        )
    return [client.url_of(name) for name in sorted(found)]


class _Search:
    """Folders of a store, each listed once."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client
        self._listed: dict[str, tuple[list[str], list[str]]] = {}

    def files(self, parts: list[str]) -> set[str]:
        """Return the files and zarr folders that the parts of a glob name."""
        *folders, last = parts
        within = {""}
        for part in folders:
            within = self._folders(within, part)
        if last == "**":
            within, last = self._below(within), "*"
        self._list(within)
        found = {
            file
            for each in within
            if not self._is_zarr(each)  # there, it is a chunk or metadata
            for file in self._listed[each][1]
            if _is(file, last)
        }
        inside = {folder for each in within for folder in self._matching(each, last)}
        self._list(inside)
        return found | {folder for folder in inside if self._is_zarr(folder)}

    def named(self, name: str) -> set[str]:
        """Return a file of that very name, brackets and all."""
        folder = name.rpartition("/")[0]
        self._list({folder})
        return {name}.intersection(self._listed[folder][1])

    def _folders(self, within: set[str], part: str) -> set[str]:
        """Return the folders in some that one part of a glob names."""
        if part == "**":
            return self._below(within)
        if not glob.has_magic(part):
            return {f"{each}/{part}".lstrip("/") for each in within}
        self._list(within)
        return {folder for each in within for folder in self._matching(each, part)}

    def _below(self, within: set[str]) -> set[str]:
        """Return folders and all that are in them, but for what is in a zarr folder."""
        found, new = set(within), within
        while new:
            self._list(new)
            new = {
                folder
                for each in new
                if not self._is_zarr(each)
                for folder in self._matching(each, "*")
            } - found
            found |= new
        return {each for each in found if not self._is_zarr(each)}

    def _matching(self, folder: str, part: str) -> Iterator[str]:
        return (inner for inner in self._listed[folder][0] if _is(inner, part))

    def _is_zarr(self, folder: str) -> bool:
        names = {file.rpartition("/")[2] for file in self._listed[folder][1]}
        return not names.isdisjoint(ZARR_FILES)

    def _list(self, folders: set[str]) -> None:
        """List folders that are not yet listed, several at once."""
        new = sorted(folders - self._listed.keys())
        self._listed.update(
            zip(new, at_once(self._client.list_folder, new, _MOST_AT_ONCE), strict=True)
        )


def _is(path: str, part: str) -> bool:
    """Say whether the last name of a path is one that a part of a glob means."""
    name = path.rpartition("/")[2]
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, part)

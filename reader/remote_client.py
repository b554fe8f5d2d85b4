"""Requests to the server of a remote store, through obstore, which the reader imports here alone.

Obstore tries again what may pass (no connection, a server that is overloaded or broken, a reply
that ends early): ten times within three minutes, with growing pauses, unless `retry_config` among
the options says otherwise. What is raised here is final.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import RemoteStoreError, StoreError

if TYPE_CHECKING:
    from zarr.storage import ObjectStore

#: Where obstore finds the address of another server that speaks S3, as the AWS tools do.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: Parts of what obstore says where it has found no credentials, and asked a cloud machine's own.
_NO_CREDENTIALS = ("MissingAccessKeyId", "MissingSecretAccessKey", "169.254.169.254", "/latest/api")
_MICROSECOND = timedelta(microseconds=1)
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


@dataclass(frozen=True)
class RemoteMeta:
    """What a server says of a file: what tells it from its later self.

    Attributes
    ----------
    size_bytes
        Of all of it.
    mtime_ns
        When it was last changed, since 1970; 0 where the server does not say.
    etag
        The server's name for this version; empty where it gives none.
    """

    size_bytes: int
    mtime_ns: int
    etag: str


class RemoteClient:
    """A connection to a remote store, made by the first request; safe for threads.

    Parameters
    ----------
    url
        Of the store, without a slash at its end.
    options
        For `obstore.store.from_url`.
    called
        What the user knows the options as.
    """

    def __init__(self, url: str, options: dict[str, Any], called: str = "storage_options") -> None:
        self.url = url
        self.options = options
        self.called = called
        self._store: Any = None
        self._process = 0

    def url_of(self, name: str) -> str:
        """Return the URL of a file of the store."""
        return f"{self.url}/{name}" if name else self.url

    def read(self, name: str) -> bytes:
        """Return all of a file; raises as `read_range` does."""
        try:
            import obstore

            return bytes(obstore.get(self.connected(), name).bytes())
        except Exception as error:
            self.refuse(name, error)

    def read_range(self, name: str, start: int, nbytes: int) -> Any:
        """Return some bytes of a file, as a buffer: fewer where it ends before.

        Raises
        ------
        FileNotFoundError
            Where there is no such file.
        RemoteStoreError
            Where it cannot be read.
        """
        try:
            import obstore

            return obstore.get_range(self.connected(), name, start=start, length=nbytes)
        except Exception as error:
            if _is_beyond(error):
                return b""
            self.refuse(name, error)

    def read_end(self, name: str, nbytes: int) -> tuple[Any, int]:
        """Return the last bytes of a file, fewer where it is smaller, and its size.

        Raises as `read_range` does.
        """
        try:
            import obstore

            reply = obstore.get(
                self.connected(), name, options={"range": {"suffix": max(nbytes, 1)}}
            )
            size = int(reply.meta["size"])  # first: taking its bytes uses a reply up
            return reply.bytes(), size
        except Exception as error:
            if _is_beyond(error) or (_is_whole(error) and not self._meta(name).size_bytes):
                return b"", 0  # an empty file has no last byte
            self.refuse(name, error)

    def read_part(self, name: str, start: int, nbytes: int) -> tuple[Any, RemoteMeta]:
        """Return some bytes of a file, fewer where it ends before, and what is said of it.

        Raises as `read_range` does.
        """
        try:
            import obstore

            options: Any = {"range": (start, start + nbytes)}
            reply = obstore.get(self.connected(), name, options=options)
            meta = _meta_of(reply)
            return reply.bytes(), meta
        except Exception as error:
            if _is_beyond(error):
                return b"", self._meta(name)
            if _is_whole(error) and not (meta := self._meta(name)).size_bytes:
                return b"", meta
            self.refuse(name, error)

    def _meta(self, name: str) -> RemoteMeta:
        try:
            import obstore

            return _meta_of(obstore.get(self.connected(), name))
        except Exception as error:
            self.refuse(name, error)

    def list_folder(self, name: str) -> tuple[list[str], list[str]]:
        """Return the folders and the files that are right inside a folder, by their paths.

        Nothing is there where the store has no such folder. Raises as `read_range` does.
        """
        try:
            import obstore

            found = obstore.list_with_delimiter(self.connected(), name or None)
            return list(found["common_prefixes"]), [each["path"] for each in found["objects"]]
        except Exception as error:
            self.refuse(name, error)

    def zarr_store(self) -> ObjectStore[Any]:
        """Return the store as one of zarr's."""
        store = self.connected()  # first: it says what is not installed
        from zarr.storage import ObjectStore

        return ObjectStore(store, read_only=True)

    def connected(self) -> Any:
        """Return obstore's store; a StoreError says what is not installed."""
        if self._store is not None and self._process == os.getpid():
            return self._store
        if self._store is not None:
            raise RemoteStoreError(
                f"{self.url} was opened before this process was forked, and its connection does "
                "not survive that; start workers by spawn (for PyTorch's DataLoader "
                'multiprocessing_context="spawn"), or open the store in each process'
            )
        self._store = _connect(self.url, self.options, self.called)
        self._process = os.getpid()
        return self._store

    def refuse(self, name: str, error: Exception, done: str = "read") -> NoReturn:
        """Raise what a request has failed by, as a sentence; `done` is what could not be."""
        url = self.url_of(name)
        if isinstance(error, StoreError | RemoteStoreError):
            raise error
        if isinstance(error, ImportError):
            raise _no_obstore(self.url) from error
        if isinstance(error, FileNotFoundError) and done == "read":
            raise FileNotFoundError(f"{url} is not there") from error
        kind, said = type(error).__name__, _said(error)
        if _is_whole(error) and done == "read":
            raise RemoteStoreError(
                f"{url}: the server does not answer requests for a range of bytes, which reading "
                "needs; serve it with one that does, or copy it here"
            ) from error
        scheme = url.partition(":")[0]
        is_refused = kind in ("PermissionDeniedError", "UnauthenticatedError")
        if is_refused or (scheme in _KEYS and any(part in str(error) for part in _NO_CREDENTIALS)):
            keys = f"set {_KEYS[scheme]}" if scheme in _KEYS else "ask whoever serves it"
            public = ', {"skip_signature": True} where it is public' if done == "read" else ""
            raise RemoteStoreError(
                f"{url} may not be {done} ({said if is_refused else 'no credentials'}); {keys}, "
                f"pass {self.called}{public}, and check the address: some servers answer so for "
                "what is not there"
            ) from error
        raise RemoteStoreError(
            f"{url} cannot be {done} ({said}); check the address, the network, and {self.called}"
        ) from error


def _no_obstore(url: str) -> StoreError:
    return StoreError(
        f"{url} is not a folder, and reading from elsewhere needs obstore; "
        "install it: pip install 'patchmill[cloud]'"
    )


def _connect(url: str, options: dict[str, Any], called: str) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise _no_obstore(url) from error
    asked = dict(options)
    client = dict(asked.pop("client_options", None) or {})
    addresses = [url, *(str(asked.get(key, "")) for key in ("endpoint", "aws_endpoint"))]
    addresses += [os.environ.get(key, "") for key in _ENDPOINTS]
    # Who writes http:// means it.
    if any(address.lower().startswith("http://") for address in addresses):
        client.setdefault("allow_http", True)
    connect: Any = from_url  # whose overloads need each option by its type
    try:
        return connect(url, client_options=client, **asked)
    except Exception as error:
        if "Unable to recognise URL" in str(error):
            raise StoreError(
                f"{url} is no address of a store; give s3://bucket/path, "
                "gs://bucket/path or https://host/path"
            ) from error
        if any(part in str(error) for part in _NO_CREDENTIALS):
            raise RemoteStoreError(
                f"{url} may not be read ({_said(error)}); set {_KEYS['s3']}, or pass "
                f'{called}, {{"skip_signature": True}} where it is public'
            ) from error
        raise StoreError(
            f"{url} cannot be opened with these {called} ({_said(error)}); give what "
            "obstore.store.from_url takes"
        ) from error


def _meta_of(reply: Any) -> RemoteMeta:
    meta = reply.meta
    microseconds = (meta["last_modified"] - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
    return RemoteMeta(int(meta["size"]), microseconds * 1000, meta["e_tag"] or "")


def _is_beyond(error: Exception) -> bool:
    """Say whether a range was refused since the file ends before it."""
    return "status code: 416" in str(error)


def _is_whole(error: Exception) -> bool:
    """Say whether all of a file came where a range of it was asked for."""
    return type(error).__name__ == "NotSupportedError" or "non-partial response" in str(error)


def _said(error: Exception) -> str:
    """Return what obstore says, in one line: its first one, and the system's reason."""
    first, _, rest = str(error).partition("\n\nDebug source")
    first = re.sub(r"<.*", "", first.partition("\n")[0]).strip(" :-")
    reasons = re.findall(r'(?:message|error): "([^"\\]+)"|(TimedOut)', rest)
    reason = next((a or "timed out" for a, b in reasons), "")
    return f"{first}: {reason}" if reason else first or type(error).__name__

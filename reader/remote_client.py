"""Requests to the server of a remote store, through obstore, which alone this file imports.

Obstore tries again what may pass (no connection, a server that is overloaded or broken, a reply
that ends early): ten times within three minutes, with growing pauses, unless `retry_config` among
the options says otherwise. What is raised here is final.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import RemoteStoreError, StoreError

if TYPE_CHECKING:
    from zarr.storage import ObjectStore

#: Where obstore finds the address of another server that speaks S3, as the AWS tools do.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: Parts of what obstore says where it has found no credentials, and asked a cloud machine's own.
_NO_CREDENTIALS = ("MissingAccessKeyId", "MissingSecretAccessKey", "169.254.169.254", "/latest/api")
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


class RemoteClient:
    """A connection to a remote store, made by the first request; safe for threads.

    Parameters
    ----------
    url
        Of the store, without a slash at its end.
    options
        For `obstore.store.from_url`.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.options = options
        self._store: Any = None
        self._process = 0

    def url_of(self, name: str) -> str:
        """Return the URL of a file of the store."""
        return f"{self.url}/{name}" if name else self.url

    def read(self, name: str) -> bytes:
        """Return all of a file; raises as `read_range` does."""
        import obstore

        try:
            return bytes(obstore.get(self._connected(), name).bytes())
        except Exception as error:
            self._refuse(name, error)

    def read_range(self, name: str, start: int, nbytes: int) -> Any:
        """Return some bytes of a file, as a buffer: fewer where it ends before.

        Raises
        ------
        FileNotFoundError
            Where there is no such file.
        RemoteStoreError
            Where it cannot be read.
        """
        import obstore

        try:
            return obstore.get_range(self._connected(), name, start=start, length=nbytes)
        except Exception as error:
            if _is_beyond(error):
                return b""
            self._refuse(name, error)

    def read_end(self, name: str, nbytes: int) -> tuple[Any, int]:
        """Return the last bytes of a file, fewer where it is smaller, and its size.

        Raises as `read_range` does.
        """
        import obstore

        try:
            reply = obstore.get(
                self._connected(), name, options={"range": {"suffix": max(nbytes, 1)}}
            )
            size = int(reply.meta["size"])  # first: taking its bytes uses a reply up
            return reply.bytes(), size
        except Exception as error:
            if _is_beyond(error) or (_is_whole(error) and not self._size(name)):
                return b"", 0  # an empty file has no last byte
            self._refuse(name, error)

    def _size(self, name: str) -> int:
        import obstore

        try:
            return int(obstore.get(self._connected(), name).meta["size"])
        except Exception as error:
            self._refuse(name, error)

    def zarr_store(self) -> ObjectStore[Any]:
        """Return the store as one of zarr's."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._connected(), read_only=True)

    def _connected(self) -> Any:
        if self._store is not None and self._process == os.getpid():
            return self._store
        if self._store is not None:
            raise RemoteStoreError(
                f"{self.url} was opened before this process was forked, and its connection does "
                "not survive that; start workers by spawn (for PyTorch's DataLoader "
                'multiprocessing_context="spawn"), or open the store in each process'
            )
        self._store, self._process = _connect(self.url, self.options), os.getpid()
        return self._store

    def _refuse(self, name: str, error: Exception) -> NoReturn:
        url = self.url_of(name)
        if isinstance(error, StoreError | RemoteStoreError):
            raise error
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{url} is not there") from error
        kind, said = type(error).__name__, _said(error)
        if _is_whole(error):
            raise RemoteStoreError(
                f"{url}: the server does not answer requests for a range of bytes, which reading "
                "needs; serve the store with one that does, or copy it here"
            ) from error
        scheme = url.partition(":")[0]
        is_refused = kind in ("PermissionDeniedError", "UnauthenticatedError")
        if is_refused or (scheme in _KEYS and any(part in str(error) for part in _NO_CREDENTIALS)):
            keys = f"set {_KEYS[scheme]}" if scheme in _KEYS else "ask whoever serves it"
            raise RemoteStoreError(
                f"{url} may not be read ({said if is_refused else 'no credentials'}); {keys}, pass "
                'storage_options, {"skip_signature": True} where it is public, and check the '
                "address: some servers answer so for what is not there"
            ) from error
        raise RemoteStoreError(
            f"{url} cannot be read ({said}); check the address, the network, and storage_options"
        ) from error


def _connect(url: str, options: dict[str, Any]) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(
            f"{url} is not a folder, and reading from elsewhere needs obstore; "
            "install it: pip install 'patchmill[cloud]'"
        ) from error
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
                'storage_options, {"skip_signature": True} where it is public'
            ) from error
        raise StoreError(
            f"{url} cannot be opened with these storage_options ({_said(error)}); give what "
            "obstore.store.from_url takes"
        ) from error


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

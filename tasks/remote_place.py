"""Where a source lies on a server, with the options of a recipe; connections are shared.

What goes wrong there for good is one sentence, in the words of a recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from ..reader.errors import RemoteStoreError, StoreError
from ..reader.remote import SCHEMES
from ..reader.remote_client import RemoteClient
from .source import SourceError

#: Connections that a process keeps.
MOST_CLIENTS = 32
#: What a recipe calls the options of remote stores.
OPTIONS_KEY = "images.storage"

Storage = tuple[tuple[str, str], ...]
Result = TypeVar("Result")


def remote_place(url: str, storage: Storage) -> tuple[RemoteClient, str]:
    """Return a connection, and the name of a file or folder there; nothing is asked yet.

    Raises
    ------
    SourceError
        For a URL of another kind, or one with a query.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise SourceError(
            f"{url}: is no address that is read; give a path, s3://bucket/key, gs://bucket/key, "
            "az://container/key or https://host/path"
        )
    if scheme not in ("http", "https"):
        bucket, _, key = rest.partition("/")
        return _client(f"{scheme}://{bucket}", storage), key
    if "?" in url or "#" in url:
        raise SourceError(
            f"{url}: has a query or a fragment, which is not read; give an address without, and "
            f"keys to it in {OPTIONS_KEY}"
        )
    folder, slash, name = rest.rstrip("/").rpartition("/")
    if not slash:
        raise SourceError(f"{url}: names a server and no file on it; give https://host/path")
    # Names are encoded again on their way; a folder's URL goes as it is.
    return _client(f"{scheme}://{folder}", storage), unquote(name)


def remote_options(storage: Storage, called: str = OPTIONS_KEY) -> dict[str, Any]:
    """Return what `obstore.store.from_url` takes, of options as text.

    Parameters
    ----------
    storage
        Pairs such as ("region", "eu-central-1"), ("endpoint", "https://minio.example") and
        ("skip_signature", "true"); dots lead into tables, as in
        ("client_options.timeout", "30s"), ("retry_config.max_retries", "3") and
        ("retry_config.retry_timeout", "60"), in seconds.
    called
        What the recipe calls them.

    Raises
    ------
    SourceError
        For a number that is none.

    Examples
    --------
    >>> remote_options((("region", "eu-west-1"), ("retry_config.max_retries", "3")))
    {'region': 'eu-west-1', 'retry_config': {'max_retries': 3}}
    """
    options: dict[str, Any] = {}
    for key, text in storage:
        table, _, name = key.rpartition(".")
        value: Any = text
        if table == "retry_config":
            try:
                value = int(text) if name == "max_retries" else timedelta(seconds=float(text))
            except ValueError:
                raise SourceError(f'{called}.{key}: found "{text}"; write a number') from None
        (options.setdefault(table, {}) if table else options)[name] = value
    return options


def saying(ask: Callable[[], Result]) -> Result:
    """Return what a request brings; that it failed for good is a SourceError with its sentence.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    """
    try:
        return ask()
    except (RemoteStoreError, StoreError) as error:
        raise SourceError(str(error)) from error


@lru_cache(maxsize=MOST_CLIENTS)
def _client(root: str, storage: Storage) -> RemoteClient:
    return RemoteClient(root, remote_options(storage), OPTIONS_KEY)

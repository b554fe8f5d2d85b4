"""Functions of the user's own: named as "package.module:function", and imported where they run."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from .source import SourceError


def users_function(name: str, key: str) -> Callable[..., Any]:
    """Return the function that a recipe names.

    Parameters
    ----------
    name
        "package.module:function".
    key
        Of the recipe, for the error.

    Raises
    ------
    SourceError
        Where it cannot be imported here.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # a module of the user's own may raise anything
        raise SourceError(
            f"{key}: {name} cannot be imported ({type(error).__name__}: {error}); write an "
            'installed module and a function in it, as in "package.module:function", and install '
            "it for the workers too"
        ) from error
    if not callable(found):
        raise SourceError(f"{key}: {name} is a {type(found).__name__}, and no function")
    called: Callable[..., Any] = found
    return called


def source_sha256(name: str, function: Callable[..., Any]) -> str:
    """Return the sha256 of the file that a function is in, as the file is now.

    Of what is no plain function, that of the module it was named by.

    Raises
    ------
    SourceError
        Where there is no such file.
    """
    module = name.partition(":")[0]
    paths = [getattr(sys.modules.get(module), "__file__", None)]
    if inspect.isfunction(own := inspect.unwrap(function)) or inspect.isclass(own):
        paths.insert(0, inspect.getsourcefile(own))
    for path in paths:
        if path and Path(path).is_file():
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    raise SourceError(
        f"call: {name} is in no file that could be told from its later self; write a function in a "
        "module of your own"
    )


@lru_cache(maxsize=64)
def loaded(name: str) -> tuple[Callable[..., Any], str]:
    """Return a function and the sha256 of its file when it was first asked for.

    Raises
    ------
    SourceError
        Where it cannot be imported here, or is in no file.
    """
    function = users_function(name, "call")
    return function, source_sha256(name, function)

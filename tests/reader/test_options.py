"""The typed options of shortcuts are those of what they stand for."""

import inspect

import pytest

from patchmill.reader import Loader, View, open_store
from patchmill.reader.options import LoaderOptions
from patchmill.reader.parts import OpenOptions
from patchmill.reader.whole import Selection


@pytest.mark.parametrize(
    ("function", "options"),
    [(Loader, LoaderOptions), (View.select, Selection), (open_store, OpenOptions)],
)
def test_options_are_the_keyword_arguments(function, options):
    parameters = inspect.signature(function).parameters.values()
    keywords = {each.name: each.annotation for each in parameters if each.kind == each.KEYWORD_ONLY}
    assert {
        name: kind.__forward_arg__ for name, kind in options.__annotations__.items()
    } == keywords

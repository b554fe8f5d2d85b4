"""What the dimensions of a plain array are: the recipe says it, or names that stand in the file."""

from __future__ import annotations

from collections.abc import Sequence

from .image import AXES, ImageOptions
from .source import SourceError

#: Words that files use for an axis, beside its letter. Samples of a pixel are channels.
_WORDS = {
    "time": "T",
    "frame": "T",
    "channel": "C",
    "channels": "C",
    "s": "C",
    "depth": "Z",
    "plane": "Z",
    "row": "Y",
    "height": "Y",
    "column": "X",
    "width": "X",
}
#: Arrays whose first axis is no longer than this are more likely channels than depths.
_MANY_CHANNELS = 8


def axes_of(
    path: str,
    shape: Sequence[int],
    names: Sequence[str | None] | None,
    options: ImageOptions,
) -> str:
    """Return what the dimensions of an array are, letters out of "NTCZYX".

    Parameters
    ----------
    path
        Of the file, for errors.
    shape
        Of the array.
    names
        What the file calls its dimensions, one each, None or "" where it calls one nothing; None
        where it names none.
    options
        `images.axes` wins over what the file says; only there may N stand, and S means C.

    Raises
    ------
    SourceError
        Where neither says it, and the array is not a single plane; or where `images.axes` does not
        fit the array.

    Examples
    --------
    >>> axes_of("a.h5", (4, 64, 64), ("channel", "y", "x"), ImageOptions())
    'CYX'
    """
    if options.axes is not None:
        axes = options.axes.upper().replace("S", "C")
        if not _are_axes(axes) or len(axes) != len(shape):
            raise SourceError(
                f"{path}: has {len(shape)} dimensions of lengths {tuple(shape)}, but images.axes = "
                f"{options.axes!r}; give each a letter of its own out of {AXES}, Y and X among them"
            )
        return axes
    named = "".join(_letter(name) for name in names or ())
    if len(named) == len(shape) and _are_axes(named):
        return named
    if len(shape) == 2 and not any(names or ()):
        return "YX"
    if len(shape) < 2:
        raise SourceError(
            f"{path}: has {len(shape)} dimensions of lengths {tuple(shape)}; an image has at least "
            "y and x; leave it out"
        )
    called = f", called {', '.join(map(repr, names))}" if names and any(names) else ""
    raise SourceError(
        f"{path}: has {len(shape)} dimensions of lengths {tuple(shape)}{called}, and does not say "
        f'what they are; say it with images.axes, for instance "{_suggested(shape)}"'
    )


def _letter(name: str | None) -> str:
    """Return the letter of an axis; "?" for a name that says nothing."""
    word = (name or "").strip().lower()
    return _WORDS.get(word, word.upper() if word in tuple("tczyx") else "?")


def _are_axes(axes: str) -> bool:
    return len(set(axes)) == len(axes) and {"Y", "X"} <= set(axes) <= set(AXES)


def _suggested(shape: Sequence[int]) -> str:
    if len(shape) == 3 and shape[-1] in (3, 4):
        return "YXC"
    if len(shape) == 3:
        return "CYX" if shape[0] <= _MANY_CHANNELS else "ZYX"
    return {2: "YX", 4: "CZYX", 5: "TCZYX"}.get(len(shape), AXES)

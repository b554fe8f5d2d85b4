"""The console entry: the command line, or one sentence on how to install what it needs.

The base install is the reader; the command line needs the `prepare` extra. This module
imports nothing but the standard library, so that it can say so.
"""

from __future__ import annotations

import sys

INSTALL = 'pip install "patchmill[prepare-headless]"'
#: Shared libraries of a desktop that `opencv-python` wants and slim containers lack.
DESKTOP_LIBRARIES = ("libGL", "libgthread", "libglib")


def advice(error: ImportError) -> str | None:
    """Return the sentence that mends a failed import; None where the fault is not the install's.

    Examples
    --------
    >>> print(advice(ModuleNotFoundError("No module named 'click'", name="click")))
    patchmill: click is missing; to prepare data: pip install "patchmill[prepare-headless]"
    >>> advice(ModuleNotFoundError("No module named 'patchmill.typo'", name="patchmill.typo"))
    """
    name = (error.name or "").partition(".")[0]
    if name == "patchmill":
        return None
    for library in DESKTOP_LIBRARIES:
        if library in str(error):
            return (
                f"patchmill: OpenCV cannot load {library}, which this system lacks: "
                f"pip uninstall opencv-python, then {INSTALL}, or install the system's "
                "libgl1 and libglib2.0-0"
            )
    if isinstance(error, ModuleNotFoundError) and name:
        return f"patchmill: {name} is missing; to prepare data: {INSTALL}"
    return None


def main() -> None:
    """Run the command line of patchmill."""
    try:
        from .cli import cli

        cli(prog_name="patchmill")
    except ImportError as error:
        sentence = advice(error)
        if sentence is None:
            raise
        sys.exit(sentence)  # to stderr, with status 1


if __name__ == "__main__":
    main()

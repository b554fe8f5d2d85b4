"""What a run shows: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console

from patchmill.workflows.progress import Live


def run(cut, tables, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160)
    cut(tables, progress=lambda: Live(console))
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())


def test_a_bar_on_a_terminal(cut, plate, plate_tables):
    plate("AB")
    text = run(cut, plate_tables(), terminal=True)
    for part in ("10/10 shards", "patches/s", "MB/s", "left", "finish: columns and statistics"):
        assert part in text


def test_lines_elsewhere(cut, plate, plate_tables):
    plate("AB")
    text = run(cut, plate_tables(), terminal=False)
    assert "plan: 40 patches in 10 shards\n" in text
    assert "━" not in text
    assert "\x1b" not in text
    assert "cut 40 patches (" in text
    assert run(cut, plate_tables(), terminal=False) == ""  # nothing to do, nothing to say

"""Importing the reader, opening a store and looping over it load nothing that is heavy."""

import subprocess
import sys

HEAVY = {"dask", "distributed", "tifffile", "imagecodecs", "cv2", "pydantic", "torch", "zarr"}


def test_the_reader_loads_nothing_heavy(plain, tmp_path):
    script = (
        "import sys\n"
        "from patchmill.reader import open_store\n"
        f"loader = open_store({str(plain.path)!r}).loader(8, shuffle=True)\n"
        "assert sum(1 for _ in loader) == 5\n"
        "rooms = [m for m in sys.modules if m.startswith('patchmill.')]\n"
        "assert all(m.startswith('patchmill.reader') for m in rooms), rooms\n"
        f"print(sorted({HEAVY!r}.intersection(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"

"""Fixtures that tests of every room may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images to test with; the tests that ask for them skip where there are none."""
    folder = os.environ.get("PATCHMILL_TEST_DATA")
    if not folder:
        pytest.skip("PATCHMILL_TEST_DATA is not set: no folder of real images to test with")
    if not Path(folder).is_dir():
        pytest.fail(f"PATCHMILL_TEST_DATA is {folder}, which is no folder")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built once from a copy: a build leaves `build/` behind."""
    tree = tmp_path_factory.mktemp("tree")
    hidden_or_built = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=hidden_or_built, dirs_exist_ok=True)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


class RangeServer(ThreadingHTTPServer):
    """An HTTP server of a folder that answers range requests, and notes them.

    Attributes
    ----------
    requests
        (path, range asked for) of each.
    faults
        Path to a status that is sent instead, or to a function that is called before the reply.
    has_ranges
        Whether it answers them, or sends all.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _RangeHandler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str]] = []
        self.faults: dict[str, int | list[int] | Callable[[], object]] = {}
        self.has_ranges = True

    def asked(self, part: str) -> list[str]:
        """Return the ranges that were asked for, of files whose path has a part."""
        return [asked for path, asked in self.requests if part in path]


class _RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.requests.append((self.path, asked))
        fault = self.server.faults.get(self.path)
        if isinstance(fault, list):  # one after the other, 0 for none
            fault = fault.pop(0) if fault else 0
        if isinstance(fault, int) and fault:
            self._reply(fault, b"")
            return
        if callable(fault):
            fault()
        try:
            data = (self.server.folder / unquote(self.path).lstrip("/")).read_bytes()
        except OSError:
            self._reply(404, b"")
            return
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
        if not found or not self.server.has_ranges:
            self._reply(200, data)
            return
        start, stop = len(data) - int(found[2] or 0), len(data)
        if found[1]:
            start, stop = int(found[1]), int(found[2] or len(data)) + 1
        if start >= len(data) or not data:
            self._reply(416, b"", f"bytes */{len(data)}")
            return
        part = data[max(start, 0) : stop]
        start = max(start, 0)
        self._reply(206, part, f"bytes {start}-{start + len(part) - 1}/{len(data)}")

    def _reply(self, status: int, data: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    """Serve this test's folder."""
    with RangeServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """What an S3 server on this machine, with the bucket `bucket`, needs to be told."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # All servers of a process share what was put: begin without what other tests have left.
    for path, method in (("moto-api/reset", "POST"), ("bucket", "PUT")):
        request = urllib.request.Request(f"{endpoint}/{path}", method=method)
        urllib.request.urlopen(request).close()
    yield {
        "endpoint": endpoint,
        "access_key_id": "testing",
        "secret_access_key": "testing",
        "region": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="session")
def run_mirrored() -> Callable[..., NDArray[np.float32]]:
    """Return a function that does steps on a window of an image that goes on as its mirror image.

    It takes the steps, the image (float32, shape (c, z, y, x)) and of the window, by default all,
    y and x of the first pixel and its size.
    """
    from patchmill.tasks.step import Window, halo_of, run_steps

    def run(
        steps: Sequence[Any],
        image: NDArray[np.float32],
        corner: tuple[int, int] = (0, 0),
        size: tuple[int, int] | None = None,
    ) -> NDArray[np.float32]:
        (y, x), (height, width) = corner, size or image.shape[2:]
        halo = halo_of(steps)
        far = halo + max(abs(y) + height, abs(x) + width)
        around = np.pad(image, ((0, 0), (0, 0), (far, far), (far, far)), mode="reflect")
        top, left = y + far - halo, x + far - halo
        around = around[:, :, top : top + height + 2 * halo, left : left + width + 2 * halo]
        own = slice(0, image.shape[1]), slice(halo, halo + height), slice(halo, halo + width)
        window = Window(y - halo, x - halo, image.shape[2:], own)
        return run_steps(steps, np.array(around, order="C"), window)[0]

    return run

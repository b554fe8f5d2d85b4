"""A plan of ten million patches fits into the driver's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

PLAN = """
import time
from pathlib import Path
import numpy as np
from patchmill.tasks.resolution import as_level
from patchmill.tasks.source import FileIdentity, ImageKind, ImageSource
from patchmill.workflows import Recipe, planning
from patchmill.workflows.files import Found, ImageFiles, SourceFile
from patchmill.workflows.images import SurveyedImage
from patchmill.workflows.survey import Survey

SIDE = 36_200  # 142 patches across and down, the last of them cut off
planes = np.zeros((1, 1, 1, 4), np.int32)
kind = ImageKind(planes, as_level([(1, SIDE, SIDE)], 0), (1, 1, 1, 512, 512), np.dtype("u2"))
images = []
for number in range(510):
    files = ImageFiles(str(number), (), (SourceFile(f"/{number}", f"{number}"),))
    source = ImageSource(files.id, (f"/{number}",), (FileIdentity(1, 2),), ((),), 0, kind)
    shape, unknown = (1, 1, 1, SIDE, SIDE), (float("nan"),) * 3
    images.append(SurveyedImage(files, source, shape, ("c0",), unknown, range(1)))
planning.find_images = lambda recipe: Found(tuple(image.files for image in images), None)
planning.survey = lambda *_: Survey(tuple(images), ())
fractions = {"train": 0.8, "val": 0.2}
recipe = Recipe.from_dict(
    {"images": {"paths": "*"}, "patches": {"size": 256}, "split": {"fractions": fractions}}
)

def peak_bytes():
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

before = peak_bytes()
began = time.perf_counter()
plan = planning.plan(recipe)
plan.digest
seconds = time.perf_counter() - began
print(len(plan.rows), peak_bytes() - before, seconds)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the peak")
def test_ten_million_patches_fit_in_two_gigabytes(capsys):
    done = subprocess.run(
        [sys.executable, "-c", PLAN], capture_output=True, text=True, check=True, timeout=250
    )
    rows, peak_bytes, seconds = map(float, done.stdout.split())
    with capsys.disabled():
        print(f"\n{rows:,.0f} patches planned in {seconds:.1f} s, {peak_bytes / 1e6:.0f} MB")
    assert rows > 10_000_000
    assert peak_bytes < 2e9

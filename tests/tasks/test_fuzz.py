"""Damaged images of every format: right pixels, or one sentence; never a crash, a hang, a flood.

By hand for longer: `PATCHMILL_FUZZ_CASES=100000 python -m pytest tests/tasks/test_fuzz.py -s`.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Another number makes other damage; a failure names it with the case.
SEED = 20_240_229
CASES = int(os.environ.get("PATCHMILL_FUZZ_CASES", "6000"))
PROCESSES = 2
#: What one case may take, and importing libraries before.
SECONDS_PER_CASE, SECONDS_BEFORE = 0.5, 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Return a folder with whole images of every format, and their number."""
    folder = tmp_path_factory.mktemp("fuzz")
    sys.path.insert(0, str(HERE))
    try:
        import fuzz_corpus
    finally:
        sys.path.remove(str(HERE))
    data = os.environ.get("PATCHMILL_TEST_DATA")
    seeds = fuzz_corpus.make(folder, Path(data) if data else None)
    listed = [{**asdict(seed), "path": str(seed.path)} for seed in seeds]
    (folder / "seeds.json").write_text(json.dumps(listed))
    return folder, len(seeds)


def start(folder, first, last):
    command = [sys.executable, "-W", "ignore", HERE / "fuzz_work.py", folder, SEED, first, last]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Every thread would have address space of its own, which is what is bounded.
        env={**os.environ, "MALLOC_ARENA_MAX": "2", "PYTHONFAULTHANDLER": "1"},
    )


def results(folder, process, first, last):
    """Return what a process prints; where it died, the case, and what one that goes on prints."""
    try:
        out, err = process.communicate(timeout=SECONDS_BEFORE + SECONDS_PER_CASE * (last - first))
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    found = [json.loads(line) for line in out.splitlines()]
    at = folder / f"at-{first}"
    if process.returncode == 0:
        return found
    assert at.exists(), err
    case = int(at.read_text())
    died = {"case": case, "wrong": f"it died of {-process.returncode}: {err[-3000:]}"}
    rest = results(folder, start(folder, case + 1, last), case + 1, last)
    return [*found, died, *rest]


@pytest.mark.timeout(SECONDS_BEFORE + SECONDS_PER_CASE * CASES)
def test_damaged_files_are_read_right_or_refused(corpus):
    folder, n_seeds = corpus
    assert n_seeds > 60
    edges = [CASES * n // PROCESSES for n in range(PROCESSES + 1)]
    ranges = list(pairwise(edges))
    processes = [start(folder, *each) for each in ranges]
    found = [
        one
        for process, each in zip(processes, ranges, strict=True)
        for one in results(folder, process, *each)
    ]
    wrong = [one for one in found if "wrong" in one]
    ends = [one for one in found if "wrong" not in one]
    print(f"{CASES} cases of seed {SEED}: {ends}")
    assert not wrong, f"seed {SEED}:\n" + "\n".join(map(str, wrong))
    assert len(ends) == PROCESSES
    assert sum(one["refused"] for one in ends) > CASES / 4
    assert sum(one["read"] for one in ends) > CASES / 20
    if sys.platform == "linux":
        assert max(one["memory_bytes"] for one in ends) < 1_000_000_000

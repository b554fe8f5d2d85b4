"""Memory is compared with what is left before it is taken."""

from pathlib import Path

import numpy as np
import pytest

from patchmill.reader import Loader, MemoryLimitError, memory


def test_what_is_available_is_no_more_than_the_machine_has():
    available = memory.available_bytes()
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))
    assert 0 < available <= total


@pytest.mark.parametrize("names", [memory._V2, memory._V1])
def test_what_is_left_in_a_cgroup_counts_its_page_cache_as_free(tmp_path, names):
    limit, usage, cache = names
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / usage).write_text("900\n")
    (tmp_path / "memory.stat").write_text(f"anon 500\n{cache[0]} 100\n{cache[1]} 200\nshmem 7\n")
    assert memory._left(tmp_path, *names) == 400
    (tmp_path / limit).write_text("max\n")
    assert memory._left(tmp_path, *names) is None
    assert memory._left(tmp_path / "absent", *names) is None


@pytest.mark.parametrize(("backend", "num_workers"), [("thread", 0), ("thread", 1), ("process", 1)])
def test_a_batch_too_large_is_one_sentence(nothing_left, backend, num_workers):
    loader = Loader(
        {"image": np.zeros((3, 1000, 1000))},
        10**9,
        num_workers=num_workers,
        backend=backend,
    )
    with pytest.raises(MemoryLimitError, match=r"a batch needs 80000\d\d\.\d\d GB more, and "):
        next(iter(loader))
    del loader

"""How much memory can still be taken, asked before it is taken: a batch too many is one sentence.

Without this a process that goes beyond its cgroup's limit is killed, without a word.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import MemoryLimitError

_CGROUPS = Path("/sys/fs/cgroup")
#: Names of the limit, the usage and the reclaimable page cache in cgroup v2 and v1.
_V2 = ("memory.max", "memory.current", ("active_file", "inactive_file"))
_V1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_active_file", "total_inactive_file"),
)


def check_memory(nbytes: int, purpose: str) -> None:
    """Raise `MemoryLimitError` where `nbytes` more than there are would be taken."""
    available = available_bytes()
    if available is not None and nbytes > available:
        raise MemoryLimitError(
            f"{purpose} needs {nbytes / 1e9:.2f} GB more, and {available / 1e9:.2f} GB are left on "
            "this machine or under its cgroup's limit; use a smaller batch_size, prefetch or "
            "num_workers, or ask for more memory"
        )


def available_bytes() -> int | None:
    """Return how many bytes this process may still take; None where the system does not say.

    The least of what the kernel calls available and of what is left under the limits of the
    process's cgroup and of those above it, page cache counted as free since it is given up first.
    """
    found = [_system(), *_cgroups()]
    known = [number for number in found if number is not None]
    return max(0, min(known)) if known else None


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else None


def _cgroups() -> list[int]:
    """Return what is left under each limit of this process's memory cgroups."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = _CGROUPS, _V2
        elif "memory" in controllers.split(","):
            root, names = _CGROUPS / "memory", _V1
        else:
            continue
        folder = root / path.lstrip("/")
        # In a container the path may be the host's, and only the mount's own root is there.
        for each in [folder, *(above for above in folder.parents if above.is_relative_to(root))]:
            number = _left(each, *names)
            if number is not None:
                left.append(number)
    return left


def _left(folder: Path, limit: str, usage: str, reclaimable: tuple[str, ...]) -> int | None:
    try:
        most = int((folder / limit).read_text())  # "max" where there is no limit
        used = int((folder / usage).read_text())
        entries = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cache = sum(int(value) for name, value in entries if name in reclaimable)
    except (OSError, ValueError):
        return None
    return most - used + cache

"""Which file system a folder lies on, and whether memory maps are safe and fast there."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

#: Kernel names of file systems on a disk or in memory of this machine. A name that is not here may
#: be one on a network, of which there are many: reading is right everywhere, and seldom slower.
LOCAL = frozenset(
    (
        *("apfs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs"),
        *("fuseblk", "hfsplus", "hugetlbfs", "iso9660", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3"),
        *("overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat", "xfs"),
        "zfs",
    )
)


def is_local(folder: Path) -> bool:
    """Say whether a folder lies on a local file system, by the type of its mount.

    Where the system does not list its mounts as Linux does, every folder is held to be local.
    """
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return True
    return mount_type(mounts, os.path.realpath(folder)) in LOCAL


def mount_type(mounts: str, folder: str) -> str | None:
    """Return the type of the file system of an absolute folder, links resolved.

    Parameters
    ----------
    mounts
        What /proc/self/mountinfo says: per line, among others, the mount's folder as fifth word
        and, behind a single dash, the type; what is mounted later lies over what is there.
        Source: proc_pid_mountinfo(5).
    folder
        An absolute path.

    Examples
    --------
    >>> disk = "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw"
    >>> network = "40 21 0:5 / /data rw shared:2 - nfs4 server:/data rw"
    >>> mount_type(f"{disk}\\n{network}", "/data/train.zarr"), mount_type(disk, "/data/train.zarr")
    ('nfs4', 'ext4')
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 6 or "-" not in words[6:-1]:
            continue
        # Blanks and the like are written as \040.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        inside = point.rstrip("/") + "/"
        if f"{folder}/".startswith(inside) and (found is None or len(inside) >= found[0]):
            found = len(inside), words[words.index("-", 6) + 1]
    return found[1] if found else None

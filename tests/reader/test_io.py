"""Memory maps on local file systems, `pread` elsewhere, the same pixels from both."""

import numpy as np
import pytest

from patchmill.reader import mounts, open_store

MOUNTS = r"""
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 0:25 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/me/my\040data rw - xfs /dev/sdb1 rw
32 28 0:27 / /scratch rw shared:3 master:1 - lustre 10.0.0.1@tcp:/scratch rw
33 28 0:28 / /mnt rw - ext4 /dev/sdc rw
34 28 0:29 / /mnt rw - fuse.sshfs me@host: rw
35 28 0:30 / /auto rw - autofs systemd-1 rw
36 35 0:31 / /auto rw - tmpfs none rw
not a line
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", "ext4"),
        ("/data/train.zarr", "ext4"),
        ("/homeless/train.zarr", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/train.zarr", "nfs4"),
        ("/home/me/my data/train.zarr", "xfs"),
        ("/scratch/a/b", "lustre"),
        ("/mnt/train.zarr", "fuse.sshfs"),
        ("/auto/train.zarr", "tmpfs"),
    ],
)
def test_the_longest_mount_point_decides_and_the_last_of_equals(folder, expected):
    assert mounts.mount_type(MOUNTS, folder) == expected


@pytest.mark.parametrize(
    "remote",
    [
        *("nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "fuse", "fuse.sshfs", "ceph", "9p"),
        *("beegfs", "afs", "glusterfs", "virtiofs", "autofs", "some_new_one"),
    ],
)
def test_where_maps_are_not_used(plain, monkeypatch, tmp_path, remote):
    listed = tmp_path / "mountinfo"
    listed.write_text(f"28 1 254:0 / / rw,relatime shared:1 - {remote} device rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    store = open_store(plain.path)
    assert store.io == "pread"
    assert open_store(plain.path, io="map").io == "map"
    np.testing.assert_array_equal(store.read(range(37))["image"], plain.pixels)


@pytest.mark.parametrize("local", ["ext4", "xfs", "tmpfs", "overlay"])
def test_where_maps_are_used(plain, monkeypatch, tmp_path, local):
    listed = tmp_path / "mountinfo"
    listed.write_text(f"28 1 254:0 / / rw,relatime shared:1 - {local} device rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    assert open_store(plain.path).io == "map"
    assert open_store(plain.path, io="pread").io == "pread"


def test_a_link_is_followed(plain, monkeypatch, tmp_path):
    real = plain.path.resolve().parent
    listed = tmp_path / "mountinfo"
    listed.write_text(
        f"28 1 254:0 / / rw - ext4 device rw\n29 28 254:1 / {real} rw - nfs device rw\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    (tmp_path / "link").symlink_to(plain.path)
    assert open_store(tmp_path / "link").io == "pread"
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "absent")  # not Linux
    assert open_store(tmp_path / "link").io == "map"


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("verify", [True, False])
def test_both_ways_read_the_same(make_store, codec, dtype, verify):
    written = make_store(codec=codec, dtype=dtype)
    rows = np.random.default_rng(1).integers(0, 37, 100)
    corners = np.random.default_rng(2).integers(0, 4, (100, 2))
    for io in ("map", "pread"):
        store = open_store(written.path, io=io, verify=verify)
        np.testing.assert_array_equal(store.read(rows)["image"], written.pixels[rows])
        windows = np.empty((100, 2, 9, 7), dtype)
        store.read_rows_into(rows, {"image": windows}, corners)
        for window, row, (y, x) in zip(windows, rows, corners, strict=True):
            np.testing.assert_array_equal(window, written.pixels[row, :, y : y + 9, x : x + 7])


def test_large_patches_through_small_ones(make_store):
    """The memory that chunks pass through grows with them."""
    written = make_store(rows=5, shape=(3, 700, 900), rows_per_shard=2)
    block = open_store(written.path, io="pread").read([4, 0])
    np.testing.assert_array_equal(block["image"], written.pixels[[4, 0]])

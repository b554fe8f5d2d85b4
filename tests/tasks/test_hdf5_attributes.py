"""Texts in HDF5 whose heap is damaged: libhdf5 itself reads on for ever, or out of memory."""

import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from patchmill.tasks.hdf5_attributes import attribute

TEXTS = ("z", "a label that takes up more than one piece of eight bytes", "", "x")


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/a", data=np.zeros((2, 3, 4, 5), np.uint8))
        dataset.attrs["texts"] = np.array(TEXTS, h5py.string_dtype())
        dataset.attrs["text"] = "of any length"
        dataset.attrs["fixed"] = np.bytes_(b"of one length")
        dataset.attrs["numbers"] = [1.5, 2.5]
    return path


def read(path, name):
    with h5py.File(path, "r") as file:
        return attribute(file["group/a"], name)


def test_attributes_are_those_of_h5py(labelled):
    assert tuple(read(labelled, "texts")) == TEXTS
    assert read(labelled, "text") == "of any length"
    assert read(labelled, "fixed") == b"of one length"
    assert read(labelled, "numbers").tolist() == [1.5, 2.5]
    assert read(labelled, "none") is None


def test_a_heap_of_many_texts(tmp_path):
    """Heaps are larger than what HDF5 reads of them first, and there are several."""
    path = tmp_path / "a.h5"
    texts = [f"text {n} " * (n % 700) for n in range(60)]
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/a", data=np.zeros((2, 2), np.uint8))
        for n, text in enumerate(texts):
            dataset.attrs[f"{n}"] = text
    assert path.read_bytes().count(b"GCOL") > 1
    assert [read(path, str(n)) for n in range(60)] == texts


def objects_of(data):
    """Return where the objects of the first heap are, and how long they are."""
    heap = data.index(b"GCOL")
    (size,) = struct.unpack_from("<Q", data, heap + 8)
    found, at = [], heap + 16
    while at + 16 <= heap + size:
        index, nbytes = struct.unpack_from("<H6xQ", data, at)
        found.append((at, index, nbytes))
        at += nbytes if index == 0 else 16 + -(-nbytes // 8) * 8
    return found


@pytest.mark.parametrize("change", ["no length", "too long", "zeros", "no magic"])
def test_a_damaged_heap_is_an_error(labelled, change):
    """In a process of its own: HDF5 alone would hang there."""
    data = bytearray(labelled.read_bytes())
    objects = objects_of(data)
    at, index, _ = objects[-1]
    assert index == 0  # what is free
    if change == "no length":
        struct.pack_into("<Q", data, at + 8, 0)
    elif change == "too long":
        struct.pack_into("<Q", data, objects[1][0] + 8, 1 << 62)
    elif change == "zeros":
        data[objects[1][0] : at + 16] = bytes(at + 16 - objects[1][0])
    else:
        data[objects[0][0] - 16] ^= 1
    labelled.write_bytes(data)
    code = (
        "import sys, h5py; from patchmill.tasks.hdf5_attributes import attribute\n"
        "try:\n    attribute(h5py.File(sys.argv[1], 'r')['group/a'], 'texts')\n"
        "except Exception as error:\n    print('refused', error)\n"
    )
    command = [sys.executable, "-c", code, str(labelled)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("refused"), done

"""The ledger: whatever a crash or a fault leaves of it, a prefix of what was noted is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader.errors import StoreError
from patchmill.tasks.cut import ShardResult
from patchmill.tasks.statistics import moments_dtype
from patchmill.workflows.ledger import Ledger

MOMENTS = moments_dtype(np.dtype(np.uint16))
CHANNELS = 2
RECORD = np.dtype([("moments", MOMENTS, (CHANNELS,))])


def result(shard: int, rows: int = 3) -> ShardResult:
    rng = np.random.default_rng(shard)
    records = np.zeros(rows, RECORD)
    for name in MOMENTS.names:
        records["moments"][name] = rng.integers(0, 60000, (rows, CHANNELS))
    valid = rng.random(rows) < 0.7
    files = tuple((1000 + shard + n, 77 * shard) for n in range(1 + shard % 3))
    return ShardResult(shard, files, records, rng.bytes(shard * 7), valid, 0.5 + shard)


def opened(path: Path) -> Ledger:
    return Ledger(path, RECORD)


def note(ledger: Ledger, number: int) -> None:
    """Every third entry is a failed image."""
    if number % 3 == 2:
        ledger.add_failed(number, f"why {number} µ", [["a.tif", number, 2]])
    else:
        ledger.add_shard(result(number, rows=1 + number * 5))


def assert_holds(ledger: Ledger, numbers: range) -> None:
    shards = [number for number in numbers if number % 3 != 2]
    assert list(ledger.shards) == shards
    for shard in shards:
        expected, entry = result(shard, rows=1 + shard * 5), ledger.shards[shard]
        assert entry.files == expected.files
        assert entry.seconds == expected.seconds
        assert entry.valid.tolist() == expected.valid.tolist()
        np.testing.assert_array_equal(ledger.records(shard), expected.records)
        assert ledger.histograms(shard) == expected.histograms
    failed = [number for number in numbers if number % 3 == 2]
    assert list(ledger.failed) == failed
    for image in failed:
        assert ledger.failed[image] == (f"why {image} µ", [["a.tif", image, 2]])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[int]]:
    """A ledger of seven entries, and its size after each."""
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    sizes = []
    with opened(path) as ledger:
        sizes.append(path.stat().st_size)
        for number in range(7):
            note(ledger, number)
            # An entry is on the disk before the next thing happens.
            sizes.append(path.stat().st_size)
    assert sorted(set(sizes)) == sizes
    return path, sizes


def test_what_was_noted_is_known_again(written):
    with opened(written[0]) as ledger:
        assert_holds(ledger, range(7))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_cut_off_at_any_byte(written, tmp_path_factory, data):
    source, sizes = written
    length = data.draw(st.integers(0, sizes[-1]), "length")
    path = tmp_path_factory.mktemp("cut") / "ledger"
    path.write_bytes(source.read_bytes()[:length])
    whole = sum(size <= length for size in sizes[1:])
    with opened(path) as ledger:
        assert_holds(ledger, range(whole))
        for number in range(whole, 8):
            note(ledger, number)
        assert_holds(ledger, range(8))
    with opened(path) as ledger:
        assert_holds(ledger, range(8))
    assert path.read_bytes()[: sizes[-1]] == source.read_bytes()


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_flipped_bit_drops_its_entry_and_what_follows(written, tmp_path_factory, data):
    source, sizes = written
    content = bytearray(source.read_bytes())
    at = data.draw(st.integers(sizes[0], sizes[-1] - 1), "byte")
    content[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path = tmp_path_factory.mktemp("flip") / "ledger"
    path.write_bytes(content)
    whole = sum(size <= at for size in sizes[1:])
    with opened(path) as ledger:
        assert_holds(ledger, range(whole))
        note(ledger, 6)
    with opened(path) as ledger:
        assert list(ledger.shards)[-1] == 6


def test_rubbish_behind_the_end_is_dropped(written, tmp_path):
    path = tmp_path / "ledger"
    path.write_bytes(
        written[0].read_bytes() + b"\0" * 4096
    )  # what file systems leave after a crash
    with opened(path) as ledger:
        assert_holds(ledger, range(7))
    assert path.stat().st_size == written[1][-1]


def test_a_shard_that_is_noted_again_counts_as_it_was_last(tmp_path):
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        ledger.add_shard(result(4, rows=9))
        ledger.add_shard(result(5))
        again = ShardResult(4, ((12, 13),), result(8, rows=9).records, b"h", np.zeros(9, bool), 1.0)
        ledger.add_shard(again)
    with opened(path) as ledger:
        assert ledger.shards[4].files == ((12, 13),)
        assert not ledger.shards[4].valid.any()
        np.testing.assert_array_equal(ledger.records(4), again.records)


@pytest.mark.parametrize("content", [b"something else entirely, of any length", b"PK\x03\x04"])
def test_another_file_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "ledger"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is not a ledger that this version reads"):
        opened(path)
    assert path.read_bytes() == content

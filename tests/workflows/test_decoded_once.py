"""What a run decodes: each strip or tile once per shard, however many patches lie on it."""

from __future__ import annotations

from collections import Counter

import pytest
import tifffile
from distributed import Client, get_worker

from patchmill.reader.errors import PatchmillError
from patchmill.tasks import tiff_segments
from patchmill.workflows import Recipe, prepare

SHAPE = (96, 480)


@pytest.fixture
def decoded(tmp_path, survey_cache, monkeypatch):
    """Return a function that cuts a.tif, and how often each shard task decoded each segment.

    All runs in this process, where the decoder can be watched.
    """
    counts: dict[str, Counter[int]] = {}
    encoded = tiff_segments.PagePixels._encoded

    def watched(self, data, numbers):
        task = get_worker().get_current_task()
        counts.setdefault(str(task), Counter()).update(numbers)
        return encoded(self, data, numbers)

    monkeypatch.setattr(tiff_segments.PagePixels, "_encoded", watched)

    def run(**tables):
        recipe = {
            "images": {"paths": "a.tif"} | tables.pop("images", {}),
            "patches": {"size": 16, "stride": [8, 16]},
            "store": {"shard_bytes": "10 kB"},
        }
        with Client(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
        ) as client:
            outcome = prepare(Recipe.from_dict(recipe | tables, tmp_path), tmp_path / "s.zarr",
                              client=client)  # fmt: skip
        return outcome, counts

    return run


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 1},
        {"rowsperstrip": 16},
        {"rowsperstrip": 23},
        {"rowsperstrip": SHAPE[0]},
        {"tile": (32, 48)},
        {"tile": (128, 512)},
    ],
)
def test_each_segment_is_decoded_once_per_shard(tmp_path, decoded, noise, check_store, options):
    """Patches overlap, and a strip spans many of them."""
    image = noise(1, 1, 1, *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", image[0, 0, 0], compression="zlib", **options)
    outcome, counts = decoded()
    assert outcome.plan.n_shards > 10
    assert len(counts) == outcome.plan.n_shards
    for task, segments in counts.items():
        assert max(segments.values()) == 1, task
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        segments = len(tif.pages[0].dataoffsets)
    assert set().union(*counts.values()) == set(range(segments))
    check_store(outcome.store, {"a.tif": image}, (16, 16), (8, 16))


def test_one_large_strip_is_refused_by_its_size(tmp_path, decoded, noise):
    """Each shard would decode all of it; whoever wants that raises the limit."""
    tifffile.imwrite(tmp_path / "a.tif", noise(*SHAPE), compression="zlib", rowsperstrip=SHAPE[0])
    with pytest.raises(PatchmillError, match=r"hold 92160 bytes each, more than images\.max_seg"):
        decoded(images={"max_segment_bytes": 50_000})

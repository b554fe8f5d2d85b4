"""Two hundred epochs with workers killed at random: nothing lost, repeated or left behind."""

import os
import random
import signal
import warnings

import numpy as np
import psutil
import pytest

from patchmill.reader import open_store

EPOCHS, EPOCHS_PER_KILL, LEAST_KILLS = 200, 5, 25


def pids_of_those_up(loader):
    (crew,) = loader._production._crews
    return [worker.process.pid for worker in crew._workers.values() if worker.is_ready]


@pytest.mark.parametrize("transform", [None, "noisy"])
def test_soak(plain, reader_work, workers, nothing_left, transform):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    options = {"shuffle": True, "transform": transform and getattr(reader_work, transform)}
    loader = open_store(plain.path).loader(5, num_workers=2, backend="process", **options)
    reference = open_store(plain.path).loader(5, num_workers=0, **options)
    kills = epoch = 0
    resident = []
    # Without a transform an epoch may be over before a worker is up, so there are more of them.
    while epoch < EPOCHS or kills < LEAST_KILLS:
        doomed = rng.randrange(len(loader)) if epoch % EPOCHS_PER_KILL == 0 else None
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that a worker was replaced
            for number, (batch, expected) in enumerate(zip(loader, reference, strict=True)):
                for name in expected:
                    assert batch[name].tobytes() == expected[name].tobytes()
                rows += batch["index"][batch["valid"]].tolist()
                if number == doomed and (up := pids_of_those_up(loader)):
                    os.kill(rng.choice(up), signal.SIGKILL)
                    kills += 1
        assert sorted(rows) == list(range(37))
        epoch += 1
        if epoch > EPOCHS // 4:
            resident.append(psutil.Process().memory_info().rss)
    assert loader.stats().replaced_workers >= kills - 1  # the last may not be missed yet
    assert len(workers()) <= 2
    # Flat: the last quarter holds no more than the second does, but for what the allocator rounds.
    part = len(resident) // 3
    assert np.median(resident[-part:]) < np.median(resident[:part]) + 8e6
    del loader, reference, batch, expected

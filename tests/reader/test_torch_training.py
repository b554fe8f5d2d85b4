"""Real steps of a small network, by each way to feed it, and on two ranks."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from patchmill.reader import open_store

torch = pytest.importorskip(
    "torch", reason="torch is not installed: pip install 'patchmill[torch]'"
)

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from patchmill.reader.torch import PatchDataset, PatchIterable, collate  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))


def by_loader(store):
    return store.loader(8, shuffle=True, num_workers=2).torch()


def by_dataset(store):
    return DataLoader(PatchDataset(store), 8, shuffle=True, num_workers=2, collate_fn=collate)


def by_iterable(store):
    dataset = PatchIterable(store.loader(8, shuffle=True, num_workers=0))
    return DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)


@pytest.mark.parametrize("way", [by_loader, by_dataset, by_iterable])
def test_the_loss_falls(plain, way):
    """The network learns to subtract one channel from the other."""
    store = open_store(plain.path)
    mean, std = (torch.from_numpy(store.statistics["train"][key]) for key in ("mean", "std"))
    mean, std = mean.float()[:, None, None], std.float()[:, None, None]
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    batches = way(store)
    losses = []
    for _ in range(12):
        for batch in batches:
            x = (batch["image"].to(torch.float32) - mean) / std
            if "valid" in batch:
                x = x[batch["valid"]]
            loss = nn.functional.mse_loss(network(x), x[:, :1] - x[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == 12 * 5
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])


RANK = """
import json, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from patchmill.reader import open_store
from patchmill.reader.torch import PatchIterable

if __name__ == "__main__":
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    network = DistributedDataParallel(nn.Conv2d(2, 1, 3))
    loader = open_store(sys.argv[1]).loader(4, shuffle=True, rank="auto", num_workers=0)
    seen = []
    dataset = PatchIterable(loader)
    ways = [loader.torch(), DataLoader(dataset, batch_size=None, num_workers=2)]
    for batches in ways:
        for batch in batches:
            x = batch["image"].to(torch.float32)[batch["valid"]]
            network.zero_grad()
            network(x).square().mean().backward()  # waits for the other rank
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 1e-9 * parameter.grad
            seen.append(batch["index"].tolist())
    weight = network.module.weight.sum().item()
    with open(f"{sys.argv[2]}/{dist.get_rank()}.json", "w") as file:
        json.dump({"seen": seen, "weight": weight}, file)
    dist.destroy_process_group()
"""


def test_two_ranks_share_each_epoch(make_store, tmp_path):
    # 40: on the last batch of 37 one rank would have no sample, and nothing to take a mean of.
    written = make_store(rows=40)
    script = tmp_path / "train.py"
    script.write_text(RANK)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(written.path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one["weight"] == two["weight"]
    whole = open_store(written.path).loader(8, shuffle=True)
    for epoch in range(2):
        # The second way counts for itself, from where the loader stood: both began with epoch 0.
        whole.set_epoch(0)
        pairs = [a + b for a, b in zip(one["seen"], two["seen"], strict=True)]
        assert pairs[epoch * 5 : epoch * 5 + 5] == [b["index"].tolist() for b in whole]

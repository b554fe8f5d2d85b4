"""Which of several training processes this is: as told, or found in the environment."""

from __future__ import annotations

import os
import sys
from typing import Literal

from .values import whole_number

#: Pairs of variables that launchers set: torchrun, SLURM's srun, Open MPI, MPICH and Intel MPI.
_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


def find_rank(rank: int | Literal["auto"], world_size: int | None) -> tuple[int, int]:
    """Return rank and world size.

    Parameters
    ----------
    rank
        This process's number, or "auto": that of torch.distributed where it is initialised, else
        that of the environment (`RANK` and `WORLD_SIZE`, or those of SLURM, Open MPI or MPICH).
    world_size
        Number of processes; with "auto" it is found too.

    Raises
    ------
    ValueError
        Where "auto" finds nothing, and for a rank that is not below the world size.
    """
    if rank == "auto":
        if world_size is not None:
            raise ValueError('rank="auto" finds world_size too; leave it out')
        rank, world_size = _from_torch() or _from_environment()
    world_size = whole_number("world_size", 1 if world_size is None else world_size, least=1)
    return whole_number("rank", rank, most=world_size - 1), world_size


def _from_torch() -> tuple[int, int] | None:
    # Not imported for this: who has initialised it has imported it.
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(distributed.get_rank()), int(distributed.get_world_size())


def _from_environment() -> tuple[int, int]:
    for rank, size in _VARIABLES:
        if rank in os.environ and size in os.environ:
            try:
                return int(os.environ[rank]), int(os.environ[size])
            except ValueError as error:
                raise ValueError(
                    f"{rank}={os.environ[rank]!r} and {size}={os.environ[size]!r} in the "
                    "environment are no numbers; give rank and world_size"
                ) from error
    names = ", ".join(f"{rank} and {size}" for rank, size in _VARIABLES)
    raise ValueError(
        f'rank="auto" found no initialised torch.distributed and none of {names} in the '
        "environment; give rank and world_size"
    )

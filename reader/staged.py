"""What the folder of a staged store says of itself: half staged, staged in part, or nothing.

A store that was staged whole is the same files as its source. One that was staged in part has one
file more, `staged.json`, which says what is there; and while a store is staged for the first time
its root's zarr.json lies aside, so that nobody opens what is not all there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import DamagedStoreError, IncompleteStoreError
from .remote import Place

#: Of what is being staged: a folder in the store.
STAGING = ".staging"
#: Says which splits are there; absent where all of them are.
MARK = "staged.json"


@dataclass(frozen=True)
class Part:
    """What of a store was staged.

    Attributes
    ----------
    source
        The store that it was staged from.
    splits
        Whose rows are there.
    """

    source: str
    splits: tuple[str, ...]


def read_part(store: Place) -> Part | None:
    """Return what of a store was staged; None where it was not staged, or all of it was."""
    try:
        content = json.loads((store / MARK).read_bytes())
        return Part(str(content["source"]), tuple(map(str, content["splits"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(
            f"{store / MARK} does not say what was staged ({error!r}); delete {store} and stage it "
            "again"
        ) from error


def refuse_half_staged(store: Path) -> None:
    """Raise an IncompleteStoreError for the folder of a store that is not wholly staged yet."""
    if (store / STAGING).is_dir() and not (store / "zarr.json").exists():
        raise IncompleteStoreError(
            f"{store} is not complete: it is being staged, or was until something ended that; "
            "run the same `patchmill stage` again, which waits or goes on"
        )


def refuse_unstaged(store: Place, shard: str, row: int) -> None:
    """Raise an IncompleteStoreError for a missing shard of a store that was staged in part.

    Parameters
    ----------
    store
        The store's folder.
    shard
        The shard's path in it.
    row
        That was to be read.
    """
    part = read_part(store)
    if part is not None:
        raise IncompleteStoreError(
            f"{store}: patch {row} is in {shard}, which was not staged, only "
            f"{', '.join(part.splits)} was; select that, or run `patchmill stage {part.source} "
            f"{store}` with the --split of this patch"
        )

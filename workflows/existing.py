"""What is already where a store shall be: nothing, this store, or something to be kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..reader.errors import StoreError
from ..reader.format import ATTRIBUTE
from ..reader.remote import is_remote
from .destination import Destination
from .planned import Plan
from .run_folder import RunFolder

#: Differences that an error lists before it only counts them.
MAX_LISTED = 8


def read_attributes(store: Destination) -> dict[str, Any] | None:
    """Return a store's own attributes; None where there is no store of ours."""
    try:
        own = json.loads(store.read("zarr.json") or b"")["attributes"][ATTRIBUTE]
    except (ValueError, KeyError, TypeError):
        return None
    return own if isinstance(own, dict) else None


def remove_store(run: RunFolder) -> None:
    """Delete a store and its run folder, and never anything else.

    Raises
    ------
    StoreError
        Where the place holds something that is not a store of ours.
    """
    store = run.store
    if not store.is_absent():
        if store.is_link or read_attributes(store) is None:
            raise StoreError(
                f"{store} is not a patchmill store, and --overwrite deletes nothing else; "
                "choose another path, or delete it yourself"
            )
        run.clear_tmp()
        store.remove(run.staging("deleted"))
    for path in (run.ledger, run.plan, run.splits):
        path.unlink(missing_ok=True)
    run.clear_tmp()


def refuse_other_store(run: RunFolder) -> None:
    """Raise a StoreError where the folder of a remote store's run is that of another store.

    A folder beside its store may be moved with it.
    """
    noted = _noted(run)
    if is_remote(run.store.path) and noted and noted.get("store") != str(run.store):
        raise StoreError(
            f"{run.path} is of another store, {noted.get('store')}; write another --run-folder, "
            "or delete it where that store is finished"
        )


def has_fields(plan: Plan, store: Destination) -> bool:
    """Whether the arrays of a store's fields were made; not where that was cut short."""
    return all(store.read(f"{field}/zarr.json") is not None for field in plan.field_axes)


def refuse_other_plan(plan: Plan, run: RunFolder, own: dict[str, Any]) -> None:
    """Raise a StoreError that says where the plan differs from that of the store."""
    lines = list(differences(_plan_of(run, own), plan.document))
    listed = "\n".join(f"  {line}" for line in lines[:MAX_LISTED])
    if len(lines) > MAX_LISTED:
        listed += f"\n  and {len(lines) - MAX_LISTED} more"
    raise StoreError(
        f"{run.store} was made by another plan:\n{listed}\n"
        "choose another path, or write --overwrite to delete it and begin again"
    )


def is_plan_of(run: RunFolder, own: dict[str, Any]) -> bool:
    """Whether the run folder is that of this store, not of another that lay here before."""
    return _plan_of(run, own) is not own


def _plan_of(run: RunFolder, own: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of the plan that made a store: all of it, or what the store says."""
    noted = _noted(run)
    try:
        return dict(noted["document"]) if noted["digest"] == own["plan"] else own
    except (ValueError, KeyError, TypeError):
        return own


def _noted(run: RunFolder) -> dict[str, Any]:
    """Return what plan.json says; nothing where it cannot be read."""
    try:
        noted = json.loads(run.plan.read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Say where two plans differ, a line each: the key, what it was, and what it is."""
    yield from _compare("", old.get("recipe"), new["recipe"])
    yield from _compare("software", old.get("software"), new["software"])
    if "sources" not in old:
        yield "the sources, or how they are laid out"
        return
    was, now = old["sources"], new["sources"]
    for image in sorted(was.keys() | now.keys()):
        if image not in now:
            yield f"{image}: is no longer there"
        elif image not in was:
            yield f"{image}: is new"
        elif was[image] != now[image]:
            yield f"{image}: has changed"
    if was == now and old["layout"] != new["layout"]:
        yield "where patches are taken, or the splits of groups"
    if was == now and old["images"] != new["images"]:
        yield "the columns of images, their pixel sizes, or the planes that are in focus"


def _compare(key: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _compare(f"{key}.{name}".lstrip("."), old.get(name), new.get(name))
    elif old != new:
        yield f"{key}: was {json.dumps(old)}, is {json.dumps(new)}"


def changed_sources(plan: Plan, run: RunFolder, own: dict[str, Any]) -> list[str] | None:
    """Return the images whose files have changed since a store was made.

    None where anything else differs, too.
    """
    old, new = _plan_of(run, own), plan.document
    same = ("format", "recipe", "software", "layout", "images", "failed")
    if "sources" not in old or any(old[key] != new[key] for key in same):
        return None
    was, now = old["sources"], new["sources"]
    if was.keys() != now.keys():
        return None
    return [image for image in now if was[image] != now[image]]

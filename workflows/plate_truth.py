"""How well masks agree with the truth of the synthetic plate, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..reader.errors import PatchmillError
from ..reader.store import Store
from .plate import CLASSES


def agreement(store: Store, plate: Path, name: str = "cells") -> dict[str, float]:
    """Return each class's intersection over union, background left out.

    Parameters
    ----------
    store
        Made from the plate, at its full resolution.
    plate
        The folder that `make_plate` made.
    name
        Of the mask.

    Returns
    -------
    dict
        Of all patches of the store, by the names of `CLASSES`; NaN for a class that is nowhere.

    Raises
    ------
    PatchmillError
        Where the truth of an image is not there.
    """
    height, width = store.fields["image"].shape[-2:]
    both = np.zeros(len(CLASSES), np.int64)
    either = np.zeros(len(CLASSES), np.int64)
    image_of = store.index["image"][:]
    for image in np.unique(image_of):
        site = f"{store.images['well'][image]}_s{store.images['site'][image]}"
        path = plate / "truth" / f"{site}_classes.png"
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if truth is None:
            raise PatchmillError(f"{path}: the truth is gone; make the plate anew")
        rows = np.flatnonzero(image_of == image)
        masks = store.read(rows)[f"masks/{name}"]
        corners = (store.index[axis][rows] for axis in ("y", "x"))
        for mask, y, x in zip(masks, *corners, strict=True):
            window = truth[y : y + height, x : x + width]
            for number in CLASSES:
                found, true = mask == number, window == number
                both[number] += np.count_nonzero(found & true)
                either[number] += np.count_nonzero(found | true)
    return {
        name: float(both[number] / either[number]) if either[number] else float("nan")
        for number, name in CLASSES.items()
        if number
    }

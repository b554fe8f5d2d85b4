"""The columns that describe images before there is a store, for conditions on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..reader.lookup import Lookup

if TYPE_CHECKING:
    from .images import SurveyedImage


def lookup_of(images: Sequence[SurveyedImage]) -> Lookup:
    """Return what a condition may name: the images' columns, and "id"; a position for each."""
    return Lookup(_Numbers(len(images)), _Texts(images), range(len(images)))


class _Numbers:
    """The column `image` of a position for each image."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.arange(self._length)

    def __contains__(self, name: object) -> bool:
        return name == "image"

    def __iter__(self) -> Iterator[str]:
        return iter(("image",))

    def enumeration(self, name: str) -> tuple[str, ...] | None:
        return None


class _Texts:
    """The columns that describe images, and their id."""

    def __init__(self, images: Sequence[SurveyedImage]) -> None:
        rows = [{**dict(image.files.groups), "id": image.id} for image in images]
        names = dict.fromkeys(name for row in rows for name in row)
        self._columns = {
            name: np.array([row.get(name, "") for row in rows], object) for name in names
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def enumeration(self, name: str) -> tuple[str, ...] | None:
        return None

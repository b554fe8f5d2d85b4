"""What a store, or several as one, does like the view of all its valid rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict, Unpack

from numpy.typing import NDArray

from .options import Batch, LoaderOptions

if TYPE_CHECKING:
    from .loader import Loader
    from .view import View


class Selection(TypedDict, total=False):
    """The keyword arguments of `View.select`."""

    split: str | Sequence[str] | None
    group: str | Sequence[str] | Sequence[tuple[str, ...]] | None
    where: str | None


class Whole(ABC):
    """Hands what it is asked on to the view of all its valid rows."""

    @property
    @abstractmethod
    def view(self) -> View:
        """The view of all valid rows."""

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, position: SupportsIndex) -> dict[str, Any]:
        return self.view[position]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.view)

    def select(self, **selection: Unpack[Selection]) -> View:
        """Return the view of some splits, groups or other rows, see `View.select`."""
        return self.view.select(**selection)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of `index` or `images`, an entry per valid row, see `View.column`."""
        return self.view.column(name)

    def read(self, rows: Sequence[int] | NDArray[Any]) -> Batch:
        """Read several samples at once, see `View.read`."""
        return self.view.read(rows)

    def loader(self, batch_size: int, **options: Unpack[LoaderOptions]) -> Loader:
        """Return a `Loader` of all valid rows; the options are its keyword arguments."""
        return self.view.loader(batch_size, **options)

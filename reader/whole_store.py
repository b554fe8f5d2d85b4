"""Arrays opened through zarr, of which no chunk that was cut short passes for pixels.

zarr takes a chunk whose file is empty, or ends before the chunk, for one that was never written,
and fills it with a constant; blosc reads on behind its end. Here both are errors: only a chunk that
is absent is fill.
"""

from __future__ import annotations

from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore


class WholeStore(WrapperStore[Store]):
    """A store that raises where it has fewer bytes than are asked for."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes of a key, see `zarr.abc.store.Store.get`."""
        found = await self._store.get(key, prototype, byte_range)
        least = 1
        if isinstance(byte_range, RangeByteRequest):
            least = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            least = byte_range.suffix
        if found is not None and len(found) < least:
            raise EOFError(f"{key} was cut short: {len(found)} bytes where {least} are needed")
        return found

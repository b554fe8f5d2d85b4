"""Messages between two processes: objects through a socket, their arrays through shared memory.

A message is pickled with its arrays left out (pickle protocol 5, PEP 574), in an envelope of plain
numbers that says where those are (marshal: both ends are the same Python). Arrays that lie in
this side's segments already, as a batch decoded there does, are not copied at all; others are
copied into one. The receiver's arrays lie in that memory. So messages are small, and a bounded
number of them fits into a socket's buffer: sending never waits for the other side to receive.
"""

from __future__ import annotations

import marshal
import os
import pickle
import select
import socket
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np

from .buffers import take_arrays
from .segments import Inbox, NewSegment, Outbox, Place

#: Arrays below this travel in the message, and messages above it in shared memory.
INLINE_NBYTES = 2048
#: Arrays of one message that travel by themselves; more are pickled, so that the message, which
#: says where each lies, stays small.
_MOST_ARRAYS = 32
#: Messages to one receiver that fit into a socket's buffer (212,992 bytes on Linux, of which the
#: kernel counts about 1 kB a message for itself).
MOST_WAITING = 32
#: In front of each message: its bytes, and how many descriptors come with it.
_HEADER = Struct("<IB")
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_PROTOCOL = 5


class Channel:
    """One end of a socket between two processes; not safe for threads.

    Parameters
    ----------
    sock
        Connected, of the family AF_UNIX.
    limit
        How many segments of shared memory each end keeps for what it sends.
    """

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self.inbox = Inbox(limit)
        self.outbox = Outbox(limit)
        self._socket = sock
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send an object that can be pickled.

        Raises
        ------
        OSError
            Where the other side is gone.
        """
        arrays: list[pickle.PickleBuffer] = []
        data = pickle.dumps(message, _PROTOCOL, buffer_callback=_left_out(arrays))
        places = self._placed([array.raw() for array in arrays])
        inline: bytes | None = data
        if len(data) > INLINE_NBYTES:
            inline = None
            places += self._placed([memoryview(data)])
        new, descriptors, dropped = self.outbox.lend(places)
        placed, made = [tuple(place) for place in places], [tuple(segment) for segment in new]
        envelope = marshal.dumps((inline, placed, made, dropped, self.inbox.freed()))
        try:
            header = _HEADER.pack(len(envelope), len(descriptors))
            # The descriptors go with the first byte; a signal may cut a large message short.
            sent = socket.send_fds(self._socket, [header, envelope], descriptors)
            if sent < len(header) + len(envelope):
                self._socket.sendall((header + envelope)[sent:])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def receive(self) -> Any:
        """Return the next object.

        Raises
        ------
        EOFError, OSError
            Where the other side is gone.
        """
        header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 253, _CLOSE_ON_EXEC)
        if not header:
            raise EOFError("the other side is gone")
        header += self._exactly(_HEADER.size - len(header))
        nbytes, _ = _HEADER.unpack(header)
        inline, placed, made, dropped, freed = marshal.loads(self._exactly(nbytes))
        for segment, descriptor in zip(made, descriptors, strict=True):
            self.inbox.attach(NewSegment(*segment), descriptor)
        self.inbox.drop(dropped)
        self.outbox.release(freed)
        buffers = [self.inbox.view(Place(*place)) for place in placed]
        data = buffers.pop() if inline is None else inline
        return pickle.loads(data, buffers=buffers)

    def has_message(self) -> bool:
        """Say whether a message, or the other side's end, is there to be received."""
        return bool(self._poller.poll(0))

    def close(self) -> None:
        """Close the socket; segments stay as long as somebody holds arrays on them."""
        self._socket.close()
        self.outbox.close()

    def _placed(self, raws: list[memoryview]) -> list[Place]:
        """Return where bytes lie in this side's segments, copying those that do not yet."""
        views = [np.frombuffer(raw, np.uint8) for raw in raws]
        places = [
            self.outbox.find(view.__array_interface__["data"][0], len(view)) for view in views
        ]
        layout = {
            str(number): (view.shape, view.dtype)
            for number, (view, place) in enumerate(zip(views, places, strict=True))
            if place is None
        }
        if layout:
            for name, copy in take_arrays(self.outbox, layout).items():
                copy[:] = views[int(name)]
                places[int(name)] = self.outbox.find(copy.__array_interface__["data"][0], len(copy))
        return [place for place in places if place is not None]

    def _exactly(self, nbytes: int) -> bytearray:
        data = bytearray(nbytes)
        view = memoryview(data)
        while view:
            received = self._socket.recv_into(view)
            if received == 0:
                raise EOFError("the other side is gone")
            view = view[received:]
        return data


def _left_out(arrays: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a callback that collects what is large, and leaves the rest in the message."""

    def callback(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < INLINE_NBYTES or len(arrays) >= _MOST_ARRAYS:
            return True
        arrays.append(buffer)
        return False

    return callback

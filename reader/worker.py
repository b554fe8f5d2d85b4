"""A worker process, `python -m patchmill.reader.worker`, which `crew.Crew` starts.

It receives one function and then jobs, and sends each job's outcome. It is a process of its own
rather than a fork or a child of `multiprocessing`: forks of a process with threads can hang, and
spawned children import the user's script again, which needs a main guard and fails in notebooks.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import threading
from collections import deque
from typing import Any

import numcodecs.blosc

from .channel import Channel
from .outcome import Outcome, failure

#: How often a worker looks whether its parent is still there, beside being told.
_LOOK_S = 1.0


def main(descriptor: int, parent: int, limit: int) -> None:
    """Work until the other end of a socket says stop, or is gone.

    Parameters
    ----------
    descriptor
        Of the socket, inherited.
    parent
        The process that must live on for this one to do so.
    limit
        Segments of shared memory to keep.
    """
    sock = socket.socket(fileno=descriptor)
    threading.Thread(target=_leave_with_parent, args=(descriptor, parent), daemon=True).start()
    # One core each: the workers are the parallelism.
    numcodecs.blosc.use_threads = False
    try:
        _serve(Channel(sock, limit))
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, or wants us gone


def _serve(channel: Channel) -> None:
    sys.path[:], pickled = channel.receive()
    try:
        function = pickle.loads(pickled)
    except BaseException as error:
        channel.send((None, failure(error)))
        return
    channel.send((None, Outcome()))
    waiting: deque[Any] = deque()
    while True:
        # All that has come meanwhile, since it tells which memory is free again: the fewer pieces
        # are in use, the more of them are in the processor's cache.
        while not waiting or channel.has_message():
            waiting.append(channel.receive())
        message = waiting.popleft()
        if message is None:
            return
        number, job = message
        try:
            outcome = Outcome(function(job, channel.outbox))
        except BaseException as error:  # SystemExit too: the job's, not the worker's
            outcome = failure(error)
        del message, job  # so that their memory is reported free
        try:
            channel.send((number, outcome))
        except OSError:
            raise
        except BaseException as error:  # what cannot be pickled, or has no memory to lie in
            channel.send((number, failure(error)))
        del outcome  # so that its memory can be taken again


def _leave_with_parent(descriptor: int, parent: int) -> None:
    """End this process, whatever it is doing, as soon as the parent is gone."""
    poller = select.poll()
    poller.register(descriptor, 0)  # which still reports that the other end is closed
    # By its number too: a fork of the parent may hold the other end open.
    while not poller.poll(_LOOK_S * 1000) and os.getppid() == parent:
        pass
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

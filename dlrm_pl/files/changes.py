"""Detect changes to files immediately: Linux reports every write and truncation, so nothing has to be compared.

A process that reads a map of a file ends if the file is cut short, so code that reads mapped files often checks here
before each read. A write between the check and the read is still missed.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable

_IN_MODIFY = 0x2


class Changes:
    """Reports whether any of some open files has been written to or truncated since this was made.

    Args:
        descriptors: the open files.

    Raises:
        OSError: the system cannot watch them: it has too many watches, or it is not Linux.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            raise OSError("the system has no inotify")
        self._queue = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        # The queue is polled, not read: the error of a read that finds nothing would take longer than everything else.
        self._poll = select.epoll(1)
        self._poll.register(self._queue, select.EPOLLIN)
        for descriptor in descriptors:
            path = f"/proc/self/fd/{descriptor}".encode()
            _checked(libc.inotify_add_watch(self._queue, path, _IN_MODIFY))

    def seen(self) -> bool:
        """Return whether a file was changed; stays true, as events are left in the queue. Takes half a microsecond."""
        return bool(self._poll.poll(0, 1))

    def __del__(self) -> None:
        # __init__ may have failed before the queue was created.
        if (queue := getattr(self, "_queue", None)) is not None:
            os.close(queue)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

"""Produce items in a thread while earlier ones are used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, Queue
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class _End(NamedTuple):
    """The end of the items, and the error that ended them."""

    error: BaseException | None


def made_ahead(items: Iterator[Item], most: int = 2) -> Iterator[Item]:
    """Yield the items of an iterator, from which a thread fetches a few in advance.

    When the caller stops early, the thread is not joined: it may be blocked on a pipe that nobody writes to.

    Args:
        items: iterator that only the thread reads from.
        most: maximum number of items in the queue.
    """
    made: Queue[Item | _End] = Queue(most)
    stopped = threading.Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                made.put(item)
                if stopped.is_set():
                    return
        except BaseException as caught:  # Raised again where the items are consumed.
            error = caught
        made.put(_End(error))

    threading.Thread(target=make, name="made_ahead", daemon=True).start()
    try:
        while True:
            item = made.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        try:
            while True:  # A thread that waits for room in the queue can then end.
                made.get_nowait()
        except Empty:
            pass

"""Threads that work on different items at once, and pass each station in the order of the items."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class StoppedError(Exception):
    """Another thread failed; its error is the one that counts."""


class Stations:
    """Places that every item passes, item 0 first, then 1, ...; a thread waits until the item before has left.

    As on an assembly line, item 5 may be at station 0 while item 4 is at station 1: stations that take little time
    each let many threads work, though their work is in order.

    Args:
        count: of the stations.
    """

    def __init__(self, count: int) -> None:
        self._next = [0] * count
        self._conditions = [threading.Condition() for _ in range(count)]
        self._stopped = False

    @contextmanager
    def turn(self, station: int, item: int) -> Iterator[None]:
        """Wait for an item's turn, and hold it until the block ends.

        Raises:
            StoppedError: ``stop`` was called.
        """
        condition = self._conditions[station]
        with condition:
            while self._next[station] != item and not self._stopped:
                condition.wait()
        if self._stopped:
            raise StoppedError
        yield
        with condition:
            self._next[station] += 1
            condition.notify_all()

    def stop(self) -> None:
        """Wake all that wait, to end."""
        self._stopped = True
        for condition in self._conditions:
            with condition:
                condition.notify_all()


def run_threads(tasks: Sequence[Callable[[], None]], count: int, stop: Callable[[], None] = lambda: None) -> None:
    """Run tasks in several threads, each begun by the next thread that is free, until all have returned.

    Args:
        tasks: in the order in which they begin.
        count: of the threads.
        stop: called when a task failed, lets those that wait end with StoppedError.

    Raises:
        BaseException: the error of the task that failed first; the others are stopped, or not begun. Ctrl-C stops them
            as well.
    """
    errors: list[BaseException] = []
    lock = threading.Lock()

    def guarded(task: Callable[[], None]) -> None:
        if errors:
            return
        try:
            task()
        except StoppedError:
            pass
        except BaseException as error:  # raised again in the thread that waits
            with lock:
                errors.append(error)
            stop()

    with ThreadPoolExecutor(count) as pool:
        try:
            for future in [pool.submit(guarded, task) for task in tasks]:
                future.result()
        except BaseException as error:
            errors.append(error)
            stop()
            raise
    if errors:
        raise errors[0]

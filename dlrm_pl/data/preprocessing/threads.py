"""Threads that process items in parallel, and pass the stages of a pipeline in the items' order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class StoppedError(Exception):
    """Raised in waiting threads after another one has failed; the error of the latter is reported."""


class Pipeline:
    """Stages through which items pass in order: item 0 first, then 1, ...; each waits until the previous item has left.

    Item 5 may be in stage 0 while item 4 is in stage 1. So many threads can work at once although each stage takes
    items one by one, as long as the stages are short.

    Args:
        num_stages: number of stages.
    """

    def __init__(self, num_stages: int) -> None:
        self._next_item = [0] * num_stages
        self._conditions = [threading.Condition() for _ in range(num_stages)]
        self._stopped = False

    @contextmanager
    def turn(self, stage: int, item: int) -> Iterator[None]:
        """Wait for an item's turn in a stage, and hold the stage until the block ends.

        Raises:
            StoppedError: ``stop`` was called.
        """
        condition = self._conditions[stage]
        with condition:
            while self._next_item[stage] != item and not self._stopped:
                condition.wait()
        if self._stopped:
            raise StoppedError
        yield
        with condition:
            self._next_item[stage] += 1
            condition.notify_all()

    def stop(self) -> None:
        """Wake all waiting threads, whose ``turn`` raises StoppedError."""
        self._stopped = True
        for condition in self._conditions:
            with condition:
                condition.notify_all()


class InOrder(Generic[Item]):
    """Accepts items in any order, and passes them on in the order of their numbers, one at a time.

    A thread whose item is early leaves it here and continues; the thread that passes on the preceding item also passes
    on this one. A thread waits only if too many items are already stored.

    Args:
        take: called with each number, from 0 on, and its item.
        most: maximum number of items that may be stored before their turn.
        kept: converts an early item to a form that can be stored after ``give`` has returned.
    """

    def __init__(self, take: Callable[[int, Item], None], most: int, kept: Callable[[Item], Item]) -> None:
        self._take = take
        self._most = most
        self._kept = kept
        self._changed = threading.Condition()  # Guards the members below.
        self._early: dict[int, Item] = {}
        self._next = 0
        self._taking = self._stopped = False

    def give(self, number: int, item: Item) -> None:
        """Pass an item on, and the available ones after it, if it is its turn; otherwise store it.

        Raises:
            StoppedError: ``stop`` was called, or an item could not be passed on.
        """
        with self._changed:
            while not self._is_due(number) and len(self._early) >= self._most and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise StoppedError
            if not self._is_due(number):
                self._early[number] = self._kept(item)
                return
            self._taking = True
        try:
            self._take(number, item)
            while (early := self._next_early()) is not None:
                self._take(*early)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Pass on no more items, and make threads that give one end with StoppedError."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _is_due(self, number: int) -> bool:
        return number == self._next and not self._taking

    def _next_early(self) -> tuple[int, Item] | None:
        """Return the item that follows, or None if it is not here and its own thread has to pass it on."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()
            if self._stopped or self._next not in self._early:
                self._taking = False
                return None
            return self._next, self._early.pop(self._next)


def run_threads(tasks: Sequence[Callable[[], None]], count: int, stop: Callable[[], None] = lambda: None) -> None:
    """Run tasks in several threads, and wait until all have returned.

    Args:
        tasks: tasks in the order in which they start.
        count: number of threads.
        stop: called when a task has failed; makes waiting tasks end with StoppedError.

    Raises:
        BaseException: the error of the task that failed first; the other tasks are stopped or never started. Ctrl-C
            stops all tasks.
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
        except BaseException as error:  # Raised again in the thread that waits.
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

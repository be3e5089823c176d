"""Threads that process items in parallel and pass the stages of a pipeline in the items' order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class StoppedError(Exception):
    """Raised in threads that wait when another one has failed, whose error is reported."""


class Pipeline:
    """Stages that items pass in order: item 0 first, then 1, ...; a thread waits until the item before has left.

    Item 5 may be in stage 0 while item 4 is in stage 1. So many threads can work at once although each stage takes the
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
        """Wait until it is an item's turn in a stage, and keep the stage until the block ends.

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
        """Wake all threads that wait; their ``turn`` raises StoppedError."""
        self._stopped = True
        for condition in self._conditions:
            with condition:
                condition.notify_all()


def run_threads(tasks: Sequence[Callable[[], None]], count: int, stop: Callable[[], None] = lambda: None) -> None:
    """Run tasks in several threads, and wait until all have returned.

    Args:
        tasks: tasks in the order in which they start.
        count: number of threads.
        stop: called when a task has failed; makes waiting tasks end with StoppedError.

    Raises:
        BaseException: the error of the task that failed first; the others are stopped or never started. Ctrl-C stops
            them as well.
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

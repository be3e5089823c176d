"""Dynamic batcher: scores waiting requests together, up to a maximum batch size."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def chunks(items: Iterable[Item], size_of: Callable[[Item], int], max_size: int) -> Iterator[list[Item]]:
    """Split items in order into batches of at most ``max_size``; a larger item is a batch of its own."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and size + size_of(item) > max_size:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += size_of(item)
    if batch:
        yield batch


class Batcher(Generic[Item]):
    """A worker that scores waiting requests, oldest first, in batches up to a maximum size.

    It never waits for more requests: the next batch gathers while one is scored, and leaving the processor idle would
    only add latency. The maximum size bounds the latency, because the requests in a batch and behind it wait for it.

    Args:
        handle: scores a batch and sends the responses.
        size_of: returns the number of pairs in a request.
        max_size: maximum number of pairs in a batch.
    """

    def __init__(self, handle: Callable[[list[Item]], None], size_of: Callable[[Item], int], max_size: int) -> None:
        self._handle, self._size_of, self._max_size = handle, size_of, max_size
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._run, name="batcher", daemon=True)

    def __enter__(self) -> Batcher[Item]:
        """Start the worker."""
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until the worker has handled all submitted requests."""
        self._waiting.put(None)
        self._worker.join()

    def submit(self, items: Iterable[Item]) -> None:
        """Queue requests for the worker and return at once."""
        for item in items:
            self._waiting.put(item)

    def _run(self) -> None:
        item = self._waiting.get()
        while item is not None:
            batch, size = [item], self._size_of(item)
            try:
                while (item := self._waiting.get_nowait()) is not None and size + self._size_of(item) <= self._max_size:
                    batch.append(item)
                    size += self._size_of(item)
            except queue.Empty:
                self._handle(batch)
                item = self._waiting.get()
            else:
                self._handle(batch)  # `item` did not fit, or marks the end; the loop continues with it.

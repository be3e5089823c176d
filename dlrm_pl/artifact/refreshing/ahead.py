"""Compute the results for the next keys in threads, while the current result is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Ahead(Generic[Key, Value]):
    """Results of a function for keys, computed ahead by as many threads as results are kept.

    Use it as a context manager: inside, the threads run; outside, ``take`` computes the results itself.

    Args:
        function: function of a key that may run in several threads at a time.
        keys: keys in the order in which they will be taken.
        count: number of results that are computed or kept ahead of the one that is taken.

    Example:
        >>> with Ahead(lambda key: key * key, [2, 3], count=1) as squares:
        ...     squares.take(2), squares.take(9), squares.take(3)
        (4, 81, 9)
    """

    def __init__(self, function: Callable[[Key], Value], keys: Iterable[Key], count: int) -> None:
        self._function = function
        self._waiting = deque(keys)
        self._count = count
        self._begun: deque[tuple[Key, Future[Value]]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Start the threads."""
        self._threads = ThreadPoolExecutor(self._count)
        self._begin()
        return self

    def __exit__(self, *reason: object) -> None:
        """Wait for the results that are being computed, and drop the others."""
        assert self._threads is not None
        self._threads.shutdown(cancel_futures=True)
        self._waiting.clear()
        self._begun.clear()

    def take(self, key: Key) -> Value:
        """Return the result for a key; it is computed here unless the key is the next one.

        Raises:
            Exception: what the function raised for this key.
        """
        if not self._begun or self._begun[0][0] != key:
            return self._function(key)
        _, future = self._begun.popleft()
        self._begin()
        return future.result()

    def _begin(self) -> None:
        assert self._threads is not None
        while self._waiting and len(self._begun) < self._count:
            key = self._waiting.popleft()
            self._begun.append((key, self._threads.submit(self._function, key)))

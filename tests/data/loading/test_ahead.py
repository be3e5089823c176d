"""A thread prepares items ahead: in order, with their errors, and without leaving a thread behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dlrm_pl.data.loading.ahead import made_ahead


def wait_until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "made_ahead"]


def test_items_come_in_order_and_errors_at_their_place() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise ValueError("the eleventh")

    found = []
    with pytest.raises(ValueError, match="the eleventh"):
        for item in made_ahead(items()):
            found.append(item)
    assert found == list(range(10))


def test_a_few_items_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    iterator = made_ahead(items(), most=2)
    next(iterator)
    wait_until(lambda: len(made) == 4)  # One was used, two wait, and the thread holds one.
    iterator.close()  # type: ignore[attr-defined]
    wait_until(lambda: not threads())
    assert len(made) < 10

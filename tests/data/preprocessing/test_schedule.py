"""Threads that share the chunks of a log."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from dlrm_pl.data.preprocessing.scatter.schedule import Schedule
from dlrm_pl.data.preprocessing.threads import run_threads


@dataclass
class Chunks:
    """Steps that record what happens, and check which chunk uses which memory.

    Attributes:
        total: number of chunks.
        stop_at: number of the chunk that has to wait for the next start; None for none.
        fail_at: number of the chunk that cannot be read; None for none.
    """

    total: int
    stop_at: int | None = None
    fail_at: int | None = None
    claimed: int = 0
    counted: list[int] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    in_use: dict[int, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    alone: threading.Lock = field(default_factory=threading.Lock)
    made: int = 0

    def memory(self) -> list[int]:
        self.made += 1
        return []

    def claim(self, memory: list[int]) -> int | None:
        assert self.alone.acquire(blocking=False), "two threads claim at once"
        self._pause()
        try:
            if self.claimed in (self.total, self.stop_at):
                return None
            self.claimed += 1
            return self.claimed - 1
        finally:
            self.alone.release()

    def read(self, claimed: int, memory: list[int]) -> int:
        assert not memory, "the memory is in use"
        memory.append(claimed)
        self._pause()
        if claimed == self.fail_at:
            raise ValueError("chunk 7")
        return claimed

    def count(self, read: int, memory: list[int]) -> None:
        assert memory == [read]
        self.counted.append(read)
        self._pause()
        assert self.counted[-1] == read, "two threads count at once"

    def number(self, read: int, memory: list[int]) -> None:
        with self.lock:
            self.begun.append(read)
        self._pause()
        assert memory == [read]
        memory.clear()

    def _pause(self) -> None:
        time.sleep(random.choice((0, 0, 0.001)))


def run(schedule: Schedule[int, int, list[int]], workers: int) -> None:
    schedule.start()
    run_threads([schedule.work] * workers, workers, schedule.stop)


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 4), (3, 3), (4, 8), (8, 2)])
def test_each_chunk_is_counted_in_order_and_numbered_once(workers: int, most: int) -> None:
    chunks = Chunks(100)
    schedule = Schedule(chunks, most)
    run(schedule, workers)
    assert chunks.counted == list(range(100))
    assert sorted(chunks.begun) == list(range(100))
    assert 1 <= chunks.made == len(schedule.memories) <= most


def test_no_chunk_is_left_when_a_checkpoint_interrupts() -> None:
    chunks = Chunks(60, stop_at=23)
    schedule = Schedule(chunks, 4)
    run(schedule, 2)
    assert sorted(chunks.begun) == list(range(23))
    chunks.stop_at = None
    run(schedule, 2)
    assert chunks.counted == sorted(chunks.begun) == list(range(60))


def test_error_of_a_thread_ends_the_others() -> None:
    chunks = Chunks(100, fail_at=7)
    with pytest.raises(ValueError, match="chunk 7"):
        run(Schedule(chunks, 6), 3)
    assert chunks.counted == list(range(7))[: len(chunks.counted)]

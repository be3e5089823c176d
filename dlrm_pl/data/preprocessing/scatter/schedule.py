"""Order in which threads claim, read, count and number the chunks of a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from dlrm_pl.data.preprocessing.threads import StoppedError

Claimed = TypeVar("Claimed")
Read = TypeVar("Read")
Memory = TypeVar("Memory")


class Steps(Protocol[Claimed, Read, Memory]):
    """Steps in the processing of a chunk."""

    def memory(self) -> Memory:
        """Return memory for a chunk, reused by later chunks."""

    def claim(self, memory: Memory) -> Claimed | None:
        """Claim the next chunk, one at a time; None if there is none, or if it must wait for a checkpoint."""

    def read(self, claimed: Claimed, memory: Memory) -> Read:
        """Read a chunk; several at once, in any order."""

    def count(self, read: Read, memory: Memory) -> None:
        """Count the rows of a chunk; one at a time, in the order of the claims."""

    def number(self, read: Read, memory: Memory) -> None:
        """Number and write a chunk; several at once, each started after the ones before it."""


class Schedule(Generic[Claimed, Read, Memory]):
    """Gives each thread the next step of a chunk.

    A thread does not stay with its chunk. If the chunk would have to wait for an earlier one, whose thread the system
    may have suspended for another program, the thread reads the next chunk instead. So there are as many threads as
    workers, and a thread waits only if there is nothing that it could do. It matters that this is rare: a woken thread
    often starts on the core where it ran before, queued behind another thread, while another core is idle.

    Args:
        steps: the steps that process a chunk.
        most: maximum number of chunks in memory.
    """

    def __init__(self, steps: Steps[Claimed, Read, Memory], most: int) -> None:
        self.memories: list[Memory] = []
        self._steps = steps
        self._unmade = most
        self._free: list[Memory] = []
        self._changed = threading.Condition()  # Guards all members below, and the contents of each memory.
        self._claimed = 0  # Number of chunks so far.
        self._counted = 0
        self._claiming = False
        self._read: dict[int, tuple[Read, Memory]] = {}  # Chunks to be counted, by number.
        self._ended = self._stopped = False

    def start(self) -> None:
        """Allow chunks to be claimed, again if the last claim returned none."""
        self._ended = False

    def work(self) -> None:
        """Perform steps in one thread until all chunks that could be claimed are counted.

        Raises:
            StoppedError: ``stop`` was called.
        """
        while (step := self._wait_for_step()) is not None:
            step()

    def stop(self) -> None:
        """End the work of all threads with StoppedError."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def free(self) -> None:
        """Free the memory of the chunks after all threads have ended."""
        self._free.clear()
        self._read.clear()
        self.memories.clear()

    def _wait_for_step(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                if self._stopped:
                    raise StoppedError
                if (step := self._due()) is not None:
                    return step
                if self._ended and self._counted == self._claimed:
                    return None
                self._changed.wait()

    def _due(self) -> Callable[[], None] | None:
        """Return a step that can be done now; chunks that are read come first, to free their memory."""
        # A chunk that is being counted is no longer in the dict, and the next one's turn has not come.
        if self._counted in self._read:
            return partial(self._count_and_number, *self._read.pop(self._counted))
        if not self._claiming and not self._ended and (self._free or self._unmade):
            self._claiming = True
            return self._claim_and_read
        return None

    def _claim_and_read(self) -> None:
        with self._changed:
            memory = self._free.pop() if self._free else None
        if memory is None:
            memory = self._steps.memory()
            with self._changed:
                self._unmade -= 1
                self.memories.append(memory)
        claimed = self._steps.claim(memory)
        with self._changed:
            self._claiming = False
            index = self._claimed
            if claimed is None:
                self._ended = True
                self._free.append(memory)
            else:
                self._claimed += 1
            self._changed.notify_all()
        if claimed is not None:
            read = self._steps.read(claimed, memory)
            with self._changed:
                # No thread is woken: this thread looks for its next step right away, and counts this chunk if it is
                # due.
                self._read[index] = read, memory

    def _count_and_number(self, read: Read, memory: Memory) -> None:
        self._steps.count(read, memory)
        with self._changed:
            self._counted += 1
            self._changed.notify_all()
        self._steps.number(read, memory)
        with self._changed:
            self._free.append(memory)
            self._changed.notify_all()

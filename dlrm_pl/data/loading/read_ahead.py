"""Batches that a thread reads while earlier ones are used."""

from __future__ import annotations

import resource
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from dlrm_pl.batch import ClickBatch
from dlrm_pl.batch_group import BatchGroup
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.loading.sampling import Selection, take
from dlrm_pl.errors import DLRMError

_AHEAD = 2
"""Number of groups of batches that have been or are being read while one is handed out."""

_ASKED = 32
"""Number of groups that the kernel is asked to read in advance after a group that had to wait for the disk."""


_FEW = 8
"""Number of batches of consecutive rows that the kernel is always asked to read in advance, one request each."""


@dataclass
class Waiting:
    """What a loader has handed out so far, over all epochs, and how long it took.

    Attributes:
        rows: number of rows in the batches.
        seconds: time spent waiting for the batches.
    """

    rows: int = 0
    seconds: float = 0.0


class BatchSource(NamedTuple):
    """Source of a loader's batches.

    Attributes:
        read: function that reads the batches of some selections.
        read_in_advance: function that tells the kernel that selections will be read soon.
        most_rows: maximum number of rows that are read together, unless a single batch has more.
    """

    read: Callable[[Sequence[Selection]], Sequence[ClickBatch]]
    read_in_advance: Callable[[Sequence[Selection]], None]
    most_rows: int


class _Group(NamedTuple):
    """Batches that were read together, and the error that ended them."""

    batches: Sequence[ClickBatch]
    error: DLRMError | None


class ReadBatches(Iterator[ClickBatch]):
    """Iterator over batches, one at a time or as many as are available.

    Args:
        groups: groups of batches.
        waiting: counts the rows that are handed out.
    """

    def __init__(self, groups: Generator[Sequence[ClickBatch], None, None], waiting: Waiting) -> None:
        self._groups, self._waiting = groups, waiting
        self._group: Sequence[ClickBatch] = ()
        self._taken = 0

    def __next__(self) -> ClickBatch:
        """Return the next batch."""
        (batch,) = self.take(1)
        return batch

    def take(self, count: int) -> Sequence[ClickBatch]:
        """Return the next batches: at least one, and at most as many as requested.

        Raises:
            StopIteration: there are no more.
            DLRMError: the next batch cannot be read.
        """
        while self._taken == len(self._group):
            self._group, self._taken = next(self._groups), 0
        first, self._taken = self._taken, min(self._taken + count, len(self._group))
        if count == 1:
            batch = self._group[first]
            self._waiting.rows += batch.num_samples
            return (batch,)
        batches = self._group[first : self._taken]
        self._waiting.rows += (
            batches.num_samples if isinstance(batches, BatchGroup) else sum(batch.num_samples for batch in batches)
        )
        return batches

    def close(self) -> None:
        """Stop reading."""
        self._groups.close()


def read_ahead(source: BatchSource, selections: Iterable[Selection], waiting: Waiting) -> ReadBatches:
    """Return a batch for each selection, in their order.

    Each group of batches is read in one call. The first group has a single batch, so that it is available soon, and
    each group has at most twice as many batches as the one before. A thread reads the groups after the first, at most
    two ahead, so memory is bounded and nothing is left running when the iterator is dropped.

    Args:
        source: source of the batches.
        selections: rows of each batch; only one thread at a time reads from the iterable.
        waiting: counts rows and waiting time.

    Raises:
        DLRMError: a batch cannot be read; raised after the preceding batches have been yielded.
    """
    return ReadBatches(_groups_ahead(source, selections, waiting), waiting)


def _groups_ahead(
    source: BatchSource, selections: Iterable[Selection], waiting: Waiting
) -> Generator[Sequence[ClickBatch], None, None]:
    reader = _Reader(source, iter(selections))
    started = time.perf_counter()
    group = reader.next_group()
    waiting.seconds += time.perf_counter() - started
    pool = ThreadPoolExecutor(1, "dlrm-read-ahead") if reader.has_more else None
    pending: deque[Future[_Group]] = deque()
    try:
        while True:
            while pool is not None and reader.has_more and len(pending) < _AHEAD and group.error is None:
                pending.append(pool.submit(reader.next_group))
            yield group.batches
            if group.error is not None:
                raise group.error
            if not pending:
                return
            started = time.perf_counter()
            group = pending.popleft().result()
            waiting.seconds += time.perf_counter() - started
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class _Reader:
    """Reads groups one after the other, and has the kernel read the group after each from the disk."""

    def __init__(self, source: BatchSource, selections: Iterator[Selection]) -> None:
        self._source = source
        self._groups = _grouped(selections, source.most_rows)
        self._next = next(self._groups, None)
        self._slow_groups = 0

    @property
    def has_more(self) -> bool:
        """Whether there is a group that was not read."""
        return self._next is not None

    def next_group(self) -> _Group:
        """Read the next group; an empty one after the last."""
        selections = self._next
        if selections is None:
            return _Group([], None)
        self._next = next(self._groups, None)
        # For rows already in memory, a request is useless, and one request per row would take longer than reading it.
        if self._next is not None and (self._slow_groups or self._is_asked_cheaply(self._next)):
            self._source.read_in_advance(self._next)
        faults = _faults()
        group = _read(self._source, selections)
        self._slow_groups = _ASKED if _faults() > faults else max(0, self._slow_groups - 1)
        return group

    def _is_asked_cheaply(self, selections: Sequence[Selection]) -> bool:
        """Return whether few requests to the kernel cover the rows that are read together."""
        return len(selections) <= _FEW and isinstance(selections[0], slice)


def _faults() -> int:
    """Return the number of times that this thread waited for a page from the disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


def _read(source: BatchSource, selections: Sequence[Selection]) -> _Group:
    """Read a group; if a batch has an error, still return the batches before it."""
    batches: list[ClickBatch] = []
    try:
        return _Group(source.read(selections), None)
    except DLRMError as error:
        if len(selections) == 1:
            return _Group(batches, error)
    for selection in selections:
        group = _read(source, [selection])
        batches.extend(group.batches)
        if group.error is not None:
            return _Group(batches, group.error)
    return _Group(batches, None)


def _grouped(selections: Iterator[Selection], most_rows: int) -> Iterator[Sequence[Selection]]:
    """Yield groups of 1, 2, 4 and so on selections, limited to about ``most_rows`` rows."""
    count = 1
    while group := take(selections, count):
        yield group
        rows = group.most_rows if isinstance(group, RowRanges) else max(map(_rows, group))
        count = max(1, min(2 * count, most_rows // max(1, rows)))


def _rows(selection: Selection) -> int:
    return selection.stop - selection.start if isinstance(selection, slice) else len(selection)

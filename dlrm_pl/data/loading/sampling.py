"""Assign rows to batches: three kinds of shuffling, and disjoint, complete shares for several ranks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.loading.permutation import RandomPermutation
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError

Shuffle = Literal["none", "batch", "row"]
Selection = slice | npt.NDArray[np.int64]


class EpochSampler(Sampler[Selection]):
    """Batches of one rank for one epoch, as slices or arrays of rows.

    A *step* covers ``world_size * batch_size`` consecutive positions, which are divided evenly between the ranks. A
    short last step is divided evenly too; if it has fewer rows than there are ranks, it joins the step before it. So
    all ranks take the same number of steps, and every row is used once per epoch.

    Args:
        rows: number of rows.
        batch_size: number of rows in a batch on each rank.
        shuffle: ``none``: rows in order. ``batch``: the rows of a batch stay together and the batches come in random
            order, as with upstream's --mlperf-bin-shuffle. ``row``: the rows are shuffled individually.
        seed: seed for shuffling; the order differs from epoch to epoch, and is the same for the same seed and epoch.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        ConfigurationError: the batch size is below 1, or there are fewer rows than ranks.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        shuffle: Shuffle = "none",
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_arguments(EpochSampler.__init__, locals())
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
        if rows < world_size:
            raise ConfigurationError(f"{rows} rows cannot be divided between {world_size} ranks. Use fewer devices.")
        self._rows = rows
        self._shuffle = shuffle
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._step_rows = batch_size * world_size
        steps, rest = divmod(rows, self._step_rows)
        self._steps = steps + (rest >= world_size or steps == 0)
        self._epoch = 0
        self._first_step = 0

    def start_at(self, step: int) -> None:
        """Make the next epoch start at this step, to resume an interrupted epoch."""
        self._first_step = step

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch's number, on which the order depends; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        return self._steps

    def __iter__(self) -> EpochSelections:
        """Return an iterator over the rows of each batch, in the order of the current epoch."""
        order = np.arange(self._steps)
        if self._shuffle == "batch":
            order = np.random.default_rng((self._seed, self._epoch)).permutation(self._steps)
        draw = RandomPermutation(self._rows, (self._seed, self._epoch)) if self._shuffle == "row" else None
        return EpochSelections(self, order[self._first_step :], draw)

    def ranges(self, steps: npt.NDArray[np.int64]) -> RowRanges:
        """Return the positions that belong to this rank in some steps."""
        self._first_step = 0  # Only here: a DataLoader with workers makes two iterators, and uses the second.
        first = steps * self._step_rows
        size = np.where(steps == self._steps - 1, self._rows - first, self._step_rows)
        start = first + size * self._rank // self._world_size
        return RowRanges(start, first + size * (self._rank + 1) // self._world_size - start)


class Selections(Iterator[Selection]):
    """Iterator over selections, one at a time or several."""

    def __next__(self) -> Selection:
        """Return the next selection."""
        selections = self.take(1)
        if not selections:
            raise StopIteration
        return selections[0]

    @abstractmethod
    def take(self, count: int) -> Sequence[Selection]:
        """Return the next selections: as many as requested, or all that are left."""


def take(selections: Iterator[Selection], count: int) -> Sequence[Selection]:
    """Return the next selections of any iterator: as many as requested, or all that are left."""
    return selections.take(count) if isinstance(selections, Selections) else list(islice(selections, count))


class EpochSelections(Selections):
    """Rows of an epoch's batches, one batch at a time or several.

    Args:
        sampler: sampler that knows the positions of each step.
        steps: the remaining steps, in order.
        draw: maps positions to rows; None: rows equal positions.
    """

    def __init__(self, sampler: EpochSampler, steps: npt.NDArray[np.int64], draw: RandomPermutation | None) -> None:
        self._sampler, self._steps, self._draw = sampler, steps, draw
        self._taken = 0

    def take(self, count: int) -> Sequence[Selection]:
        """Return the rows of the next batches: as many as requested, or all that are left."""
        steps = self._steps[self._taken : self._taken + count]
        self._taken += len(steps)
        ranges = self._sampler.ranges(steps)
        if self._draw is None or not len(steps):
            return ranges
        ends = np.cumsum(ranges.sizes)
        rows = self._draw(np.repeat(ranges.firsts - ends + ranges.sizes, ranges.sizes) + np.arange(ends[-1]))
        return [rows[end - size : end] for end, size in zip(ends.tolist(), ranges.sizes.tolist(), strict=True)]

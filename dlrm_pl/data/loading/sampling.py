"""Which rows make which batch: three shuffles, disjoint and complete shares for several ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from dlrm_pl.data.loading.permutation import RandomPermutation
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError

Shuffle = Literal["none", "batch", "row"]
Selection = slice | npt.NDArray[np.int64]


class EpochSampler(Sampler[Selection]):
    """The batches of one rank for one epoch, as slices or arrays of rows.

    A *step* is ``world_size * batch_size`` neighbouring positions, of which each rank takes an even share. A short
    last step is shared as evenly; one with fewer rows than ranks joins the step before it. So all ranks make the
    same number of steps, and every row is used once an epoch.

    Args:
        rows: number of rows.
        batch_size: rows of a batch on each rank.
        shuffle: ``none``: rows in order. ``batch``: the rows of a batch stay together and the batches come in random
            order, as with upstream's --mlperf-bin-shuffle. ``row``: every row is drawn on its own.
        seed: the order differs from epoch to epoch, and is the same for the same seed and epoch.
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
            raise ConfigurationError(f"{rows} rows cannot be shared by {world_size} ranks: use fewer devices.")
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
        """Start the next epoch at this step, to resume an interrupted epoch."""
        self._first_step = step

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, on which the order depends; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        return self._steps

    def __iter__(self) -> Iterator[Selection]:
        """Return an iterator of the rows of one batch after another, in the order of the epoch that is set now."""
        order = np.arange(self._steps)
        if self._shuffle == "batch":
            order = np.random.default_rng((self._seed, self._epoch)).permutation(self._steps)
        draw = RandomPermutation(self._rows, (self._seed, self._epoch)) if self._shuffle == "row" else None
        return self._selections(order[self._first_step :], draw)

    def _selections(self, order: npt.NDArray[np.int64], draw: RandomPermutation | None) -> Iterator[Selection]:
        # Not before: a DataLoader with workers makes two iterators, and draws from the second.
        self._first_step = 0
        for step in order:
            start, stop = self._share(int(step))
            yield slice(start, stop) if draw is None else draw(np.arange(start, stop))

    def _share(self, step: int) -> tuple[int, int]:
        """Return the first position of this rank in a step, and the one after the last."""
        first = step * self._step_rows
        last = self._rows if step == self._steps - 1 else first + self._step_rows
        size = last - first
        return (
            first + size * self._rank // self._world_size,
            first + size * (self._rank + 1) // self._world_size,
        )

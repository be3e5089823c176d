"""Rows that contenders are timed on: random ones, or those of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.model.architecture import Architecture

Source = Callable[[int], Sequence[ClickBatch]]
"""Batch size -> batches of that size, to be iterated over repeatedly."""

# With this many samples, lookups read more bytes than caches hold, whatever the batch size.
_SAMPLES = 2**18
_MAX_BATCHES = 512


def random_rows(architecture: Architecture, seed: int = 0, columns: Columns | None = None) -> Source:
    """Return random rows, uniform over each table: the hardest case for caches, since real logs repeat their rows."""
    return lambda size: [random_batch(architecture, size, seed + number, columns) for number in range(_count(size))]


def random_batch(architecture: Architecture, size: int, seed: int, columns: Columns | None = None) -> ClickBatch:
    """Make a random batch from a seed: dense features like logarithms of counts, and uniform indices.

    Args:
        architecture: shape of the model.
        size: number of samples.
        seed: the same seed gives the same batch.
        columns: columns of the model's rows; lists have the column's fixed length, or any length up to its maximum;
            None: one-hot.
    """
    rng = torch.Generator().manual_seed(seed)
    dense, labels = torch.rand(size, architecture.bottom_mlp[0], generator=rng) * 4, torch.zeros(size)
    if columns is None or columns.is_one_hot:
        indices = [torch.randint(rows, (size,), generator=rng) for rows in architecture.table_sizes]
        return ClickBatch(dense, torch.stack(indices), None, labels)
    lengths = torch.cat(
        [
            torch.full((size,), column.bag)
            if column.at_most is None
            else torch.randint(column.at_most + 1, (size,), generator=rng)
            for column in columns.sparse
        ]
    )
    offsets = lengths.new_zeros(len(lengths) + 1)
    offsets[1:] = lengths.cumsum(0)
    counts = zip(architecture.table_sizes, lengths.view(-1, size).sum(1).tolist(), strict=True)
    return ClickBatch(
        dense, torch.cat([torch.randint(rows, (count,), generator=rng) for rows, count in counts]), offsets, labels
    )


def dataset_rows(dataset: ClickDataset) -> Source:
    """Return rows of a dataset in order, starting over if a batch size needs more than there are."""

    def batches(size: int) -> list[ClickBatch]:
        # As many batches as the dataset fills once; if it is smaller than a batch, one batch repeats its rows.
        count = max(1, min(_count(size), len(dataset) // size))
        return [dataset[np.arange(start, start + size) % len(dataset)] for start in range(0, count * size, size)]

    return batches


def _count(size: int) -> int:
    return max(4, min(_MAX_BATCHES, _SAMPLES // size))

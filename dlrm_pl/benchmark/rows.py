"""The rows that contenders are timed on: random ones, or those of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.model.architecture import Architecture

Source = Callable[[int], Sequence[ClickBatch]]
"""Batch size -> batches of that size, to be walked through again and again."""

# So many samples look up more bytes than caches hold, whatever the batch size.
_SAMPLES = 2**18
_MAX_BATCHES = 512


def random_rows(architecture: Architecture, seed: int = 0) -> Source:
    """Uniform over each table, one-hot: the hardest case for caches, since real logs repeat their rows."""
    return lambda size: [random_batch(architecture, size, seed + number) for number in range(_count(size))]


def random_batch(architecture: Architecture, size: int, seed: int) -> ClickBatch:
    """Dense features as the logarithm of counts, indices uniform; the same seed gives the same batch."""
    rng = torch.Generator().manual_seed(seed)
    return ClickBatch(
        dense=torch.rand(size, architecture.bottom_mlp[0], generator=rng) * 4,
        indices=torch.stack([torch.randint(rows, (size,), generator=rng) for rows in architecture.table_sizes]),
        offsets=None,
        labels=torch.zeros(size),
    )


def dataset_rows(dataset: ClickDataset) -> Source:
    """Rows of a dataset, in order; from its beginning again where a batch size needs more than there are."""

    def batches(size: int) -> list[ClickBatch]:
        # As many as the dataset fills once; a smaller one repeats rows inside a batch and needs no second.
        count = max(1, min(_count(size), len(dataset) // size))
        return [dataset[np.arange(start, start + size) % len(dataset)] for start in range(0, count * size, size)]

    return batches


def _count(size: int) -> int:
    return max(4, min(_MAX_BATCHES, _SAMPLES // size))

"""MLPerf's samples: each is a user's request of 100 to 700 user-item pairs that are scored together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from dlrm_pl.batch import ClickBatch, bags_of_tables
from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.memory import require_memory
from dlrm_pl.model.architecture import Architecture

# Lengths at 20 quantiles, with mean 270, from the quantile file that MLPerf's implementation has for both models.
# Source: mlcommons/inference, recommendation/dlrm_v2/pytorch/python/multihot_criteo.py.
LENGTHS = (*(100,) * 2, *(200,) * 12, *(300,) * 2, 400, 500, 600, 700)
MEAN_PAIRS = 270
SEED = 123
"""Seed of MLPerf's implementation; its lengths are drawn with it from NumPy's older generator."""

LOADED_SAMPLES = 2048
"""Number of samples in memory at a time: 550,000 pairs, 90 MB with one lookup in each table, 0.5 GB with v2's bags."""

_LARGEST = 2**31 - 1


def draw_lengths(count: int, seed: int = SEED) -> npt.NDArray[np.int64]:
    """Draw the number of pairs of each sample; the default seed gives MLPerf's lengths."""
    drawn = np.random.RandomState(seed).randint(0, len(LENGTHS), count)
    return np.array(LENGTHS, dtype=np.int64)[drawn]


def cut(rows: int, seed: int = SEED) -> npt.NDArray[np.int64]:
    """Divide rows into samples; return the start of each, and the end. The last sample gets the remaining rows.

    With MLPerf's seed and number of rows, the result equals the samples of its published trace.
    """
    stops = np.minimum(np.cumsum(draw_lengths(rows // LENGTHS[0] + 1, seed)), rows)
    return np.concatenate([[0], stops[: int(np.searchsorted(stops, rows)) + 1]])


class SampleLibrary:
    """Numbered samples, some of which are in memory.

    Args:
        lengths: number of pairs in each sample.
        read: returns the pairs of a sample, given its number.
        most_loaded: maximum number of samples in memory at a time.
    """

    def __init__(
        self, lengths: Iterable[int], read: Callable[[int], ClickBatch], most_loaded: int = LOADED_SAMPLES
    ) -> None:
        self.lengths = [int(length) for length in lengths]
        self._read, self._most_loaded = read, most_loaded
        self._loaded: dict[int, ClickBatch] = {}

    @classmethod
    def of_dataset(cls, dataset: ClickDataset, seed: int = SEED, most_loaded: int = LOADED_SAMPLES) -> SampleLibrary:
        """Make samples of all rows in order; the last sample gets the remaining rows."""
        bounds = cut(len(dataset), seed)
        return cls(np.diff(bounds), lambda number: dataset[int(bounds[number]) : int(bounds[number + 1])], most_loaded)

    @classmethod
    def of_random_rows(
        cls,
        architecture: Architecture,
        seed: int = SEED,
        columns: Columns | None = None,
        most_loaded: int = LOADED_SAMPLES,
    ) -> SampleLibrary:
        """Make as many random samples as are loaded at a time, uniform over each table, with all labels 0."""
        lengths = draw_lengths(most_loaded, seed)
        return cls(
            lengths, lambda number: random_batch(architecture, int(lengths[number]), number, columns), most_loaded
        )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.lengths)

    @property
    def loaded_at_a_time(self) -> int:
        """Number of samples to load at a time: MLPerf's performance sample count."""
        return min(len(self), self._most_loaded)

    def require_memory(self) -> None:
        """Check that the samples that are loaded at a time fit into memory.

        Raises:
            ConfigurationError: the samples do not fit.
        """
        pair_bytes = _bytes_of(_stored(self._read(0))) / self.lengths[0]
        count = self.loaded_at_a_time
        needed = int(pair_bytes * sum(self.lengths) / len(self) * count)
        require_memory(needed, f"{count:,} samples of MLPerf", "Give a smaller --mlperf_samples.")

    def load(self, numbers: Iterable[int]) -> None:
        """Read samples into memory."""
        self._loaded.update({number: _stored(self._read(number)) for number in numbers})

    def unload(self, numbers: Iterable[int]) -> None:
        """Remove samples from memory."""
        for number in numbers:
            self._loaded.pop(number, None)

    def batch(self, numbers: Sequence[int]) -> ClickBatch:
        """Join the pairs of loaded samples, in the order of ``numbers``."""
        parts = [self._loaded[number] for number in numbers]
        batch = parts[0] if len(parts) == 1 else joined(parts)
        offsets = None if batch.offsets is None else batch.offsets.long()
        return batch._replace(indices=batch.indices.long(), offsets=offsets)


def _stored(batch: ClickBatch) -> ClickBatch:
    """Convert ids and offsets, which take most of the memory, to 32 bits, unless an id needs more."""
    indices, offsets = batch.indices, batch.offsets
    if indices.numel() and int(indices.max()) > _LARGEST:
        return batch
    return batch._replace(indices=indices.int(), offsets=None if offsets is None else offsets.int())


def _bytes_of(batch: ClickBatch) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in batch if tensor is not None)


def joined(parts: Sequence[ClickBatch]) -> ClickBatch:
    """Concatenate batches that are all one-hot or all multi-hot, with the same tables."""
    dense = torch.cat([part.dense for part in parts])
    labels = torch.cat([part.known_labels for part in parts])
    starts = [part.offsets for part in parts if part.offsets is not None]
    if not starts:
        return ClickBatch(dense, torch.cat([part.indices for part in parts], dim=1), None, labels)
    # For each table in turn, join the lookups of all parts and the lengths of their bags.
    tables = (starts[0].numel() - 1) // parts[0].num_samples
    of_parts = [bags_of_tables(part.indices, bounds, tables) for part, bounds in zip(parts, starts, strict=True)]
    lengths = torch.cat([bounds.diff() for of_table in zip(*of_parts, strict=True) for _, bounds in of_table])
    offsets = lengths.new_zeros(lengths.numel() + 1)
    offsets[1:] = lengths.cumsum(0)
    indices = torch.cat([rows for of_table in zip(*of_parts, strict=True) for rows, _ in of_table])
    return ClickBatch(dense, indices, offsets, labels)

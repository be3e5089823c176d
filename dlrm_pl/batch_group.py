"""BatchGroup: batches that were read together, whose values are contiguous in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch

if TYPE_CHECKING:
    from torch import Tensor

Places = npt.NDArray[np.int64]
"""Positions of a group's batches, ``[batches, 7]``: where each begins in ``dense``, ``indices``, ``offsets`` and
``labels``; number of samples between the lookups of two tables (0 with offsets); number of lookups; number of
samples."""

_DENSE, _INDICES, _OFFSETS, _LABELS, _STRIDE, _LOOKUPS, _SIZE = range(7)


class BatchGroup(Sequence[ClickBatch]):
    """Consecutive batches in shared tensors; a batch is made on demand, and slicing a group costs nothing.

    Cutting tensors into views takes longer than reading the values of a small batch. Code that processes many batches
    at a time needs only their addresses, not the views. ``of`` makes a group.

    Attributes:
        dense: dense inputs of all samples, float32 ``[rows, N]``.
        num_tables: number of tables T.
        places: position of each batch.
        addresses: the same positions, with memory addresses in place of the first four numbers.
        has_empty: whether a batch of the group has no samples.
    """

    def __init__(
        self,
        tensors: tuple[Tensor, Tensor, Tensor | None, Tensor],
        num_tables: int,
        places: Places,
        addresses: Places,
        *,
        has_empty: bool,
    ) -> None:
        self._tensors, self.has_empty = tensors, has_empty
        self.dense, self.num_tables = tensors[0], num_tables
        self.places, self.addresses = places, addresses

    @classmethod
    def of(
        cls,
        tensors: tuple[Tensor, Tensor, Tensor | None, Tensor],
        sizes: npt.NDArray[np.int64],
        *,
        num_tables: int,
        ids: int,
        lookups: npt.NDArray[np.int64],
    ) -> BatchGroup:
        """Return a group of contiguous batches.

        Args:
            tensors: dense inputs ``[rows, N]``, indices, offsets (None for one-hot batches) and labels, all contiguous.
            sizes: samples of each batch, int64.
            num_tables: number of tables T.
            ids: number of places that each sample has in ``indices``.
            lookups: lookups of each batch, int64.
        """
        dense, indices, offsets, labels = tensors
        places = np.empty((len(sizes), 7), np.int64)
        first = np.cumsum(sizes) - sizes
        places[:, _DENSE] = places[:, _LABELS] = first
        places[:, _INDICES] = first * ids
        places[:, _OFFSETS] = 0 if offsets is None else first * num_tables + np.arange(len(sizes))
        places[:, _STRIDE] = sizes if offsets is None else 0
        places[:, _LOOKUPS] = lookups
        places[:, _SIZE] = sizes
        bags = 0 if offsets is None else offsets.data_ptr()
        start = np.array([dense.data_ptr(), indices.data_ptr(), bags, labels.data_ptr(), 0, 0, 0], np.int64)
        addresses = places * np.array([4 * dense.shape[1], 8, 8, 4, 1, 1, 1]) + start
        return cls(tensors, num_tables, places, addresses, has_empty=not sizes.all())

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.places)

    @property
    def num_samples(self) -> int:
        """Number of samples in all batches."""
        places = self.places
        return int(places[-1, _DENSE] + places[-1, _SIZE] - places[0, _DENSE]) if len(places) else 0

    @overload
    def __getitem__(self, place: int) -> ClickBatch: ...

    @overload
    def __getitem__(self, place: slice) -> BatchGroup: ...

    def __getitem__(self, place: int | slice) -> ClickBatch | BatchGroup:
        """Return a batch, or a group of some of the batches."""
        if isinstance(place, slice):
            assert place.step in (None, 1), "the batches of a group follow each other"
            places = self.places[place]
            has_empty = self.has_empty and not bool(places[:, _SIZE].all())
            return BatchGroup(self._tensors, self.num_tables, places, self.addresses[place], has_empty=has_empty)
        dense, indices, offsets, labels = self._tensors
        first, first_index, first_offset, _, _, lookups, size = self.places[place].tolist()
        indices = indices.narrow(0, first_index, lookups)
        if offsets is None:
            indices = indices.view(self.num_tables, size)
        else:
            offsets = offsets.narrow(0, first_offset, self.num_tables * size + 1)
        return ClickBatch(dense.narrow(0, first, size), indices, offsets, labels.narrow(0, first, size))

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch."""
        return (self[place] for place in range(len(self)))

"""RowRanges: the rows of many batches, each a range of consecutive rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt


class RowRanges(Sequence[slice]):
    """Batches of consecutive rows: slices of step 1 whose ends are in arrays, so that many cost no more than a few.

    Args:
        firsts: first row of each batch, int64, not negative.
        sizes: rows of each batch, int64, not negative.

    Example:
        >>> import numpy as np
        >>> ranges = RowRanges(np.array([0, 300]), np.array([10, 2]))
        >>> list(ranges), ranges.most_rows
        ([slice(0, 10, None), slice(300, 302, None)], 10)
    """

    def __init__(self, firsts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
        self.firsts, self.sizes = firsts, sizes

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.firsts)

    @overload
    def __getitem__(self, place: int) -> slice: ...

    @overload
    def __getitem__(self, place: slice) -> RowRanges: ...

    def __getitem__(self, place: int | slice) -> slice | RowRanges:
        """Return the rows of a batch, or of some of the batches."""
        if isinstance(place, slice):
            return RowRanges(self.firsts[place], self.sizes[place])
        first = int(self.firsts[place])
        return slice(first, first + int(self.sizes[place]))

    def __iter__(self) -> Iterator[slice]:
        """Yield the rows of batch after batch."""
        for first, size in zip(self.firsts.tolist(), self.sizes.tolist(), strict=True):
            yield slice(first, first + size)

    @property
    def most_rows(self) -> int:
        """Number of rows of the largest batch."""
        return int(self.sizes.max(initial=0))

    @property
    def end(self) -> int:
        """Row after the last row of all batches."""
        return int((self.firsts + self.sizes).max(initial=0))

    def moved(self, rows: int) -> RowRanges:
        """Return the ranges shifted by a number of rows."""
        return RowRanges(self.firsts + rows, self.sizes)

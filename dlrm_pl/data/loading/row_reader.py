"""Interface of readers of a dataset's batches: from a file of records, or from arrays of days."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.decoder import RowNumbers
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.loading.sampling import Selection

MOST_ROWS = 16384
"""Maximum number of rows that are read at once, unless a single batch has more."""

MOST_BYTES = 4 << 20
"""Maximum size of these rows in bytes: small enough for a processor's cache."""


class RowReader(Protocol):
    """Reads rows as batches. It can be pickled; each process maps the files itself."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def most_rows(self) -> int:
        """Number of rows that are read at once, unless a batch has more: few enough for a processor's cache."""

    def read(
        self, selections: Sequence[Selection], *, pin_memory: bool = False, buffers: Buffers | None = None
    ) -> Sequence[ClickBatch]:
        """Read a batch for each selection: a slice of step 1 with explicit ends, or row numbers in their order.

        Raises:
            DataFormatError: a value is not allowed; the message names the file, the row and the value. Or a file was
                changed.
        """

    def read_in_advance(self, selections: Sequence[Selection]) -> None:
        """Ask the kernel to read rows from the disk that will be needed soon."""


def upto_unusual(selections: Sequence[Selection], rows: int) -> Sequence[RowNumbers]:
    """Return the selections before the first one that only NumPy can handle, with negative or missing rows."""
    if isinstance(selections, RowRanges):
        return selections
    return list(
        takewhile(
            lambda one: isinstance(one, slice) or not len(one) or (one[0] >= 0 and one[-1] < rows),
            selections,
        )
    )

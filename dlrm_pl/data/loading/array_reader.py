"""Batches of rows in mapped arrays, with stored or drawn bags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dlrm_pl.batch import ClickBatch, pinned, to_batch
from dlrm_pl.data.decoding.array_layout import ArrayLayout, DayArrays
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.decoder import RowNumbers, batches_of, rows_of
from dlrm_pl.data.decoding.native import library
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.formats.torchrec.array_rows import ArrayRows, OpenRows
from dlrm_pl.data.loading.row_reader import MOST_BYTES, MOST_ROWS, upto_unusual
from dlrm_pl.data.loading.sampling import Selection


class ArrayReader:
    """Reads rows from files that each process maps itself.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: ArrayRows) -> None:
        self._rows = rows
        self._layout: tuple[int, ArrayLayout] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def most_rows(self) -> int:
        """Number of rows that are read at once, unless a batch has more: few enough for a processor's cache."""
        return max(1, min(MOST_ROWS, MOST_BYTES // self._rows.columns.record_bytes))

    def read(
        self, selections: Sequence[Selection], *, pin_memory: bool = False, buffers: Buffers | None = None
    ) -> Sequence[ClickBatch]:
        """Read a batch for each selection: a slice of step 1 with explicit ends, or row numbers in their order.

        Raises:
            DataFormatError: a value is not allowed, see ``ArrayRows.records``; or a file was changed.
        """
        # NumPy reads what is left: everything if there is no native code, and the batch with a wrong value, to name it.
        usual = upto_unusual(selections, self.num_rows)
        batches: Sequence[ClickBatch] = []
        native, opened = library(), self._rows.opened
        if native is not None and usual:
            rows = rows_of(self._moved(usual))
            decoded = self._arrays(opened).decode(native, rows, pin_memory=pin_memory, buffers=buffers)
            batches = batches_of(decoded, rows, self._rows.columns)
        if len(batches) == len(selections):
            return batches
        rest = selections[len(batches) :]
        others = (to_batch(self._rows.records(selection), self._rows.columns) for selection in rest)
        return [*batches, *(pinned(batch) if pin_memory else batch for batch in others)]

    def read_in_advance(self, selections: Sequence[Selection]) -> None:
        """Ask the kernel to read rows from the disk that will be needed soon."""
        for selection in upto_unusual(selections, self.num_rows):
            if isinstance(selection, slice):
                self._rows.will_need(selection.start, selection.stop)

    def _moved(self, selections: Sequence[RowNumbers]) -> Sequence[RowNumbers]:
        """Return the rows numbered over all days."""
        start = self._rows.start
        if isinstance(selections, RowRanges):
            return selections.moved(start)
        return [
            slice(one.start + start, one.stop + start) if isinstance(one, slice) else one + start for one in selections
        ]

    def _arrays(self, opened: OpenRows) -> ArrayLayout:
        if self._layout is None or self._layout[0] != os.getpid():
            days = [DayArrays(day.dense, day.labels, day.ids) for day in opened.days]
            layout = ArrayLayout(
                self._rows.columns,
                self._rows.table_sizes,
                takes_remainder=self._rows.takes_remainder,
                days=days,
                lookup=opened.lookup,
            )
            self._layout = os.getpid(), layout
        return self._layout[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the addresses, which are valid only in this process."""
        return self.__dict__ | {"_layout": None}

"""Rows in a file of records with single ids, from which bags are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.data.formats.torchrec.array_rows import ArrayRows, RowNumbers
from dlrm_pl.data.formats.torchrec.mapped_file import Array, MappedFile
from dlrm_pl.files.watched import WatchedFile


@dataclass(frozen=True)
class MappedRecords:
    """Fields of a mapped file of records.

    Attributes:
        records: int32 ``[records, record_ints]``.
        columns: columns of the records, without lists.
        file: the open file.
    """

    records: Records
    columns: Columns
    file: MappedFile

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.records)

    @property
    def dense(self) -> Array:
        """Record values of the dense columns, int32 ``[n, N]``."""
        return self.records[:, self.columns.dense_fields]

    @property
    def labels(self) -> Array:
        """The labels, int32 ``[n, 1]``."""
        return self.records[:, LABEL : LABEL + 1]

    @property
    def ids(self) -> tuple[Array, ...]:
        """Ids of each table, int32 ``[n, 1]``."""
        return tuple(self.records[:, fields] for fields in self.columns.table_fields)

    @property
    def watched(self) -> Sequence[WatchedFile]:
        """Open file, which must not change."""
        return (self.file.file,)

    def will_need(self, first: int, last: int) -> None:
        """Let the kernel read rows into memory in the background."""
        self.file.will_need(self.records, first, last)


@dataclass(frozen=True, kw_only=True)
class RecordRows(ArrayRows):
    """Rows of a split with single ids, or a range of them, with drawn bags.

    Attributes:
        single: columns of the records in the file.
    """

    single: Columns

    def mapped(self) -> tuple[MappedRecords, ...]:
        """Map the file."""
        file = MappedFile(self.path, self.states[self.path])
        records = np.ndarray(
            (len(file.data) // self.single.record_bytes, self.single.record_ints), "<i4", file.data.data
        )
        return (MappedRecords(records, self.single, file),)

    def records(self, selection: RowNumbers) -> Records:
        """Return checked rows as records, see ``ArrayRows``."""
        opened, rows = self.opened, self.numbers(selection)
        (day,) = opened.days
        assert isinstance(day, MappedRecords)
        single = day.records[rows]
        RecordChecks(self.path, self.single, self.table_sizes).check(single, rows.tolist())
        records = np.empty((len(rows), self.columns.record_ints), np.int32)
        first = self.columns.dense_fields.stop
        records[:, :first] = single[:, :first]
        for table, (fields, place) in enumerate(zip(self.columns.table_fields, self.single.table_fields, strict=True)):
            records[:, fields] = self.bag(single[:, place], table, opened.lookup[table])
        return records

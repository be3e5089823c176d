"""Rows of a split, in a file of records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Records, count_records, open_records, single_label
from dlrm_pl.data.formats.row_identity import checksum_of_rows, identity_of_rows


class SplitRows(Protocol):
    """Rows of a split, wherever they are stored."""

    @property
    def path(self) -> Path:
        """Path of the rows, for messages."""

    @property
    def columns(self) -> Columns:
        """Columns of the records."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def records(self, selection: slice | npt.NDArray[np.int64]) -> Records:
        """Return rows as records, int32 ``[B, record_ints]``."""

    def single_label(self, start: int, stop: int) -> int | None:
        """Return the label that all rows of a range have; None if there are both labels, or no rows."""

    def checksum(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows, see ``checksum_of_rows``."""

    def identity(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows, or of a sample if they are many, see ``identity_of_rows``."""


@dataclass(frozen=True)
class BinaryRows:
    """Rows in a file of records.

    Attributes:
        path: the file.
        columns: columns of its records.
    """

    path: Path
    columns: Columns

    def __len__(self) -> int:
        """Return the number of rows."""
        return count_records(self.path, self.columns)

    def records(self, selection: slice | npt.NDArray[np.int64]) -> Records:
        """Return rows as records; for a slice, without a copy."""
        return open_records(self.path, self.columns)[selection]

    def single_label(self, start: int, stop: int) -> int | None:
        """Return the label that all rows of a range have; None if there are both labels, or no rows."""
        return single_label(self.path, start, stop, self.columns)

    def checksum(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows, see ``checksum_of_rows``."""
        return checksum_of_rows(self.path, start, stop, stated, self.columns)

    def identity(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows, or of a sample if they are many, see ``identity_of_rows``."""
        return identity_of_rows(self.path, start, stop, stated, self.columns)

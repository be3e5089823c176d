"""Interface of the file readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dlrm_pl.data.sources.bad_rows import BadRow

if TYPE_CHECKING:
    import pyarrow as pa


class Batch(NamedTuple):
    """Consecutive rows of a file.

    Attributes:
        table: the requested columns.
        broken: rows that could not be split into columns, with their numbers in the file; in the table, they are nulls.
    """

    table: pa.Table
    broken: tuple[BadRow, ...] = ()


class TableFile(Protocol):
    """A file of rows with named columns.

    Attributes:
        path: path of the file.
        schema: names and types of the columns; all types are bytes in a format without types.
        num_rows: number of rows; None if it is not known without reading the rows.
    """

    path: Path
    schema: pa.Schema
    num_rows: int | None

    def batches(self, names: Sequence[str], first_row: int, most_rows: int, *, threads: bool) -> Iterator[Batch]:
        """Yield the rows from a given one on, in order.

        Args:
            names: columns to read.
            first_row: number of the first row.
            most_rows: largest number of rows in a batch, as far as the format allows.
            threads: whether to read columns in several threads.

        Raises:
            DataFormatError: the file is damaged.
        """
        ...

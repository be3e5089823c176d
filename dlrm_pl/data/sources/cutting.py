"""Divide rows into chunks, by their number and by the bytes of their strings and lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.sources.arrays.types import is_list, is_text, simple
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_BYTES = 16 << 20
"""Maximum size of the strings and lists in a chunk of several rows, in bytes."""

_ELEMENT_BYTES = 8  # Per element of a list.

_Sizes = npt.NDArray[np.int64]


class ChunkCutter:
    """Divides the rows of a file into chunks that do not depend on the batches in which they are read.

    Args:
        most_rows: number of rows in a chunk, or fewer if its strings and lists are long.
        sized: names of the columns with strings or lists.
    """

    def __init__(self, most_rows: int, sized: frozenset[str]) -> None:
        self._most_rows = most_rows
        self._sized = sized
        self._tables: list[pa.Table] = []
        self._sizes: list[_Sizes] = []
        self._rows = self._bytes = 0

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Add the rows of a batch; yields the chunks that they complete."""
        sizes = np.zeros(table.num_rows, np.int64)
        for name in self._sized.intersection(table.column_names):
            sizes += np.concatenate([np.zeros(0, np.int64), *(_sizes_of(part) for part in table.column(name).chunks)])
        self._tables.append(table)
        self._sizes.append(sizes)
        self._rows += table.num_rows
        self._bytes += int(sizes.sum())
        while self._rows >= self._most_rows or self._bytes > CHUNK_BYTES:
            yield self._first_chunk()

    def rest(self) -> Iterator[pa.Table]:
        """Yield the last chunk of a file, if rows are left."""
        if self._rows:
            yield arrow().concat_tables(self._tables)

    def _first_chunk(self) -> pa.Table:
        whole, sizes = arrow().concat_tables(self._tables), np.concatenate(self._sizes)
        fitting = int(np.searchsorted(np.cumsum(sizes[: self._most_rows]), CHUNK_BYTES, side="right"))
        rows = max(1, fitting)
        self._tables, self._sizes = [whole.slice(rows)], [sizes[rows:]]
        self._rows -= rows
        self._bytes -= int(sizes[:rows].sum())
        return whole.slice(0, rows)


def has_long_values(column: SparseColumn) -> bool:
    """Return whether the values of a column may be long: strings or lists."""
    return column.is_list or column.kind == "string"


def _sizes_of(array: Any) -> _Sizes:
    """Return the number of bytes of each value's string or list."""
    pa = arrow()
    if isinstance(array.type, pa.BaseExtensionType):
        return _sizes_of(array.storage)
    if pa.types.is_dictionary(array.type):
        # The index of a null is arbitrary.
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        sizes = _sizes_of(array.dictionary)
        return np.where(_is_null(array), 0, sizes[indices]) if len(sizes) else np.zeros(len(array), np.int64)
    array = simple(array)
    if is_text(array.type):
        return _whole(pa.compute.binary_length(array))
    if not is_list(array.type):
        return np.zeros(len(array), np.int64)
    lengths = _whole(pa.compute.list_value_length(array))
    elements = np.concatenate([[0], np.cumsum(_sizes_of(pa.compute.list_flatten(array)))])
    ends = np.cumsum(lengths)
    sizes = elements[ends] - elements[ends - lengths] + _ELEMENT_BYTES * lengths
    return np.asarray(sizes, np.int64)


def _whole(numbers: Any) -> _Sizes:
    return np.asarray(numbers.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _is_null(array: Any) -> npt.NDArray[np.bool_]:
    nulls: npt.NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls

"""Turn a dataset's records into batches: checked, transformed and in the model's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.batch_group import BatchGroup
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.native import Decoded, RecordLayout, Rows, library, will_need
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.formats.binary_format import Records

RowNumbers = slice | npt.NDArray[np.int64]
"""Rows of a batch: a slice with step 1, or row numbers; none is negative."""


class Decoder:
    """Makes batches from records in C++, bit-identical to those of ``to_batch``.

    Args:
        columns: columns of the records; those with ``standardize`` must have their mean and deviation.
        table_sizes: number of rows of each table.
        max_ind_range: if positive, indices of hex columns with a vocabulary are taken modulo this number.
    """

    def __init__(self, columns: Columns, table_sizes: Sequence[int], max_ind_range: int) -> None:
        self._columns = columns
        self._layout = RecordLayout(columns, table_sizes, max_ind_range)

    def decode(
        self,
        records: Records,
        selections: Sequence[RowNumbers],
        *,
        pin_memory: bool = False,
        buffers: Buffers | None = None,
    ) -> Sequence[ClickBatch]:
        """Make batches up to the first one with a value that ``RecordChecks`` refuses.

        All batches of a call share memory, so keeping one batch keeps the memory of all of them.

        Args:
            records: int32 ``[records, record_ints]``.
            selections: rows of each batch; all must be in ``records``.
            pin_memory: make tensors in memory that is pinned for a copy to a CUDA device.
            buffers: memory to use for the tensors unless they are pinned; None: new memory.

        Returns:
            The batches; none if the native code was not built or ``DLRM_PL_ISA`` is ``fallback``.
        """
        native = library()
        if native is None:
            return []
        rows = rows_of(selections)
        decoded = self._layout.decode(native, records, rows, pin_memory=pin_memory, buffers=buffers)
        return batches_of(decoded, rows, self._columns)


def batches_of(decoded: Decoded, rows: Rows, columns: Columns) -> Sequence[ClickBatch]:
    """Locate the batches that native code has decoded, and take the logarithms that it has left out.

    Args:
        decoded: values of several batches.
        rows: rows of these batches, possibly followed by more batches that were not decoded.
        columns: columns of the rows.
    """
    if not decoded.batches:
        return []
    sizes = rows.sizes[: decoded.batches]
    _take_logarithms(decoded.dense.numpy()[: int(sizes.sum())], columns)
    return BatchGroup.of(
        (decoded.dense, decoded.indices, decoded.offsets, decoded.labels),
        sizes,
        num_tables=columns.num_sparse,
        ids=columns.record_ints - 1 - columns.num_dense,
        lookups=decoded.lookups[: decoded.batches],
    )


def _take_logarithms(dense: npt.NDArray[np.float32], columns: Columns) -> None:
    # Always NumPy's logarithm: its last bits depend on the processor, and they must be the same in every batch.
    for fields in columns.dense_runs:
        if columns.dense[fields.start].transform != "log1p":
            continue
        if fields == slice(0, dense.shape[1]):
            np.log(dense, out=dense)
        else:
            dense[:, fields] = np.log(np.ascontiguousarray(dense[:, fields]))


def rows_of(selections: Sequence[RowNumbers]) -> Rows:
    """Return the rows of batches in the form that native code reads."""
    if isinstance(selections, RowRanges):
        return Rows(selections.sizes, selections.firsts, consecutive=True)
    if all(isinstance(selection, slice) for selection in selections):
        firsts = [selection.start for selection in selections if isinstance(selection, slice)]
        stops = [selection.stop for selection in selections if isinstance(selection, slice)]
        first = np.array(firsts, np.int64)
        return Rows(np.array(stops, np.int64) - first, first, consecutive=True)
    arrays = [
        np.arange(selection.start, selection.stop) if isinstance(selection, slice) else selection
        for selection in selections
    ]
    return Rows(np.array([len(rows) for rows in arrays], np.int64), np.concatenate(arrays), consecutive=False)


def read_in_advance(records: Records, selections: Sequence[RowNumbers]) -> None:
    """Ask the kernel to read rows of a mapped file in the background, if the native code was built."""
    native = library()
    if native is not None:
        will_need(native, records, rows_of(selections))

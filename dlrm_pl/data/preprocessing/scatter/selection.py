"""Select rows of a chunk, in another order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.category_values import offsets_of
from dlrm_pl.data.formats.raw_rows import Integers, RawDense, RawRows, RawSparse
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Bools


def take(rows: RawRows, order: Integers) -> RawRows:
    """Return rows by their numbers, in the order given."""
    return RawRows(
        None if rows.label is None else rows.label[order],
        tuple(RawDense(column.values[order], _of(column.missing, order)) for column in rows.dense),
        tuple(_sparse(column, order) for column in rows.sparse),
    )


def _of(missing: Bools | None, order: Integers) -> Bools | None:
    return None if missing is None else missing[order]


def _sparse(raw: RawSparse, order: Integers) -> RawSparse:
    offsets = None
    if raw.offsets is not None:
        # Elements are counted from the chunk's first one.
        starts = raw.offsets[:-1] - raw.offsets[0]
        lengths = np.diff(raw.offsets)[order]
        offsets = offsets_of(lengths)
        order = _runs(starts[order], lengths, offsets)
    if isinstance(raw.values, Strings):
        lengths = np.diff(raw.values.offsets)[order]
        ends = offsets_of(lengths)
        data = raw.values.data[_runs(raw.values.offsets[:-1][order], lengths, ends)]
        return RawSparse(Strings(ends, data), _of(raw.missing, order), offsets)
    return RawSparse(raw.values[order], _of(raw.missing, order), offsets)


def _runs(starts: Integers, lengths: npt.NDArray[np.integer], offsets: Integers) -> Integers:
    """Return the places of runs one after the other: ``starts[i]``, ``starts[i] + 1``, ..., ``lengths[i]`` of them."""
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])

"""Arrays of lists, as elements and offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.formats.raw_rows import Bools, Integers
from dlrm_pl.data.sources.arrays.field import Field, memory_of, missing_of
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa


class Elements(NamedTuple):
    """The elements of lists.

    Attributes:
        array: elements of all lists.
        offsets: start of each list, ``[B + 1]``.
        owners: row of each element.
        cut: number of lists that were truncated.
    """

    array: pa.Array
    offsets: Integers
    owners: Integers
    cut: int


def elements(array: pa.Array, column: SparseColumn, field: Field, *, truncate: bool) -> Elements:
    """Return the elements of lists, each truncated to what the column has room for.

    Args:
        array: lists. A missing list is taken as empty, or, if lists have a fixed length, as one whose elements are all
            missing.
        column: the column.
        field: collects lists of the wrong length.
        truncate: whether to truncate lists that are longer than ``at_most`` instead of refusing them.
    """
    pa = arrow()
    if pa.types.is_null(array.type):
        array = array.cast(pa.large_list(pa.null()))
    large = pa.types.is_large_list(array.type)
    bounds = memory_of(array, np.int64 if large else np.int32, 1, extra=1).astype(np.int64, copy=False)
    first, lengths = bounds[:-1], np.diff(bounds)
    missing = missing_of(array)
    values = array.values
    if missing is not None:
        lengths = np.where(missing, 0, lengths)
    cut = 0
    if column.at_most is None:
        wrong = lengths != column.bag
        if missing is not None:
            wrong &= ~missing
        field.refuse(wrong, "length", f"a list of {column.bag} elements", array)
        kept = np.where(wrong, 0, column.bag)
    else:
        wrong = lengths > column.at_most
        if truncate:
            cut = int(np.count_nonzero(wrong))
        else:
            expected = f"a list of at most {column.at_most} elements (--truncate_lists cuts it)"
            field.refuse(wrong, "length", expected, array)
        kept = np.minimum(lengths, column.at_most)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(kept, out=offsets[1:])
    owners = np.repeat(np.arange(len(array), dtype=np.int64), kept)
    if np.array_equal(kept, np.diff(bounds)):
        taken = values.slice(int(bounds[0]), int(bounds[-1] - bounds[0]))
    else:
        places = np.arange(offsets[-1], dtype=np.int64) - offsets[owners] + first[owners]
        absent: Bools | None = None if missing is None else missing[owners]
        taken = values.take(pa.array(places, mask=absent))
    return Elements(taken, offsets, owners, cut)

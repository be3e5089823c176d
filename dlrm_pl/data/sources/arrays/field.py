"""Common parts of the array converters: a column's name, its errors, and access to an array's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.raw_rows import Bools, Integers
from dlrm_pl.data.sources.bad_rows import Faults, Kind

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Field:
    """A column that is being converted.

    Attributes:
        name: name of the column.
        faults: collects the column's bad rows.
        owners: row of each element, if the column has lists.
    """

    name: str
    faults: Faults
    owners: Integers | None = None

    def refuse(self, wrong: Bools, kind: Kind, expected: str, array: pa.Array) -> None:
        """Note errors of elements.

        Args:
            wrong: whether each element is wrong.
            kind: kind of error.
            expected: description of valid elements.
            array: the elements.
        """
        places = np.flatnonzero(wrong)
        if len(places):
            rows = places if self.owners is None else self.owners[places]
            self.faults.add(self.name, kind, expected, rows, lambda place: array[int(places[place])].as_py())


def memory_of(array: pa.Array, dtype: type[np.generic], number: int = 1, extra: int = 0) -> npt.NDArray[Any]:
    """Return a buffer of an array of fixed-size values without a copy.

    Args:
        array: array, which may be part of a longer one.
        dtype: type of the values.
        number: number of the buffer.
        extra: number of values that the buffer has in addition to the array's, 1 for offsets.
    """
    buffer = array.buffers()[number]
    if buffer is None or not len(array):
        return np.zeros(len(array) + extra, dtype)
    return np.frombuffer(buffer, dtype, len(array) + array.offset + extra)[array.offset :]


def missing_of(array: pa.Array) -> Bools | None:
    """Return which elements are missing; None if none is."""
    if not array.null_count:
        return None
    mask: Bools = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def present(mask: Bools, missing: Bools | None) -> Bools:
    """Return a mask restricted to elements that are not missing."""
    return mask if missing is None else mask & ~missing

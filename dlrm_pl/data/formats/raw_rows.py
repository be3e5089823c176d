"""Rows of a click log before they are encoded: the common output of all sources of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.lookup.strings import Strings

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawSparse:
    """Values of a sparse column.

    Attributes:
        values: elements of all rows: int64 ``[E]`` for hex and integer columns, else strings. The value of a missing
            element is arbitrary.
        missing: whether an element is missing, ``[E]``; None if none is.
        offsets: for lists, int64 ``[B + 1]``: row b has the elements ``offsets[b]`` to ``offsets[b + 1]``; None for a
            column without lists, where E is B. A missing list counts as empty.
    """

    values: Integers | Strings
    missing: Bools | None = None
    offsets: Integers | None = None


@dataclass(frozen=True)
class RawDense:
    """Values of a dense column.

    Attributes:
        values: int64 ``[B]`` or float32 ``[B]``; the value of a missing element is arbitrary.
        missing: whether a value is missing, ``[B]``; None if none is.
    """

    values: npt.NDArray[Any]
    missing: Bools | None = None


@dataclass(frozen=True)
class RawRows:
    """Rows of a log, column by column, in the order of ``Columns``.

    Attributes:
        label: 0 or 1, int32 ``[B]``; None if the labels are not known.
        dense: the dense columns.
        sparse: the sparse columns.
    """

    label: npt.NDArray[np.int32] | None
    dense: tuple[RawDense, ...]
    sparse: tuple[RawSparse, ...]

    @property
    def num_rows(self) -> int:
        """Number of rows B."""
        return len(self.dense[0].values)

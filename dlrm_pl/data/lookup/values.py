"""Special values of categorical columns: not values of a column, but with their own row in its table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Counts = npt.NDArray[np.uint32]

MISSING_INTEGER = -(2**63)
"""Value of a missing element in a vocabulary of integers."""

UNSEEN_INTEGER = -(2**63) + 1
"""Value that stands for all values that are not in a vocabulary of integers."""

SMALLEST_INTEGER = -(2**63) + 2
"""Smallest integer that a column may hold."""

MISSING_STRING = b"\xff"
"""Value of a missing element in a vocabulary of strings. It is not UTF-8."""

UNSEEN_STRING = b"\xfe"
"""Value that stands for all values that are not in a vocabulary of strings. It is not UTF-8."""

"""Hashes of values, and ids that are computed from a value alone.

The hashes are part of the dataset format, and must never change. The hash of an integer or a hexadecimal value is the
splitmix64 finalizer of its 64 bits. The hash of a string is the same finalizer of the 64-bit FNV-1a hash of its UTF-8
bytes.

Sources: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators"; Fowler, Noll, Vo, "The FNV
Non-Cryptographic Hash Algorithm".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.lookup import fallback, native
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Bools, Integers, Numbers
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address


def hash_values(values: Integers | Strings) -> npt.NDArray[np.uint64]:
    """Return the 64-bit hash of each value.

    Example:
        >>> import numpy as np
        >>> from dlrm_pl.data.lookup.hashing import hash_values
        >>> hash_values(np.array([0, 1]))
        array([                   0,  6238072747940578789], dtype=uint64)
    """
    library = native.library()
    if isinstance(values, Strings):
        return fallback.hash_strings(values) if library is None else native.hash_strings(library, values)
    return fallback.hash_integers(values) if library is None else native.hash_integers(library, values)


def hashed_ids(values: Integers | Strings, rows: int, missing: Bools | None = None) -> Numbers:
    """Return ids from hashes: 0 for a missing value, else ``1 + hash % (rows - 1)``.

    Args:
        values: values ``[n]``.
        rows: number of ids, 2 or more.
        missing: whether each value is missing, ``[n]``; None if none is.
    """
    _check_missing(missing, values.num_strings if isinstance(values, Strings) else len(values))
    ids = (hash_values(values) % np.uint64(rows - 1)).astype(np.int32) + np.int32(1)
    if missing is not None:
        ids[missing] = 0
    return ids


def modulo_ids(values: Integers, rows: int, missing: Bools | None = None) -> Numbers:
    """Return ids by remainder: 0 for a missing value, else ``value % rows``.

    Args:
        values: non-negative values, ``[n]``.
        rows: number of ids.
        missing: whether each value is missing, ``[n]``; None if none is.

    Raises:
        ShapeError: a value is negative.
    """
    _check_missing(missing, len(values))
    if missing is not None:
        values = np.where(missing, 0, values)
    if len(values) and values.min() < 0:
        raise ShapeError(f"The value {values.min()} is negative, so ids=modulo gives it no id.")
    return (values % rows).astype(np.int32)


def _check_missing(missing: Bools | None, rows: int) -> None:
    if missing is not None:
        address("missing", missing, np.dtype(np.bool_), rows)

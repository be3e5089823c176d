"""C++ functions of this folder on NumPy arrays; their Python fallbacks are in fallback.py."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.lookup.fallback import check_strings, repeated_integer, repeated_string
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Bools, Counts, Integers, Numbers
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address, check_room
from dlrm_pl.kernels.library import Signatures, declare, load

VERSION = 1

_UINT8, _BOOL, _INT32, _UINT32, _INT64 = (
    np.dtype(kind) for kind in (np.uint8, np.bool_, np.int32, np.uint32, np.int64)
)
# Status codes that functions return instead of a result.
_REFUSED, _REPEATED = -3, -4

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_SIGNATURES: Signatures = {
    "dlrm_lookup_refusal": (ctypes.c_char_p, []),
    "dlrm_hash_integers": (_LONG, [_POINTER, _LONG, _POINTER]),
    "dlrm_hash_texts": (_LONG, [_POINTER, _POINTER, _LONG, _LONG, _POINTER]),
    "dlrm_integers_number": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _INT, _POINTER]),
    "dlrm_texts_number": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _POINTER, _LONG, _INT, _POINTER]),
    "dlrm_integers_read": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _POINTER]),
    "dlrm_texts_read": (_LONG, [_POINTER, _LONG, _LONG, _POINTER, _POINTER, _LONG, _POINTER]),
    "dlrm_texts_data": (_LONG, [_POINTER, _LONG]),
    "dlrm_integers_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG]),
    "dlrm_texts_restore": (_LONG, [_POINTER, _POINTER, _POINTER, _LONG, _POINTER, _LONG]),
} | {
    f"dlrm_{kind}_{name}": signature
    for kind in ("integers", "texts")
    for name, signature in {
        "new": (_POINTER, []),
        "free": (None, [_POINTER]),
        "size": (_LONG, [_POINTER]),
        "bytes": (_LONG, [_POINTER]),
    }.items()
}


def library() -> ctypes.CDLL | None:
    """Return the library with its signatures declared, or None if it is missing and the fallback is used."""
    native = load("lookup", VERSION, Path(__file__).parent)
    return None if native is None else declare(native, _SIGNATURES)


class _NativeTable:
    """Common base of tables of integers and of strings."""

    _kind: str

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native
        self._table = getattr(native, f"dlrm_{self._kind}_new")()
        if not self._table:
            raise MemoryError("not enough memory for a vocabulary table")

    def __del__(self) -> None:
        if getattr(self, "_table", None):
            getattr(self._native, f"dlrm_{self._kind}_free")(self._table)

    def __len__(self) -> int:
        """Return the number of distinct values."""
        return int(getattr(self._native, f"dlrm_{self._kind}_size")(self._table))

    @property
    def nbytes(self) -> int:
        """Memory of the table, in bytes."""
        return int(getattr(self._native, f"dlrm_{self._kind}_bytes")(self._table))


class NativeIntegerTable(_NativeTable):
    """Integers to numbers; ``IntegerTable`` documents each method."""

    _kind = "integers"

    def number(self, values: Integers, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of values."""
        numbers = np.empty(len(values), np.int32)
        status = self._native.dlrm_integers_number(
            self._table,
            address("values", values, _INT64, None),
            _missing(missing, len(values)),
            len(values),
            learn,
            numbers.ctypes.data,
        )
        _check(self._native, status)
        return numbers

    def read(self, first: int = 0) -> tuple[Integers, Counts]:
        """Return the values from a number on, and the counts of all."""
        size = len(self)
        check_room("values before the first that is read", first, size)
        values, counts = np.empty(size - first, np.int64), np.empty(size, np.uint32)
        status = self._native.dlrm_integers_read(self._table, first, size, values.ctypes.data, counts.ctypes.data)
        _check(self._native, status)
        return values, counts

    def restore(self, values: Integers, counts: Counts) -> None:
        """Become the table of these values."""
        status = self._native.dlrm_integers_restore(
            self._table,
            address("values", values, _INT64, None),
            address("counts", counts, _UINT32, len(values)),
            len(values),
        )
        if status == _REPEATED:
            raise repeated_integer(values)
        _check(self._native, status)


class NativeStringTable(_NativeTable):
    """Texts to numbers; ``StringTable`` documents each method."""

    _kind = "texts"

    def number(self, values: Strings, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of texts."""
        texts = _texts(values)
        numbers = np.empty(values.num_strings, np.int32)
        status = self._native.dlrm_texts_number(
            self._table,
            *texts,
            _missing(missing, len(numbers)),
            len(numbers),
            learn,
            numbers.ctypes.data,
        )
        _check(self._native, status)
        return numbers

    def read(self, first: int = 0) -> tuple[Strings, Counts]:
        """Return the texts from a number on, and the counts of all."""
        size = len(self)
        check_room("values before the first that is read", first, size)
        room = self._native.dlrm_texts_data(self._table, first)
        offsets, data, counts = (
            np.empty(size - first + 1, np.int64),
            np.empty(room, np.uint8),
            np.empty(size, np.uint32),
        )
        status = self._native.dlrm_texts_read(
            self._table, first, size, offsets.ctypes.data, data.ctypes.data, room, counts.ctypes.data
        )
        _check(self._native, status)
        return Strings(offsets, data), counts

    def restore(self, values: Strings, counts: Counts) -> None:
        """Become the table of these texts."""
        texts, rows = _texts(values), values.num_strings
        status = self._native.dlrm_texts_restore(self._table, *texts, address("counts", counts, _UINT32, rows), rows)
        if status == _REPEATED:
            raise repeated_string(values)
        _check(self._native, status)


def hash_integers(native: ctypes.CDLL, values: Integers) -> npt.NDArray[np.uint64]:
    """Return the hashes of integers."""
    hashes = np.empty(len(values), np.uint64)
    address("values", values, _INT64, None)
    _check(native, native.dlrm_hash_integers(values.ctypes.data, len(values), hashes.ctypes.data))
    return hashes


def hash_strings(native: ctypes.CDLL, values: Strings) -> npt.NDArray[np.uint64]:
    """Return the hashes of texts."""
    texts = _texts(values)
    hashes = np.empty(values.num_strings, np.uint64)
    _check(native, native.dlrm_hash_texts(*texts, len(hashes), hashes.ctypes.data))
    return hashes


def _missing(missing: Bools | None, rows: int) -> int | None:
    return None if missing is None else address("missing", missing, _BOOL, rows)


def _texts(values: Strings) -> tuple[int, int, int]:
    """Return the arguments for texts: offsets, data, and the number of bytes."""
    check_strings(values)
    return values.offsets.ctypes.data, values.data.ctypes.data, len(values.data)


def _check(native: ctypes.CDLL, status: int) -> None:
    """Raise the error for a status of the library."""
    if status == _REFUSED:
        reason = native.dlrm_lookup_refusal().decode()
        raise ShapeError(f"Native code was called with arguments that do not fit together: {reason}.")
    if status:
        raise MemoryError(
            "a vocabulary table cannot grow: give its column ids: hash in the YAML of columns, or use more memory"
        )

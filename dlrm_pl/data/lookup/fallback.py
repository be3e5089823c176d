"""Python fallback of the native functions: equal results, about thirty times slower."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import (
    MISSING_INTEGER,
    MISSING_STRING,
    Bools,
    Counts,
    Integers,
    Numbers,
)
from dlrm_pl.data.splitmix64 import splitmix64
from dlrm_pl.errors import DataFormatError, ShapeError
from dlrm_pl.kernels.arrays import address, check_room

_INT64, _UINT8, _UINT32, _BOOL = (np.dtype(kind) for kind in (np.int64, np.uint8, np.uint32, np.bool_))
_COUNT_MAX = np.iinfo(np.uint32).max
_FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class _Numbers:
    """Distinct values with their numbers, in a dict."""

    def __init__(self) -> None:
        self.numbers: dict[int | bytes, int] = {}
        self.counts = np.zeros(0, np.uint32)

    def number(self, values: Sequence[int] | Sequence[bytes], *, learn: bool) -> Numbers:
        """Return the numbers of values."""
        known = self.numbers
        if not learn:
            return np.fromiter((known.get(value, -1) for value in values), np.int32, len(values))
        numbers = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32, len(values))
        counts = np.bincount(numbers, minlength=len(known))
        counts[: len(self.counts)] += self.counts
        self.counts = np.minimum(counts, _COUNT_MAX).astype(np.uint32)
        return numbers

    def restore(self, values: Sequence[int] | Sequence[bytes], counts: Counts) -> bool:
        """Become the table of values, or an empty one if they are not all different."""
        self.numbers = dict(zip(values, range(len(values)), strict=True))
        self.counts = counts.copy()
        if len(self.numbers) == len(values):
            return True
        self.numbers, self.counts = {}, np.zeros(0, np.uint32)
        return False


class PythonIntegerTable:
    """Integers to numbers; ``IntegerTable`` documents each method."""

    def __init__(self) -> None:
        self._numbers = _Numbers()

    def __len__(self) -> int:
        """Return the number of distinct values."""
        return len(self._numbers.numbers)

    @property
    def nbytes(self) -> int:
        """Approximate memory of the table, in bytes."""
        return 130 * len(self)

    def number(self, values: Integers, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of values."""
        address("values", values, _INT64, None)
        if missing is not None:
            address("missing", missing, _BOOL, len(values))
            values = np.where(missing, MISSING_INTEGER, values)
        return self._numbers.number(values.tolist(), learn=learn)

    def read(self, first: int = 0) -> tuple[Integers, Counts]:
        """Return the values from a number on, and the counts of all values."""
        check_room("values before the first that is read", first, len(self))
        return np.array(list(self._numbers.numbers)[first:], np.int64), self._numbers.counts.copy()

    def restore(self, values: Integers, counts: Counts) -> None:
        """Become the table of these values."""
        address("values", values, _INT64, None)
        address("counts", counts, _UINT32, len(values))
        if not self._numbers.restore(values.tolist(), counts):
            raise repeated_integer(values)


class PythonStringTable:
    """Texts to numbers; ``StringTable`` documents each method."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._text_bytes = 0

    def __len__(self) -> int:
        """Return the number of distinct values."""
        return len(self._numbers.numbers)

    @property
    def nbytes(self) -> int:
        """Approximate memory of the table, in bytes."""
        return 130 * len(self) + self._text_bytes

    def number(self, values: Strings, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of texts."""
        check_offsets(values)
        texts = values.to_list()
        if missing is not None:
            address("missing", missing, _BOOL, len(texts))
            for place in np.flatnonzero(missing).tolist():
                texts[place] = MISSING_STRING
        before = len(self)
        numbers = self._numbers.number(texts, learn=learn)
        self._text_bytes += sum(map(len, set(compress(texts, (numbers >= before).tolist()))))
        return numbers

    def read(self, first: int = 0) -> tuple[Strings, Counts]:
        """Return the strings from a number on, and the counts of all strings."""
        check_room("values before the first that is read", first, len(self))
        return Strings.of(list(self._numbers.numbers)[first:]), self._numbers.counts.copy()  # type: ignore[arg-type]

    def restore(self, values: Strings, counts: Counts) -> None:
        """Become the table of these texts."""
        check_offsets(values)
        address("counts", counts, _UINT32, values.num_strings)
        texts = values.to_list()
        self._text_bytes = sum(map(len, texts))
        if not self._numbers.restore(texts, counts):
            self._text_bytes = 0
            raise repeated_string(values)


def hash_integers(values: Integers) -> npt.NDArray[np.uint64]:
    """Return the hashes of integers."""
    address("values", values, _INT64, None)
    with np.errstate(over="ignore"):
        return splitmix64(values.view(np.uint64))


def hash_strings(values: Strings) -> npt.NDArray[np.uint64]:
    """Return the hashes of strings, processing all strings at once, byte by byte."""
    check_offsets(values)
    starts, sizes = values.offsets[:-1], np.diff(values.offsets)
    hashes = np.full(len(sizes), _FNV_BASIS)
    # Longest first, so that the strings that have another byte come before the others.
    order = np.argsort(-sizes, kind="stable")
    left = np.searchsorted(-sizes[order], -np.arange(int(sizes.max(initial=0))), side="left")
    with np.errstate(over="ignore"):
        for place, count in enumerate(left.tolist()):
            rows = order[:count]
            hashes[rows] = (hashes[rows] ^ values.data[starts[rows] + place].astype(np.uint64)) * _FNV_PRIME
        return splitmix64(hashes)


def check_strings(values: Strings) -> None:
    """Raise ShapeError unless the arrays of strings have the types and the order that native code relies on."""
    if not len(values.offsets):
        raise ShapeError("offsets: there must be one more offset than there are strings, but there are none.")
    address("offsets", values.offsets, _INT64, None)
    address("data", values.data, _UINT8, None)


def check_offsets(values: Strings) -> None:
    """Raise ShapeError unless each string lies within the bytes."""
    check_strings(values)
    offsets = values.offsets
    if offsets[0] < 0 or offsets[-1] > len(values.data) or (offsets[1:] < offsets[:-1]).any():
        raise ShapeError(
            f"The offsets of strings must not decrease, and must be between 0 and {len(values.data)}, the number of "
            "bytes."
        )


def repeated_integer(values: Integers) -> DataFormatError:
    """Return the error for table values that are not all different."""
    distinct, counts = np.unique(values, return_counts=True)
    return _repeated(str(distinct[counts > 1][0]))


def repeated_string(values: Strings) -> DataFormatError:
    """Return the error for table strings that are not all different."""
    seen: set[bytes] = set()
    for text in values.to_list():
        if text in seen:
            return _repeated(repr(text[:60].decode(errors="backslashreplace")))
        seen.add(text)
    raise AssertionError("the texts are all different")


def _repeated(value: str) -> DataFormatError:
    return DataFormatError(
        f"The value {value} occurs twice in a vocabulary table. The dictionary or the unfinished run that it comes "
        "from is corrupt: preprocess the raw log again."
    )

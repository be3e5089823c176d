"""Arrays of numbers, or of numbers as text, as integers or floats."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.raw_rows import Bools, Integers
from dlrm_pl.data.sources.arrays.field import Field, memory_of, missing_of, present
from dlrm_pl.data.sources.arrays.types import is_text
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa

Value = TypeVar("Value")
Numbers = tuple[npt.NDArray[np.generic], Bools | None]

_INT64 = np.iinfo(np.int64)
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_HEX = re.compile(rb"0[xX][0-9a-fA-F]{1,16}")
_MOST_DIGITS = 4000  # Below the number of digits that int() refuses to parse.
_LARGEST_POWER = 20  # Power of ten; all numbers beyond it are too large.
_WHOLE = "an integer"
_FINITE = "a finite number"


def integers(
    array: pa.Array, field: Field, low: int, high: int, *, may_be_rounded: bool = False
) -> tuple[Integers, Bools | None]:
    """Return int64 values, and which are missing.

    Whole-numbered floats are accepted, since integer columns with missing values often become floats. If they are ids,
    they must be small enough that no two integers are rounded to the same float of their type.

    Args:
        array: integers, booleans, floats, decimals or strings.
        field: the column; collects values that are not integers or lie outside the bounds.
        low: smallest value.
        high: largest value.
        may_be_rounded: whether 16-bit and 32-bit floats may have any size, since the values are amounts, not ids.
    """
    pa = arrow()
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.int64), np.ones(len(array), np.bool_)
    given = array
    expected = _between(low, high)
    if is_text(array.type):
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid:
            return _of_texts(given, field, low, high)
        # Arrow reads 0xffffffffffffffff as -1.
        if (pa.compute.min(array).as_py() or 0) < 0 and pa.compute.any(_has_x(given)).as_py():
            return _of_texts(given, field, low, high)
    elif pa.types.is_decimal(array.type):
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid:
            return _one_by_one(given, given.to_pylist(), _of_decimal, field, low, high)
    elif pa.types.is_floating(array.type):
        return _of_floats(given, array.cast(pa.float64()), field, low, high, may_be_rounded)
    elif pa.types.is_uint64(array.type):
        unsigned, missing = memory_of(array, np.uint64), missing_of(array)
        field.refuse(present(unsigned > _INT64.max, missing), "range", expected, given)
        array = pa.array(unsigned.astype(np.int64), mask=missing)
    elif not pa.types.is_int64(array.type):
        array = array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array
        array = array.cast(pa.int64())
    values, missing = memory_of(array, np.int64), missing_of(array)
    bounds = pa.compute.min_max(array)
    if bounds["min"].is_valid and not low <= bounds["min"].as_py() <= bounds["max"].as_py() <= high:
        field.refuse(present((values < low) | (values > high), missing), "range", expected, given)
    return values, missing


def floats(array: pa.Array, field: Field) -> tuple[npt.NDArray[np.float32], Bools | None]:
    """Return float32 values, and which are missing.

    Args:
        array: numbers, booleans or strings.
        field: the column; collects values that are not numbers, not finite, or too large for float32.
    """
    pa = arrow()
    given = array
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.float32), np.ones(len(array), np.bool_)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if is_text(array.type):
        try:
            array = array.cast(pa.float64())
        except pa.ArrowInvalid:
            array = _parsed_floats(array, field)
    if not pa.types.is_float32(array.type):
        array = array.cast(pa.float64(), safe=False)
        wide, missing = memory_of(array, np.float64), missing_of(array)
        with np.errstate(over="ignore", invalid="ignore"):
            values = wide.astype(np.float32)
        if missing is not None:
            values[missing] = 0
    else:
        values, missing = memory_of(array, np.float32), missing_of(array)
        if missing is not None:
            values = np.where(missing, np.float32(0), values)
        wide = values
    wrong = ~np.isfinite(values)
    if wrong.any():
        field.refuse(wrong & ~np.isfinite(wide), "nan", _FINITE, given)
        field.refuse(wrong & np.isfinite(wide), "range", "a number that fits in 32 bits", given)
    return values, missing


def _of_floats(
    given: pa.Array, array: pa.Array, field: Field, low: int, high: int, may_be_rounded: bool
) -> tuple[Integers, Bools | None]:
    numbers, missing = memory_of(array, np.float64), missing_of(array)
    finite = np.isfinite(numbers)
    field.refuse(present(~finite, missing), "nan", _WHOLE, given)
    bits = given.type.bit_width
    exact = exact_integers(64 if may_be_rounded else bits)
    expected = f"an integer from {max(low, -exact)} to {min(high, exact)}"
    if exact < high:
        expected += f", because {bits}-bit floats round larger ones: store them as integers, before they become floats"
    low, high = max(low, -exact), min(high, exact)
    with np.errstate(invalid="ignore"):
        field.refuse(present(finite & (np.trunc(numbers) != numbers), missing), "integer", _WHOLE, given)
        outside = finite & ((numbers < low) | (numbers > high))
    field.refuse(present(outside, missing), "range", expected, given)
    usable = finite & ~outside
    return np.where(usable, numbers, 0).astype(np.int64), missing


def exact_integers(bits: int) -> int:
    """Return the largest integer such that no other one is rounded to the same float of 16, 32 or 64 bits."""
    return (1 << {16: 11, 32: 24, 64: 53}[bits]) - 1


def _between(low: int, high: int) -> str:
    text = f"an integer from {low} to {high}"
    return text if high < _INT64.max else f"{text}; larger ones need kind: string"


def _has_x(array: pa.Array) -> pa.Array:
    """Return which texts may be hexadecimal numbers."""
    return arrow().compute.match_substring_regex(array, "[xX]")


def _of_texts(array: pa.Array, field: Field, low: int, high: int) -> tuple[Integers, Bools | None]:
    """Read strings of which some are not plain integers: empty, with spaces, such as 3.0, too large, or wrong."""
    return _one_by_one(array, _stripped(array), _integer, field, low, high)


def _one_by_one(
    array: pa.Array,
    given: Sequence[Value | None],
    read: Callable[[Value], int | None],
    field: Field,
    low: int,
    high: int,
) -> tuple[Integers, Bools | None]:
    """Read values of which some do not fit; ``read`` returns None for those that are not integers."""
    values = np.zeros(len(array), np.int64)
    missing, wrong, outside = (np.zeros(len(array), np.bool_) for _ in range(3))
    for place, value in enumerate(given):
        if value is None:
            missing[place] = True
            continue
        number = read(value)
        if number is None:
            wrong[place] = True
        elif not low <= number <= high:
            outside[place] = True
        else:
            values[place] = number
    field.refuse(wrong, "integer", _WHOLE, array)
    field.refuse(outside, "range", _between(low, high), array)
    return values, missing if missing.any() else None


def _integer(text: bytes) -> int | None:
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < _MOST_DIGITS else int(text[:_MOST_DIGITS]) << 64
    if _HEX.fullmatch(text):
        return int(text, 16)
    try:
        return None if b"_" in text else _of_decimal(Decimal(text.decode("ascii")))
    except (InvalidOperation, UnicodeDecodeError):
        return None


def _of_decimal(number: Decimal) -> int | None:
    """Return the integer that a decimal represents; a float could not hold all its digits."""
    if not number.is_finite() or number != number.to_integral_value():
        return None
    return int(number) if number.adjusted() <= _LARGEST_POWER else 1 << 64


def _float(text: bytes) -> float | None:
    if b"_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _parsed_floats(array: pa.Array, field: Field) -> pa.Array:
    """Read strings of which some are not plain numbers: empty, with spaces, or wrong."""
    pa = arrow()
    texts = _stripped(array)
    numbers = [None if text is None else _float(text) for text in texts]
    wrong = [text is not None and number is None for text, number in zip(texts, numbers, strict=True)]
    field.refuse(np.array(wrong, np.bool_), "float", "a number", array)
    return pa.array(numbers, pa.float64())


def _stripped(array: pa.Array) -> list[bytes | None]:
    """Return strings without leading and trailing spaces; None for those that are missing or empty."""
    pa = arrow()
    return [(text or b"").strip() or None for text in array.cast(pa.large_binary()).to_pylist()]

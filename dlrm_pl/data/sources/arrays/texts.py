"""Arrays of texts: as they are, or as hexadecimal numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlrm_pl.data.formats.raw_rows import Bools, Integers
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.arrays.field import Field, memory_of, missing_of, present
from dlrm_pl.data.sources.arrays.numbers import integers
from dlrm_pl.data.sources.arrays.types import is_text
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa

_HEX_DIGITS = 8
_HEX = f"up to {_HEX_DIGITS} hexadecimal digits"
_MOST_HEX = (1 << 32) - 1
_NO_DIGIT = 255
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
_DIGITS[np.frombuffer(b"0123456789", np.uint8)] = np.arange(10)
_DIGITS[np.frombuffer(b"abcdef", np.uint8)] = np.arange(10, 16)
_DIGITS[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def strings(array: pa.Array, field: Field) -> tuple[Strings, Bools | None]:
    """Return texts, and which are missing.

    Args:
        array: strings, bytes that should be strings, or integers, which become strings of decimal digits, as in a CSV
            file.
        field: the column; collects values that are not UTF-8.
    """
    pa = arrow()
    if pa.types.is_integer(array.type):
        array = array.cast(pa.large_string())
    if pa.types.is_null(array.type):
        return Strings(np.zeros(len(array) + 1, np.int64), np.zeros(0, np.uint8)), np.ones(len(array), np.bool_)
    if not _is_utf8(array):
        texts = array.cast(pa.large_binary()).to_pylist()
        wrong = [text is not None and not _decodes(text) for text in texts]
        field.refuse(np.array(wrong, np.bool_), "text", "text in UTF-8", array.cast(pa.large_binary()))
    return _strings(array), missing_of(array)


def hexadecimals(array: pa.Array, field: Field) -> tuple[Integers, Bools | None]:
    """Return the values of hexadecimal texts, or integers as they are, and which are missing.

    Args:
        array: strings of up to 8 digits, or integers.
        field: the column; collects all other values.
    """
    if not is_text(array.type):
        return integers(array, field, 0, _MOST_HEX)
    texts, missing = _strings(array), missing_of(array)
    begin, end = texts.offsets[0], texts.offsets[-1]  # The array may be a small part of its buffer.
    first, last = texts.offsets[:-1] - begin, texts.offsets[1:] - begin
    lengths = last - first
    empty = lengths == 0
    if empty.any():
        missing = empty if missing is None else missing | empty
    # Digits from the last one backwards; those before the first are 0.
    digits = np.append(_DIGITS[texts.data[begin:end]], np.uint8(0))
    values = np.zeros(len(array), np.int64)
    wrong = lengths > _HEX_DIGITS
    for place in range(min(_HEX_DIGITS, int(lengths.max(initial=0)))):
        digit = digits[np.where(place < lengths, last - 1 - place, len(digits) - 1)]
        wrong |= digit == _NO_DIGIT
        values |= (digit.astype(np.int64) & 15) << (4 * place)
    field.refuse(present(wrong, missing), "category", _HEX, array)
    return values, missing


def _strings(array: pa.Array) -> Strings:
    pa = arrow()
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    offsets = memory_of(array, np.int64 if large else np.int32, 1, extra=1)
    buffer = array.buffers()[2]
    data = np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)
    return Strings(offsets.astype(np.int64, copy=False), data)


def _is_utf8(array: pa.Array) -> bool:
    pa = arrow()
    try:
        if pa.types.is_binary(array.type):
            array.cast(pa.string())
        elif pa.types.is_large_binary(array.type):
            array.cast(pa.large_string())
        else:
            array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True

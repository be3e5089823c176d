"""Turns rows of plain values into records of plain integers, one value at a time."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

MASK = 2**64 - 1
MISSING = {"hex": 0, "integer": -(2**63), "string": b"\xff"}
UNSEEN = {"hex": -1, "integer": -(2**63) + 1, "string": b"\xfe"}


def mixed(value: int) -> int:
    """Apply the last steps of splitmix64."""
    value &= MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def hash_of(value: int | bytes) -> int:
    """Return the hash of an integer, or of a string, hashed by FNV-1a first."""
    if isinstance(value, int):
        return mixed(value)
    state = 0xCBF29CE484222325
    for byte in value:
        state = (state ^ byte) * 0x100000001B3 & MASK
    return mixed(state)


def dense_bits(column: Mapping[str, Any], value: float | None) -> int:
    """Return the value in a record for a dense value."""
    if column.get("type") == "float" or column.get("transform") == "standardize":
        value = column.get("mean") or 0.0 if value is None else value
        return int(struct.unpack("<i", struct.pack("<f", value))[0])
    value = 0 if value is None else int(value)
    return max(value, 0) if column.get("transform", "log1p") == "log1p" else value


def id_of(
    column: Mapping[str, Any], value: int | bytes | None, dictionary: Sequence[Any] | None, modulus: int
) -> tuple[int, bool]:
    """Return the id of a value, and whether its dictionary contains it."""
    kind, ids = column.get("kind", "string"), column.get("ids", "vocabulary")
    if ids == "hash":
        return (0 if value is None else 1 + hash_of(value) % (column["rows"] - 1)), True
    if ids == "modulo":
        return (0 if value is None else int(value) % column["rows"]), True
    assert dictionary is not None
    value = MISSING[kind] if value is None else value
    if kind == "hex" and modulus > 0:
        value = int(value) % modulus
    for candidate, known in ((value, True), (UNSEEN[kind], False), (MISSING[kind], False)):
        if candidate in dictionary:
            return dictionary.index(candidate), known
    return 0, False


def record(label: int, dense: Sequence[int], sparse: Sequence[Sequence[int]], widths: Sequence[int]) -> list[int]:
    """Return a record with a label, dense fields and lists of ids, padded with -1."""
    filled = [[*ids, *[-1] * (width - len(ids))] for ids, width in zip(sparse, widths, strict=True)]
    return [label, *dense, *(item for ids in filled for item in ids)]

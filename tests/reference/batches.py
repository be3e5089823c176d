"""Turns records into the input of a model, one value at a time."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def dense_input(column: Mapping[str, Any], field: int) -> np.float32:
    """Return the input for a dense column, given the value in a record."""
    transform = column["transform"]
    value = float(field)
    if column["type"] == "float" or transform == "standardize":
        (value,) = struct.unpack("<f", struct.pack("<i", field))
    if transform == "log1p":
        value = math.log1p(max(value, 0.0))
    if transform == "standardize":
        value = (value - column["mean"]) / column["deviation"]
    return np.float32(value)


def bags(columns: Sequence[Mapping[str, Any]], record: Sequence[int]) -> list[list[int]]:
    """Return the ids of each sparse column, given the ids of a record."""
    found, first = [], 0
    for column in columns:
        width = column["at_most"] or column["bag"]
        found.append([index for index in record[first : first + width] if index != -1])
        first += width
    return found


def lookups(all_bags: Sequence[Sequence[Sequence[int]]]) -> tuple[list[int], list[int]]:
    """Return indices and offsets of the bags of some rows: all of the first table, then of the second, and so on."""
    indices: list[int] = []
    offsets = [0]
    for table in range(len(all_bags[0])):
        for row in all_bags:
            indices += row[table]
            offsets.append(len(indices))
    return indices, offsets


def fault(columns: Mapping[str, Any], sizes: Sequence[int], record: Sequence[int]) -> str:
    """Return the column of a record's first value that preprocessing never writes; empty if there is none."""
    if record[0] not in (0, 1):
        return "label"
    for column, field in zip(columns["dense"], record[1:], strict=False):
        if column["type"] == "float" or column["transform"] == "standardize":
            (value,) = struct.unpack("<f", struct.pack("<i", field))
            if not math.isfinite(value):
                return str(column["name"])
        elif column["transform"] == "log1p" and field < 0:
            return str(column["name"])
    first = 1 + len(columns["dense"])
    for column, size in zip(columns["sparse"], sizes, strict=True):
        width = column["at_most"] or column["bag"]
        ids = list(record[first : first + width])
        first += width
        if column["at_most"]:
            while ids and ids[-1] == -1:
                ids.pop()
        if any(not 0 <= index < size for index in ids):
            return str(column["name"])
    return ""

"""Reads a dataset folder; written from docs/formats.md alone. Slow: row by row."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reference.records import MASK, MISSING, UNSEEN, hash_of

Array = npt.NDArray[np.generic]

_CRITEO = {
    "label": "label",
    "dense": [{"name": "I{1..13}"}],
    "sparse": [{"name": "C{1..26}", "kind": "hex"}],
}


class DatasetReader:
    """A dataset folder with or without ``dataset.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        described = folder / "dataset.json"
        self.description: dict[str, Any] = json.loads(described.read_text()) if described.exists() else {}
        self.statement = self.description.get("columns", _CRITEO)
        self.dense, self.sparse = (_expanded(self.statement[kind]) for kind in ("dense", "sparse"))
        self.widths = [column.get("at_most", column.get("bag", 1)) for column in self.sparse]
        self.sizes = np.load(folder / "day_fea_count.npz")["counts"]
        assert self.sizes.tolist() == self.description.get("table_sizes", self.sizes.tolist())

    def records(self, split: str) -> Array:
        """int32 ``[rows, 1 + N + W]``."""
        values = np.fromfile(self._path(split), "<i4")
        records: Array = values.reshape(-1, 1 + len(self.dense) + sum(self.widths))
        return records

    def dense_inputs(self, record: Array) -> list[np.float32]:
        """Return the model's inputs for the dense values of a record."""
        inputs = []
        for field, column in enumerate(self.dense, 1):
            transform = column.get("transform", "log1p")
            has_bits = column.get("type") == "float" or transform == "standardize"
            value = record[field : field + 1].view("<f4")[0] if has_bits else np.float32(record[field])
            if transform == "standardize":
                value = np.float32((np.float64(value) - column["mean"]) / column["deviation"])
            elif transform == "log1p":
                value = np.log(np.maximum(value, np.float32(0)) + np.float32(1))
            inputs.append(value)
        return inputs

    def bags(self, record: Array) -> list[list[int]]:
        """Return the ids of each table in a record."""
        found, place = [], 1 + len(self.dense)
        for width in self.widths:
            found.append([int(i) for i in record[place : place + width] if i >= 0])
            place += width
        return found

    def values(self, table: int) -> list[Any]:
        """Return the dictionary of a table: integers, or bytes of strings."""
        arrays = np.load(self.folder / f"day_fea_dict_{table}.npz")
        if self.sparse[table].get("kind", "string") != "string":
            return [int(value) for value in arrays["unique"]]
        ends = arrays["offsets"].tolist()
        return [arrays["data"][first:last].tobytes() for first, last in pairwise(ends)]

    def id_of(self, table: int, value: Any) -> int:
        """Return the id of a value of a log: an integer, bytes of a string, or None for a missing one."""
        column = self.sparse[table]
        kind, ids, rows = column.get("kind", "string"), column.get("ids", "vocabulary"), int(self.sizes[table])
        if ids != "vocabulary":
            if value is None:
                return 0
            return int(value) % rows if ids == "modulo" else 1 + hash_of(value) % (rows - 1)
        modulus = self.description.get("max_ind_range", -1)
        value = MISSING[kind] if value is None else value
        value = value % modulus if kind == "hex" and modulus > 0 else value
        dictionary = self.values(table)
        for candidate in (value, UNSEEN[kind], MISSING[kind]):
            if candidate in dictionary:
                return dictionary.index(candidate)
        return 0

    def checksum(self, split: str) -> str:
        """Return the checksum of a split from its bytes; those of its blocks are compared with the ``.blocks`` file."""
        content = self._path(split).read_bytes()
        record_bytes = 4 * (1 + len(self.dense) + sum(self.widths))
        rows = 8192
        while rows > 1 and rows * record_bytes > 8 << 20:
            rows //= 2
        size = rows * record_bytes
        digests = [hashlib.sha256(content[at : at + size]).digest() for at in range(0, len(content), size)]
        assert b"".join(digests) == self._path(split).with_suffix(".blocks").read_bytes()
        return f"sha256/{size}:{hashlib.sha256(b''.join(digests)).hexdigest()}"

    def checksums_of_dictionaries(self) -> tuple[str, list[str]]:
        """Return the fingerprint, and the checksum of each table's dictionary."""
        whole = hashlib.sha256(str(tuple(self.sizes.tolist())).encode())
        if (_expanded(_CRITEO["dense"]), _expanded(_CRITEO["sparse"])) != (self.dense, self.sparse):
            text = json.dumps(self.statement, sort_keys=True)
            whole.update(hashlib.sha256(text.encode()).hexdigest()[:16].encode())
        tables = []
        for table, column in enumerate(self.sparse):
            if column.get("ids", "vocabulary") != "vocabulary":
                tables.append("")
                continue
            content = _bytes(self.values(table))
            whole.update(content)
            tables.append(hashlib.sha256(content).hexdigest()[:16])
        return whole.hexdigest()[:16], tables

    def _path(self, split: str) -> Path:
        return self.folder / f"terabyte_processed_{split}.bin"


def _expanded(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return columns one by one, with the settings that differ from the defaults."""
    defaults = {"type": "integer", "transform": "log1p", "ids": "vocabulary"}
    found = []
    for column in columns:
        stated = {name: value for name, value in column.items() if defaults.get(name) != value}
        match = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", column["name"])
        numbers = range(int(match[2]), int(match[3]) + 1) if match else [None]
        for number in numbers:
            name = column["name"] if match is None else f"{match[1]}{number}{match[4]}"
            found.append(stated | {"name": name})
    return found


def _bytes(values: list[Any]) -> bytes:
    """Return the bytes that the checksum of a dictionary covers."""
    if not values or not isinstance(values[0], bytes):
        return b"".join((value & MASK).to_bytes(8, "little") for value in values)
    ends = np.cumsum([0, *map(len, values)], dtype="<i8")
    return ends.tobytes() + b"".join(values)

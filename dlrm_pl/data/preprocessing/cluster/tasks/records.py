"""Records that were read from several files, with their ids in the merged vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlrm_pl.columns.columns import RECORD_ITEM_BYTES, Columns
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import LAST, TRAIN, PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.values import TableResult, mapping_path
from dlrm_pl.data.preprocessing.engine.native import Keyed, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.io.bucket_reader import read_blocks
from dlrm_pl.data.preprocessing.last_changes import LastChanges

KEY_INTS = 2
"""Number of int32 values that a key takes up."""

_BLOCK_BYTES = 640 << 10


@dataclass(frozen=True)
class Piece:
    """Records of one file of the log in one file of records.

    Attributes:
        file: number of the file of the log.
        name: name of the file of records in the folder of the part.
        rows: number of records.
    """

    file: int
    name: str
    rows: int


class PartRecords:
    """Records of several parts, with final ids and values.

    Args:
        job: the run.
        columns: columns of the dataset, with all numbers of their transforms.
        parts: results of reading all files.
        tables: the merged tables, by table number.
    """

    def __init__(self, job: Job, columns: Columns, parts: Sequence[PartResult], tables: dict[int, TableResult]) -> None:
        self._job = job
        self._columns = columns
        self._parts = parts
        self._tables = tables
        self._changes: dict[tuple[int, str, int], LastChanges] = {}

    def load(self, pieces: Sequence[Piece]) -> None:
        """Read the changes for the records of pieces, before threads need them."""
        for piece in pieces:
            self._changes_of(piece.file, TRAIN, KEY_INTS)

    def keyed(self, pieces: Sequence[Piece]) -> Keyed:
        """Return the keyed records of training rows of all pieces of a bucket."""
        width = KEY_INTS + self._columns.record_ints
        records = np.empty((sum(piece.rows for piece in pieces), width), np.int32)
        row = 0
        for piece in pieces:
            changes = self._changes_of(piece.file, TRAIN, KEY_INTS)
            for block in _blocks(self._path(piece), width, piece.rows):
                changes.apply(block)
                records[row : row + len(block)] = block
                row += len(block)
        return records.reshape(-1).view(keyed_dtype(self._columns.record_ints))

    def blocks(self, piece: Piece, *, last_day: bool) -> Iterator[Records]:
        """Yield the records of a piece without keys, in blocks."""
        apart = last_day and bool(self._parts[piece.file].last_sizes)
        changes = self._changes_of(piece.file, LAST if apart else TRAIN, 0)
        for block in _blocks(self._path(piece), self._columns.record_ints, piece.rows):
            changes.apply(block)
            yield block

    def remove(self, pieces: Sequence[Piece]) -> None:
        """Delete the files of pieces that were written elsewhere."""
        for piece in pieces:
            self._path(piece).unlink(missing_ok=True)

    def _path(self, piece: Piece) -> Path:
        return self._job.folder / self._parts[piece.file].name / piece.name

    def _changes_of(self, file: int, rows: str, first_field: int) -> LastChanges:
        key = file, rows, first_field
        if key not in self._changes:
            mappings = [self._mapping(table, file, rows) for table in range(self._columns.num_sparse)]
            self._changes[key] = LastChanges(self._columns, mappings, engine(), first_field)
        return self._changes[key]

    def _mapping(self, table: int, file: int, rows: str) -> Numbers | None:
        merged = self._tables.get(table)
        if merged is None or (rows == TRAIN and merged.same[file]):
            return None
        return np.fromfile(mapping_path(self._job, table, file, rows), np.int32)


def _blocks(path: Path, record_ints: int, rows: int) -> Iterator[Records]:
    return read_blocks(path, record_ints, 0, rows * record_ints * RECORD_ITEM_BYTES) if rows else iter(())

"""Drawn rows in the forms that files have: records, lines of raw logs, and values by column."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, RECORD_DTYPE, Records
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows
from dlrm_pl.data.formats.row_encoder import dense_field, id_fields
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.data.preprocessing.statistics.moments import Moments
from dlrm_pl.data.synthetic.drawing import MISSING_DENSE, MISSING_RANK, Integers
from dlrm_pl.data.synthetic.world import Block, ClickWorld


class FirstAppearance:
    """Assigns ids to ranks in the order in which they appear, as preprocessing does.

    Args:
        table_sizes: number of ranks of each table.
    """

    def __init__(self, table_sizes: tuple[int, ...]) -> None:
        # Ids from 1 on: unseen ranks have 0, so pages that no row touches take neither time nor memory. The last entry
        # of each table is for MISSING_RANK, which is -1.
        self._ids = [np.zeros(size + 1, np.int32) for size in table_sizes]
        self._seen: list[list[Integers]] = [[] for _ in table_sizes]
        self._counts = [0] * len(table_sizes)

    def __call__(self, table: int, ranks: Integers) -> Numbers:
        """Return the ids of one table's ranks, ``[n]``; new ranks get the next ones."""
        ids = self._ids[table]
        new = ranks[ids[ranks] == 0]
        if len(new):
            # Without duplicates, in the order of the rows.
            _, first = np.unique(new, return_index=True)
            values = new[np.sort(first)]
            ids[values] = np.arange(self._counts[table] + 1, self._counts[table] + len(values) + 1, dtype=np.int32)
            self._seen[table].append(values)
            self._counts[table] += len(values)
        row_ids: Numbers = ids[ranks] - np.int32(1)
        return row_ids

    def vocabulary(self, world: ClickWorld) -> Vocabulary:
        """Return the values of each table in the order of their ids."""
        ranks = (np.concatenate([np.empty(0, np.int64), *seen]) for seen in self._seen)
        return Vocabulary([world.values.dictionary(table, each) for table, each in enumerate(ranks)], world.columns)


def records(world: ClickWorld, block: Block, appearance: FirstAppearance, columns: Columns) -> Records:
    """Return rows as they are stored in a dataset folder, int32 ``[B, record_ints]``.

    Args:
        world: world that the rows belong to.
        block: the rows.
        appearance: ids of the values seen so far; updated.
        columns: columns of the world, with all numbers of their transforms.
    """
    result = np.empty((len(block.label), columns.record_ints), RECORD_DTYPE)
    result[:, LABEL] = block.label
    for field, (number, dense) in enumerate(zip(columns.dense, _dense(columns, block), strict=True), start=1):
        result[:, field] = dense_field(number, dense)
    for table, column in enumerate(columns.sparse):
        ranks, offsets = block.columns.ranks[world.marginals.rank_fields(table)], None
        if column.is_list:
            ranks, offsets = world.values.elements(ranks)
        numbers = appearance if column.ids == "vocabulary" else world.values.computed_ids
        ids = numbers(table, ranks.ravel())
        result[:, columns.table_fields[table]] = id_fields(column, ids, offsets)
    return result


def moments_of(world: ClickWorld, block: Block) -> Moments:
    """Return the moments that give the mean and deviation of the columns to standardize."""
    result = Moments.nothing(world.columns)
    for number, (column, values) in enumerate(zip(world.columns.dense, block.columns.dense, strict=True)):
        if not column.computed:
            result.set(number, values[values != MISSING_DENSE].astype(np.float32))
    return result


def raw_rows(world: ClickWorld, block: Block) -> RawRows:
    """Return rows with their values, column by column."""
    return RawRows(
        block.label.astype(np.int32),
        tuple(_dense(world.columns, block)),
        tuple(
            world.values.raw(table, block.columns.ranks[world.marginals.rank_fields(table)])
            for table in range(world.columns.num_sparse)
        ),
    )


def raw_lines(world: ClickWorld, block: Block) -> list[bytes]:
    """Return rows as lines of a raw log."""
    columns = [np.where(block.label, b"1", b"0").tolist()]
    for dense in block.columns.dense:
        text = dense.astype(np.int64).astype("S11")
        text[dense == MISSING_DENSE] = b""
        columns.append(text.tolist())
    for table, ranks in enumerate(block.columns.ranks):
        text = _hexadecimal(world.values.hash(table, ranks))
        text[ranks == MISSING_RANK] = b""
        columns.append(text.tolist())
    return [b"\t".join(fields) + b"\n" for fields in zip(*columns, strict=True)]


def _dense(columns: Columns, block: Block) -> list[RawDense]:
    result = []
    for column, values in zip(columns.dense, block.columns.dense, strict=True):
        missing = values == MISSING_DENSE
        numbers = values.astype(np.float32 if column.type == "float" else np.int64)
        result.append(RawDense(numbers, missing if missing.any() else None))
    return result


def _hexadecimal(values: Integers) -> np.ndarray[Any, np.dtype[np.bytes_]]:
    """Eight hexadecimal digits of each value, ``S8`` ``[B]``."""
    octets = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    return _HEX_PAIRS[octets].reshape(-1).view("S8")


_HEX_PAIRS = np.array([f"{octet:02x}".encode() for octet in range(256)], dtype="S2")

"""Initial weights for the parts of tables on a process: those of a model that a single process would make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_file.pieces import fill_part

_BLOCK_VALUES = 1 << 22


class Part(NamedTuple):
    """The part of a table that is on this process.

    Attributes:
        table: number of the table.
        row: first row of the part.
        column: first column of the part.
        values: weights, float32 ``[rows, columns]``; changing them changes the table.
    """

    table: int
    row: int
    column: int
    values: Tensor


@torch.no_grad()
def draw(parts: Iterable[Part], table_sizes: Sequence[int], dim: int, generator: torch.Generator) -> None:
    """Give parts the weights that ``EmbeddingBags`` draws, in the same order, without ever holding a whole table.

    All processes draw all numbers, and keep those for their own parts.

    Args:
        parts: parts of this process.
        table_sizes: rows of each table.
        dim: width D of an embedding.
        generator: random number generator, in the same state on all processes; afterwards it is in the same state as if
            a single process had drawn all tables.
    """
    by_table: dict[int, list[Part]] = {}
    for part in parts:
        by_table.setdefault(part.table, []).append(part)
    block_rows = max(1, _BLOCK_VALUES // dim)
    buffer = torch.empty(min(block_rows, max(table_sizes)), dim)
    for table, rows in enumerate(table_sizes):
        bound = math.sqrt(1 / rows)
        for first in range(0, rows, block_rows):
            block = buffer[: min(block_rows, rows - first)]
            block.uniform_(-bound, bound, generator=generator)
            for part in by_table.get(table, ()):
                _keep(part, first, block)


@torch.no_grad()
def copy(parts: Iterable[Part], tables: Sequence[Tensor | FileTensor]) -> None:
    """Give parts the weights of whole tables, which may be memory-mapped or in files: only the parts are read.

    Args:
        parts: parts of this process.
        tables: float32 ``[rows, D]`` each.
    """
    for part in parts:
        table = tables[part.table]
        if isinstance(table, FileTensor):
            fill_part(part.values, table, (part.row, part.column))
            continue
        block_rows = max(1, _BLOCK_VALUES // table.shape[1])
        for first in range(part.row, part.row + len(part.values), block_rows):
            _keep(part, first, table[first : first + block_rows])


def _keep(part: Part, first: int, block: Tensor) -> None:
    """Copy the overlap of a part with a block of whole rows that starts at row ``first``."""
    begin, end = max(first, part.row), min(first + len(block), part.row + len(part.values))
    if begin < end:
        columns = slice(part.column, part.column + part.values.shape[1])
        part.values[begin - part.row : end - part.row] = block[begin - first : end - first, columns]

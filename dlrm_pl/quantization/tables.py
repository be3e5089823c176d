"""Pack float tables into row-wise int8, int4 or fp16, one table at a time, each only once for all trials."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.runtime.tables import TableDtype

# Rows that are packed at a time: bounds the extra memory to a few MiB whatever the size of the table.
_BLOCK_ROWS = 65_536


def pack_table(weight: Tensor, dtype: TableDtype, name: str = "table") -> Tensor:
    """Pack one table.

    Args:
        weight: float32 ``[rows, D]``; fp32 is returned as it is, sharing its memory.
        dtype: of the packed rows.
        name: for messages.

    Returns:
        uint8 ``[rows, row_bytes]`` for int8 and int4, else float ``[rows, D]``.

    Raises:
        NonFiniteError: a row holds NaN or Inf, whose scale would spoil the row without a word.
    """
    weight = weight.detach()
    if dtype == "fp32":
        return weight
    packers: dict[TableDtype, Callable[[Tensor], Tensor]] = {
        "int8": torch.ops.quantized.embedding_bag_byte_prepack,
        "int4": torch.ops.quantized.embedding_bag_4bit_prepack,
        "fp16": Tensor.half,
    }
    packed: Tensor | None = None
    for start in range(0, weight.shape[0], _BLOCK_ROWS):
        block = weight[start : start + _BLOCK_ROWS]
        rows = packers[dtype](block)
        # One pass finds both: NaN and Inf of the table, and values beyond fp16's range.
        finite = torch.isfinite(rows if dtype == "fp16" else block).all(dim=1)
        if not bool(finite.all()):
            row = start + int(finite.logical_not().nonzero()[0])
            raise NonFiniteError(
                f"{name}: row {row} cannot be packed as {dtype}, it holds {weight[row].abs().max().item()}. "
                "The training diverged, or the checkpoint is damaged."
            )
        if packed is None:
            packed = rows.new_empty((weight.shape[0], rows.shape[1]))
        packed[start : start + rows.shape[0]] = rows
    assert packed is not None  # A table has at least one row.
    return packed


class TablePacker:
    """Packs the tables of one model on demand and keeps the result, so that trials share it.

    Peak memory is the packed tables of all dtypes that the recipes asked for; the fp32 tables are referenced.
    """

    def __init__(self, tables: list[Tensor]) -> None:
        self._tables = tables
        self._packed: dict[tuple[int, TableDtype], Tensor] = {}

    def packed(self, dtypes: tuple[TableDtype, ...]) -> list[Tensor]:
        """The tables, each in its dtype."""
        result = []
        for index, dtype in enumerate(dtypes):
            key = (index, dtype)
            if key not in self._packed:
                self._packed[key] = pack_table(self._tables[index], dtype, f"table {index}")
            result.append(self._packed[key])
        return result

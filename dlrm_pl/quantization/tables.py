"""Pack float tables into row-wise int8, int4 or fp16, one table at a time, each only once for all trials."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.kernels.int8.ops import pack_rows_into
from dlrm_pl.runtime.tables import TableDtype, row_bytes


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
    if dtype == "fp16":
        packed = weight.half()
        bad = torch.isfinite(packed).all(dim=1).logical_not().nonzero()  # Beyond fp16's range as well.
        row = int(bad[0]) if len(bad) else None
    else:
        packed = torch.empty(weight.shape[0], row_bytes(dtype, weight.shape[1]), dtype=torch.uint8)
        row = pack_rows_into(weight, dtype, packed)
    if row is not None:
        raise NonFiniteError(
            f"{name}: row {row} cannot be packed as {dtype}, it holds {weight[row].abs().max().item()}. "
            "The training diverged, or the checkpoint is damaged."
        )
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

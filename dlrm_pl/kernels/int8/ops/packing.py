"""Rows of tables packed as int8 or int4."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrm_pl.errors import NonFiniteError, ShapeError
from dlrm_pl.kernels.int8.ops.registration import register
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, TableDtype, row_bytes
from dlrm_pl.kernels.int8.selection import kernels


def pack_rows(values: Tensor, dtype: int) -> Tensor:
    """Pack float32 ``[rows, D]`` as int8 or int4: uint8 ``[rows, row_bytes]``.

    Raises:
        NonFiniteError: a row holds NaN or infinity; the message names it.
        ShapeError: the values have another shape, or the dtype has no packed form.
    """
    if values.dim() != 2 or dtype not in (0, 1):
        raise ShapeError(
            f"Rows [rows, D] are packed as dtype 0, int8, or 1, int4, got {list(values.shape)} and {dtype}."
        )
    name = TABLE_DTYPES[dtype]
    out = torch.empty(values.shape[0], row_bytes(name, values.shape[1]), dtype=torch.uint8)
    row = pack_rows_into(values, name, out)
    if row is not None:
        raise NonFiniteError(f"row {row} holds NaN or infinity and cannot be packed as {name}.")
    return out


def pack_rows_into(values: Tensor, dtype: TableDtype, out: Tensor) -> int | None:
    """Pack rows into given memory, of a file or a part of a table; returns the first row that is not finite."""
    packable = dtype in ("int8", "int4") and values.dim() == 2 and values.shape[1] > 0
    wanted = (values.shape[0], row_bytes(dtype, values.shape[1])) if packable else ()
    fits = packable and values.dtype == torch.float32 and out.dtype == torch.uint8
    if not fits or out.shape != wanted or not out.is_contiguous():
        raise ShapeError(
            f"Float32 rows {list(values.shape)} are packed as {dtype} into contiguous uint8 {list(wanted)}, got "
            f"{values.dtype} and {out.dtype} {list(out.shape)}."
        )
    failure = kernels().pack(values.contiguous(), dtype, out)
    return None if failure is None else failure.sample


def _fake(values: Tensor, dtype: int) -> Tensor:
    return values.new_empty(values.shape[0], row_bytes(TABLE_DTYPES[dtype], values.shape[1]), dtype=torch.uint8)


register(
    "pack_rows(Tensor values, int dtype) -> Tensor",
    pack_rows,
    _fake,
)

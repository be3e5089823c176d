"""Patches of packed tables: rows of a refreshed model that replace those in a table file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.tensor_file import save_tensors

_DAMAGED = "The file is corrupt; copy the artifact again, or quantize again."


def patch_name(table_file: str, number: int) -> str:
    """Return the file name of the ``number``-th patch of a table, from 1 on."""
    return table_file.replace(".safetensors", f".patch-{number}.safetensors")


def write_patch(path: Path, rows: Tensor, values: Tensor, table_rows: int) -> None:
    """Write the rows that differ.

    Args:
        path: file to write.
        rows: numbers of the rows, ascending, int64 ``[changed]``.
        values: packed rows ``[changed, width]``.
        table_rows: number of rows of the table.

    Raises:
        OSError: the file cannot be written.
    """
    fits_32_bits = table_rows <= torch.iinfo(torch.int32).max
    numbers = rows.to(torch.int32 if fits_32_bits else torch.int64)
    save_tensors({"rows": numbers, "values": values.contiguous()}, path)


def apply_patch(path: Path, table: Tensor) -> None:
    """Write the rows of a patch into a packed table ``[rows, width]``.

    Pages of a mapped file that are written to are copied; the file stays as it is.

    Raises:
        ArtifactError: the file is missing, damaged, or belongs to another table.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            rows, values = handle.get_tensor("rows"), handle.get_tensor("values")
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be read ({str(error)[:200]}). {_DAMAGED}") from error
    integer = rows.dtype in (torch.int32, torch.int64) and rows.dim() == 1
    if not integer or values.dtype != table.dtype or values.shape != (len(rows), table.shape[1]):
        raise ArtifactError(
            f"{path}: holds {values.dtype} {list(values.shape)} for rows {rows.dtype} {list(rows.shape)}, but the rows "
            f"of its table are {table.dtype} [{table.shape[1]}]. {_DAMAGED}"
        )
    if not len(rows):
        return
    ascending = bool((rows[1:] > rows[:-1]).all())
    if not ascending or not 0 <= int(rows[0]) <= int(rows[-1]) < len(table):
        raise ArtifactError(f"{path}: its row numbers are not ascending within {len(table):,} rows. {_DAMAGED}")
    table.index_copy_(0, rows.long(), values)

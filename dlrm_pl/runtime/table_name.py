"""File name of a packed table, for code that runs without torch."""

from __future__ import annotations

from dlrm_pl.kernels.int8.rows import TableDtype


def file_name(index: int, dtype: TableDtype) -> str:
    """Return the file name of a table in an artifact."""
    return f"table-{index:02d}-{dtype}.safetensors"

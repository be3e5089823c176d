"""Bytes that a model reads for a sample and for a batch, counted from its shapes."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.tables import TableDtype, row_bytes


def float_row_bytes(architecture: Architecture, bytes_per_value: int) -> int:
    """Count the table bytes that a one-hot sample reads from a float model: one row of each table."""
    return architecture.num_tables * architecture.embedding_dim * bytes_per_value


def int8_row_bytes(model: Int8DLRM) -> int:
    """Count the table bytes that a one-hot sample reads from a quantized model, scales included."""
    dtypes = [dtype for op, dtype in model.op_dtypes.items() if op.startswith("tables.")]
    return sum(row_bytes(cast(TableDtype, dtype), model.architecture.embedding_dim) for dtype in dtypes)


def int8_weight_bytes(model: Int8DLRM) -> int:
    """Count the bytes of everything but the tables; each batch reads them once."""
    return model.model_bytes - model.table_bytes


def weight_count(architecture: Architecture) -> int:
    """Count the weights and biases of both MLPs."""
    top = (architecture.interaction_width, *architecture.top_mlp)
    return sum((a + 1) * b for widths in (architecture.bottom_mlp, top) for a, b in pairwise(widths))

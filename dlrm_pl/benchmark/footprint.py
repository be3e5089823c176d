"""Bytes that a model reads per sample and per batch, computed from its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.tables import TableDtype, row_bytes


def lookups_per_sample(batch: ClickBatch) -> tuple[float, ...]:
    """Return the average number of rows of each table that a sample of a batch reads."""
    if batch.offsets is None:
        return (1.0,) * len(batch.indices)
    ends = batch.offsets[:: batch.num_samples]
    return tuple((ends.diff() / batch.num_samples).tolist())


def float_row_bytes(architecture: Architecture, bytes_per_value: int, lookups: Sequence[float] = ()) -> int:
    """Return the table bytes that a sample reads from a float model.

    Args:
        architecture: shape of the model.
        bytes_per_value: size of a weight.
        lookups: average number of rows that a sample reads from each table; empty: one from each.
    """
    rows = sum(lookups) if lookups else architecture.num_tables
    return round(rows * architecture.embedding_dim * bytes_per_value)


def int8_row_bytes(model: Int8DLRM, lookups: Sequence[float] = ()) -> int:
    """Return the table bytes that a sample reads from a quantized model, including scales; see ``float_row_bytes``."""
    dtypes = [dtype for op, dtype in model.op_dtypes.items() if op.startswith("tables.")]
    sizes = [row_bytes(cast(TableDtype, dtype), model.architecture.embedding_dim) for dtype in dtypes]
    return round(sum(rows * size for rows, size in zip(lookups or [1] * len(sizes), sizes, strict=True)))


def int8_weight_bytes(model: Int8DLRM) -> int:
    """Return the bytes of everything except the tables; each batch reads them once."""
    return model.model_bytes - model.table_bytes


def weight_count(architecture: Architecture) -> int:
    """Count the weights and biases of both MLPs and of the cross network."""
    return architecture.dense_parameters

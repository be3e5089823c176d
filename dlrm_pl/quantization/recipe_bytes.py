"""Size of a recipe's model in bytes, computed without building it."""

from __future__ import annotations

from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.runtime.tables import TableDtype, row_bytes

_FLOAT_BYTES = {"bf16": 2, "fp32": 4}
_SCALE_BYTES = 4


def table_bytes(rows: int, dtype: TableDtype, dim: int) -> int:
    """Return the bytes of one table."""
    return rows * row_bytes(dtype, dim)


def linear_bytes(inputs: int, outputs: int, dtype: str, granularity: str) -> int:
    """Return the bytes of weights, bias and scales of one Linear."""
    if dtype != "int8":
        return _FLOAT_BYTES[dtype] * (inputs * outputs + outputs)
    scales = outputs if granularity == "per_channel" else 1
    return inputs * outputs + _SCALE_BYTES * (outputs + scales)


def op_bytes(architecture: Architecture, op: str, dtype: str, granularity: str = "per_channel") -> int:
    """Return the bytes of one op in one dtype; 0 for the interaction, which has no weights."""
    if op == "interaction":
        return 0
    if op.startswith("tables."):
        rows = architecture.table_sizes[int(op.partition(".")[2])]
        return table_bytes(rows, dtype, architecture.embedding_dim)  # type: ignore[arg-type]
    return linear_bytes(*architecture.linear_shapes[op], dtype, granularity)


def recipe_bytes(recipe: Recipe, architecture: Architecture) -> int:
    """Return the total bytes of all ops, equal to ``model_bytes`` of the recipe's model."""
    return sum(op_bytes(architecture, op, dtype, recipe.weight_granularity) for op, dtype in recipe.ops.items())

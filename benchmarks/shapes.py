"""MLPerf's two recommendation models, with tables of another size than theirs."""

from __future__ import annotations

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.model.architecture import Architecture

SHAPES = ("v1", "v2")

BAGS = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)
"""Rows of each table that a sample of the second model looks up, 214 in all."""


def architecture(rows: int, shape: str = "v1") -> Architecture:
    """Return the architecture of a model with ``rows`` rows in each of its 26 tables.

    Args:
        rows: rows of each table.
        shape: ``v1``, DLRM with dot products; or ``v2``, DLRM-DCNv2 with a cross network.
    """
    cross = {"interaction": "dcn", "cross_layers": 3, "cross_rank": 512} if shape == "v2" else {}
    return Architecture(
        table_sizes=(rows,) * len(BAGS),
        embedding_dim=128,
        bottom_mlp=(13, 512, 256, 128),
        top_mlp=(1024, 1024, 512, 256, 1),
        **cross,  # type: ignore[arg-type]
    )


def columns(rows: int, shape: str = "v1") -> Columns | None:
    """Return the columns of a model's rows: with bags for ``v2``, None for ``v1``, whose rows are one-hot."""
    if shape == "v1":
        return None
    dense = [DenseColumn(name=f"I{number}", type="float", transform="none") for number in range(1, 14)]
    sparse = [
        SparseColumn(name=f"C{number}", kind="integer", ids="modulo", rows=rows, bag=bag)
        for number, bag in enumerate(BAGS, 1)
    ]
    return Columns(dense=tuple(dense), sparse=tuple(sparse), label="label")


def lookups(shape: str) -> int:
    """Return the number of rows that a sample looks up."""
    return sum(BAGS) if shape == "v2" else len(BAGS)

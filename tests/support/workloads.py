"""Trainings for which plans are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.model.architecture import Architecture

GIB = 1 << 30

# Rows of MLPerf's tables, with the cap of 40 million.
TERABYTE = (
    *(40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956, 405_282, 10, 2_209),
    *(11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36),
)


def workload(table_sizes: Sequence[int] = (1000, 500, 200, 50, 7), dim: int = 16, **options: Any) -> Workload:
    """Return a training of a small DLRM with these tables."""
    architecture = Architecture(table_sizes=tuple(table_sizes), embedding_dim=dim, bottom_mlp=(4, dim), top_mlp=(8, 1))
    return Workload(architecture, **options)


def terabyte() -> Workload:
    """Return MLPerf's training on the Terabyte logs."""
    return Workload(
        Architecture(
            table_sizes=TERABYTE, embedding_dim=128, bottom_mlp=(4, 512, 256, 128), top_mlp=(1024, 1024, 512, 256, 1)
        )
    )

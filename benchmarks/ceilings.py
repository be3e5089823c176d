"""Measure the limits of one thread of this machine, and compute the speed of a model that they allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dlrm_pl.kernels.int8.native import NativeKernels
from dlrm_pl.kernels.int8.pages import empty_table
from dlrm_pl.kernels.int8.selection import kernels
from dlrm_pl.model.architecture import Architecture

_LOOKUPS = 500_000
_PRODUCTS = 10_000
_REPEATS = 7


@dataclass(frozen=True)
class Ceilings:
    """Limits of one thread.

    Attributes:
        int8_ops_per_s: integer products and sums that need no memory; a product with its sum counts as two.
        rows_per_s: random table rows that are read, from 2 MiB pages, and not used.
    """

    int8_ops_per_s: float
    rows_per_s: float


def ceilings(total_rows: int, row_size: int) -> Ceilings | None:
    """Measure the limits.

    Args:
        total_rows: of a table as large as all tables together.
        row_size: bytes of a row.

    Returns:
        None where the fallback in plain torch does the work.
    """
    native = kernels()
    if not isinstance(native, NativeKernels):
        return None
    operations = native.int8_peak(_PRODUCTS)
    seconds = _fastest(lambda: native.int8_peak(_PRODUCTS))
    table = empty_table(total_rows, row_size)
    table.fill_(1)
    indices = torch.randint(0, total_rows, (_LOOKUPS,), generator=torch.Generator().manual_seed(0))
    rows_seconds = _fastest(lambda: native.touch(table, indices))
    return Ceilings(operations / seconds, _LOOKUPS / rows_seconds)


def linear_operations(architecture: Architecture) -> int:
    """Count the multiplications and additions of all Linears for one sample; the interaction adds 2 % for MLPerf."""
    return 2 * sum(inputs * outputs for inputs, outputs in architecture.linear_shapes.values())


def roofline(architecture: Architecture, ceilings: Ceilings, threads: int, lookups: int = 0) -> float:
    """Return the samples per second that the slower of arithmetic and lookups allows when both overlap fully.

    Args:
        architecture: of a model with all Linears in int8.
        ceilings: of one thread, measured on this machine.
        threads: assumed to scale perfectly.
        lookups: rows that a sample looks up; 0: one of each table.
    """
    arithmetic = ceilings.int8_ops_per_s / linear_operations(architecture)
    return threads * min(arithmetic, ceilings.rows_per_s / (lookups or architecture.num_tables))


def _fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls: a ceiling is the speed without any disturbance."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best

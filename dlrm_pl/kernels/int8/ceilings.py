"""What one thread of this machine can do at most: a measure for what the kernels reach."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dlrm_pl.kernels.int8.native import NativeKernels
from dlrm_pl.kernels.int8.pages import empty_table
from dlrm_pl.kernels.int8.rows import row_bytes
from dlrm_pl.kernels.int8.selection import kernels

_DIM = 128
_ROWS = 4_000_000  # Of 132 bytes, 528 MB: far more than the caches hold.
_LOOKUPS = 500_000
_REPEATS = 5


def ceilings() -> dict[str, float] | None:
    """Measured limits of one thread; None where the twin in plain torch does the work.

    Returns:
        ``int8_ops_per_s``: integer products and sums without any memory, two for each product; ``rows_per_s``: random
        int8 rows of dimension 128 read from memory on 2 MiB pages and not used.
    """
    native = kernels()
    if not isinstance(native, NativeKernels):
        return None
    repeats = 10_000
    operations = native.int8_peak(repeats)
    seconds = _fastest(lambda: native.int8_peak(repeats))
    table = empty_table(_ROWS, row_bytes("int8", _DIM))
    table.fill_(1)
    indices = torch.randint(0, _ROWS, (_LOOKUPS,), generator=torch.Generator().manual_seed(0))
    rows_seconds = _fastest(lambda: native.touch(table, indices))
    return {"int8_ops_per_s": operations / seconds, "rows_per_s": _LOOKUPS / rows_seconds}


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls: a ceiling is what the machine does when nothing disturbs it."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best

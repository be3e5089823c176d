"""What the rows of a table look like, from a sample that takes no time at any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Rows lie in runs, since each run is one read from a disk that holds the table.
_RUNS = 16
_RUN_ROWS = 32


@dataclass(frozen=True)
class TableStatistics:
    """Of the sampled rows of one table.

    Attributes:
        rows: sampled.
        mean_norm: mean Euclidean length of a row.
        max_norm: largest.
        peak: median over rows of the largest magnitude over the root mean square: 1 where all values are equally
            large, and the more, the more of a row's 8 bits go to a single value.
        max_peak: largest.
        nonfinite_rows: that hold NaN or infinity, left out of the rest.
    """

    rows: int
    mean_norm: float
    max_norm: float
    peak: float
    max_peak: float
    nonfinite_rows: int


def sampled_rows(rows: int) -> Tensor:
    """Which rows of a table are looked at: all of a small one, else runs spread evenly over it; int64."""
    if rows <= _RUNS * _RUN_ROWS:
        return torch.arange(rows)
    starts = torch.linspace(0, rows - _RUN_ROWS, _RUNS, dtype=torch.float64).long()
    return (starts[:, None] + torch.arange(_RUN_ROWS)).flatten()


def describe_rows(rows: Tensor) -> TableStatistics:
    """Statistics of float rows ``[sampled, D]``; zeros where none is finite."""
    finite = rows.float()[torch.isfinite(rows).all(dim=1)]
    damaged = len(rows) - len(finite)
    if not len(finite):
        return TableStatistics(len(rows), 0.0, 0.0, 0.0, 0.0, damaged)
    norms = finite.norm(dim=1)
    root_mean_square = norms / finite.shape[1] ** 0.5
    peaks = finite.abs().amax(dim=1) / root_mean_square.clamp_min(torch.finfo(torch.float32).tiny)
    return TableStatistics(
        rows=len(rows),
        mean_norm=float(norms.mean()),
        max_norm=float(norms.max()),
        peak=float(peaks.median()),
        max_peak=float(peaks.max()),
        nonfinite_rows=damaged,
    )

"""Statistics of a table's rows, from a sample that takes no time, whatever the size of the table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Rows are sampled in runs, since a run takes only one read from a disk.
_RUNS = 16
_RUN_ROWS = 32


@dataclass(frozen=True)
class TableStatistics:
    """Statistics of the sampled rows of one table.

    Attributes:
        rows: number of sampled rows.
        mean_norm: mean Euclidean norm of a row.
        max_norm: largest Euclidean norm of a row.
        peak: median over rows of the ratio of the largest magnitude to the root mean square. It is 1 if all values are
            equally large; the larger it is, the more of a row's 8 bits are spent on a single value.
        max_peak: largest such ratio.
        nonfinite_rows: number of rows that hold NaN or infinity; the other statistics leave them out.
    """

    rows: int
    mean_norm: float
    max_norm: float
    peak: float
    max_peak: float
    nonfinite_rows: int


def sampled_rows(rows: int) -> Tensor:
    """Return the numbers of the rows to sample (int64): all of a small table, else runs spread evenly over it."""
    if rows <= _RUNS * _RUN_ROWS:
        return torch.arange(rows)
    starts = torch.linspace(0, rows - _RUN_ROWS, _RUNS, dtype=torch.float64).long()
    return (starts[:, None] + torch.arange(_RUN_ROWS)).flatten()


def describe_rows(rows: Tensor) -> TableStatistics:
    """Compute the statistics of float rows ``[sampled, D]``; all are 0 if no row is finite."""
    finite = rows.float()[torch.isfinite(rows).all(dim=1)]
    nonfinite_rows = len(rows) - len(finite)
    if not len(finite):
        return TableStatistics(len(rows), 0.0, 0.0, 0.0, 0.0, nonfinite_rows)
    norms = finite.norm(dim=1)
    root_mean_square = norms / finite.shape[1] ** 0.5
    peaks = finite.abs().amax(dim=1) / root_mean_square.clamp_min(torch.finfo(torch.float32).tiny)
    return TableStatistics(
        rows=len(rows),
        mean_norm=float(norms.mean()),
        max_norm=float(norms.max()),
        peak=float(peaks.median()),
        max_peak=float(peaks.max()),
        nonfinite_rows=nonfinite_rows,
    )

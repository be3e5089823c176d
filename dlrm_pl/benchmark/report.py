"""A benchmark's report for people: one table for each number of threads."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dlrm_pl.benchmark.compare import Cell, Comparison
from dlrm_pl.benchmark.run import Report


def show(report: Report, console: Console) -> None:
    """Print tables, then what ran on what."""
    comparison = report.comparison
    for threads in sorted({cell.threads for cell in comparison.cells}):
        cells = [cell for cell in comparison.cells if cell.threads == threads]
        console.print(_table(cells, comparison, f"{threads} thread{'s' * (threads > 1)}"))
    for label, reason in comparison.unavailable.items():
        console.print(f"not available: {label}: {reason}", soft_wrap=True, markup=False)
    if len(comparison.labels) == 1:
        console.print("The artifact alone was timed: give --ckpt_path to compare it with the float model.")
    console.print(report.describe(), soft_wrap=True, highlight=False, markup=False)
    ops = ", ".join(f"{count} {op}" for op, count in report.int8_ops.items())
    console.print(f"integer ops of one forward pass, counted: {ops}", soft_wrap=True, highlight=False)
    read = ", ".join(
        f"{dtype} {report.row_bytes[dtype]:,} + {report.weight_bytes[dtype]:,}" for dtype in report.row_bytes
    )
    console.print(f"bytes read, table rows a sample + weights a batch: {read}", soft_wrap=True, highlight=False)


def _table(cells: list[Cell], comparison: Comparison, title: str) -> Table:
    """Eighty columns wide, so that it can be read in a log."""
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("samples/s", "median ms (95 %)", "p90 ms", "p99 ms", f"x {comparison.baseline} (95 %)"):
        table.add_column(column, justify="right", no_wrap=True)
    for cell in cells:
        table.add_row(f"batch {cell.batch_size:,}", style="bold")
        for name, timing in cell.timings.items():
            table.add_row(
                f" {comparison.labels[name]}",
                f"{timing.samples_per_s:,.0f}",
                f"{_ms(timing.p50_ms)} ({_ms(timing.interval_ms[0])}-{_ms(timing.interval_ms[1])})",
                _ms(timing.p90_ms),
                _ms(timing.p99_ms),
                f"{timing.ratio:.2f} ({timing.ratio_interval[0]:.2f}-{timing.ratio_interval[1]:.2f})",
            )
    return table


def _ms(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

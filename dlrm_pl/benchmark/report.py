"""Print the results of a benchmark: one table for each number of threads."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.mlperf.run import Report as MLPerfReport
from dlrm_pl.benchmark.run import Report


def show(report: Report, console: Console) -> None:
    """Print the tables, then the machine, the rows, the integer ops and the bytes read."""
    comparison = report.comparison
    for threads in sorted({cell.threads for cell in comparison.cells}):
        cells = [cell for cell in comparison.cells if cell.threads == threads]
        console.print(_table(cells, comparison, f"{threads} thread{'s' * (threads > 1)}"))
    for cell in comparison.cells:
        if best := comparison.best_rival(cell):
            where = f"batch {cell.batch_size:,}, {cell.threads} thread{'s' * (cell.threads > 1)}"
            text = f"fastest rival, {where}: {best.label}; int8 is {best.times:.2f} times as fast"
            console.print(text, soft_wrap=True, highlight=False, markup=False)
    for label, reason in comparison.unavailable.items():
        console.print(f"not available: {label}: {reason}", soft_wrap=True, markup=False)
    if len(comparison.labels) == 1:
        console.print("Only the artifact was timed. Give --ckpt_path to compare it with the float model.")
    console.print(report.describe(), soft_wrap=True, highlight=False, markup=False)
    ops = ", ".join(f"{count} {op}" for op, count in report.int8_ops.items())
    console.print(f"integer ops of one forward pass, counted: {ops}", soft_wrap=True, highlight=False)
    read = ", ".join(
        f"{dtype} {report.row_bytes[dtype]:,} + {report.weight_bytes[dtype]:,}" for dtype in report.row_bytes
    )
    console.print(f"bytes read (table rows per sample + weights per batch): {read}", soft_wrap=True, highlight=False)


def show_mlperf(report: MLPerfReport, console: Console) -> None:
    """Print loadgen's result, and the accuracy if it was checked."""
    result, run = report.result, report.result.run
    aim = "sent:" if run.scenario == "server" else "expected:"
    table = Table(
        title=f"MLPerf {run.scenario}, DLRM {report.rules.version}", box=None, padding=(0, 1, 0, 0), show_header=False
    )
    table.add_row("result", "VALID" if result.valid else f"INVALID: {result.reason}")
    table.add_row("samples/s", f"{result.samples_per_s:,.1f} ({aim} {run.target_qps:,.1f})")
    table.add_row("user-item pairs/s", f"{result.pairs_per_s:,.0f}")
    table.add_row("latency, ms", ", ".join(f"{name} {_ms(ms)}" for name, ms in result.latency_ms.items()))
    table.add_row("settings", f"{run.duration_s:g} s or more, batches of at most {run.max_pairs:,} pairs")
    table.add_row("samples", f"{report.samples:,} of 100 to 700 pairs; {report.rows}; threads {report.threads}")
    if report.accuracy is not None:
        accuracy = report.accuracy
        verdict = "passed" if accuracy.passed else "FAILED"
        table.add_row(
            "accuracy",
            f"AUROC {accuracy.auroc:.6f}, {accuracy.share:.4%} of fp32's {accuracy.fp32_auroc:.6f}: {verdict}",
        )
        comparison = "has at least" if accuracy.reaches_mlperf else "has less than"
        table.add_row(
            "", f"{comparison} the {accuracy.mlperf_auroc:.6f} that MLPerf requires of its own model and rows"
        )
    console.print(table)


def _table(cells: list[Cell], comparison: Comparison, title: str) -> Table:
    """Make the table of one number of threads, 80 columns wide so that it can be read in a log."""
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    ratio = f"x {comparison.labels[comparison.baseline]}"
    for column in ("samples/s", "median ms (95 %)", "p90 ms", "p99 ms", ratio):
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
    """Write milliseconds with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

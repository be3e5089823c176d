"""Tables of a benchmark's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.page.explanations import FACTS
from dlrm_pl.benchmark.page.sentence import cell_text
from dlrm_pl.pages.table import Cell as TableCell
from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Term, Terms


def cell_table(comparison: Comparison, cell: Cell, terms: Terms) -> Table:
    """List the contenders at one batch size and number of threads."""
    columns = [terms["contender"], terms["samples/s"], terms.named("median", "median ms (95%)")]
    columns += [terms.named("p90", "p90 ms"), terms.named("p99", "p99 ms")]
    if not comparison.is_alone:
        columns.append(terms.named("speed-up", f"times {comparison.labels[comparison.baseline]}"))
    rows = []
    for name, timing in cell.timings.items():
        row: list[TableCell] = [
            terms[comparison.labels[name]],
            f"{timing.samples_per_s:,.0f}",
            f"{milliseconds(timing.p50_ms)} ({' to '.join(map(milliseconds, timing.interval_ms))})",
            milliseconds(timing.p90_ms),
            milliseconds(timing.p99_ms),
        ]
        if not comparison.is_alone:
            row.append(f"{timing.ratio:.2f}")
        rows.append(row)
    timings = cell.timings.values()
    rounds, calls = min(timing.rounds for timing in timings), min(timing.calls for timing in timings)
    return Table(f"{cell_text(cell)}: {rounds:,} rounds, at least {calls:,} calls of each", columns, rows)


def agreement_table(comparison: Comparison, terms: Terms) -> Table:
    """List how close each contender's logits are to those of fp32."""
    rows = [
        (terms[comparison.labels[name]], "equal" if db == float("inf") else f"{db:.1f} dB")
        for name, db in comparison.sqnr_db.items()
    ]
    return Table("", [terms["contender"], terms["SQNR"]], rows)


def rivals_table(comparison: Comparison, terms: Terms) -> Table:
    """List the fastest rival in each cell, and how many times as fast the artifact is."""
    found = [(cell, comparison.best_rival(cell)) for cell in comparison.cells]
    rows = [
        (cell_text(cell).capitalize(), terms[best.label], f"{best.times:.2f} times") for cell, best in found if best
    ]
    return Table("", ["", terms["fastest rival"], terms["artifact's speed"]], rows)


def bytes_table(row_bytes: Mapping[str, int], weight_bytes: Mapping[str, int], terms: Terms) -> Table:
    """List the bytes read per sample and per batch."""
    rows = [(dtype, f"{row_bytes[dtype]:,}", f"{weight_bytes[dtype]:,}") for dtype in row_bytes]
    columns: list[str | Term] = ["", terms.named("table rows", "bytes of table rows per sample")]
    return Table("", [*columns, terms.named("weights", "bytes of weights per batch")], rows)


def facts_table(facts: Mapping[str, Any]) -> Table:
    """List the artifact, the rows and the machine."""
    rows = [(name, _in_words(value), FACTS.get(name, "")) for name, value in facts.items()]
    return Table("", ("fact", "value", "meaning"), rows, of_facts=True)


def milliseconds(value: float) -> str:
    """Format milliseconds with three digits.

    Example:
        >>> milliseconds(0.12345), milliseconds(1234.5)
        ('0.123', '1,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)

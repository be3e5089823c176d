"""Bytes of each embedding table, in fp32 and in the artifact."""

from __future__ import annotations

from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.figures.chart import Legend
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale


def table_bytes(data: ReportData) -> str:
    """Draw the bytes of each table as bars from zero, on a linear axis."""
    tables = data.table_sizes
    rows = [
        NamedBars(
            f"{index} {name} {table.dtype}" if name else f"{index} {table.dtype}",
            [Bar(table.fp32_bytes, "fp32"), Bar(table.artifact_bytes, "int8")],
            text=f"{format_bytes(table.fp32_bytes)} to {format_bytes(table.artifact_bytes)}",
            words=f"table {index} {name}: {table.rows:,} rows, {table.fp32_bytes:,} bytes in fp32, "
            f"{table.artifact_bytes:,} in the artifact ({table.dtype})",
        )
        for index, (name, table) in enumerate(zip(data.table_names, tables, strict=True))
    ]
    legend = Legend()
    legend.add("fp32", "box", "fp32")
    legend.add("artifact", "box", "int8")
    before, after = sum(table.fp32_bytes for table in tables), sum(table.artifact_bytes for table in tables)
    return named_bars(
        f"Bytes of {len(tables)} tables: {format_bytes(before)} in fp32, {format_bytes(after)} in the artifact.",
        rows,
        Scale.of_bytes(max(table.fp32_bytes for table in tables)),
        label="bytes",
        legend=legend,
        thickness=7,
    )

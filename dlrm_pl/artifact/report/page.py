"""``report.html``: one file that needs no network and runs no script."""

from __future__ import annotations

from markupsafe import Markup

from dlrm_pl.artifact.report import figures
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.report.tables import tables
from dlrm_pl.artifact.summary import drop_line, guards_line, slice_line
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.page import render_page
from dlrm_pl.pages.terms import Terms


def render(data: ReportData) -> str:
    """Render a report as one HTML page.

    Text of any origin is escaped by the template; only the drawings, which are made here, are markup.
    """
    certificate, manifest = data.certificate, data.manifest
    guards_passed = all(guard.passed for guard in certificate.guards)
    drawings = {
        "sensitivities": figures.sensitivities(data),
        "pareto": figures.pareto(data),
        "histogram": figures.histogram(data),
        "reliability": figures.reliability(data),
        "rows_read": figures.rows_read(data),
        "table_bytes": figures.table_bytes(data),
    }
    return render_page(
        "dlrm_pl.artifact.report",
        "report.html.jinja",
        terms=Terms({}),
        data=data,
        certificate=certificate,
        drop_line=drop_line(certificate),
        slice_line=slice_line(certificate),
        guards_line="" if guards_passed else guards_line(certificate),
        share_of_bytes=f"{manifest.int8_bytes / manifest.fp32_bytes:.1%}",
        peak_memory=format_bytes(data.peak_memory_bytes),
        tables=tables(data),
        drawings={name: svg and Markup(svg) for name, svg in drawings.items()},
    )

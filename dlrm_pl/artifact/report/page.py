"""``report.html``: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from dlrm_pl.artifact.certificate.verdict import describe_drop
from dlrm_pl.artifact.report.figures import probabilities, search
from dlrm_pl.artifact.report.figures.interval import interval
from dlrm_pl.artifact.report.figures.judged import judged
from dlrm_pl.artifact.report.figures.table_bytes import table_bytes
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.report.report_terms import report_terms
from dlrm_pl.artifact.report.speeds import trial_speeds
from dlrm_pl.artifact.report.tables import tables
from dlrm_pl.artifact.report.verdict_sentence import verdict_sentence
from dlrm_pl.artifact.summary import guards_line, slice_line
from dlrm_pl.curves.figure import describe_training, training_figures
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.page import render_page

FIGURES: dict[str, Callable[[ReportData], str | None]] = {
    "interval": lambda data: interval(data.certificate),
    "judged": lambda data: judged(data.certificate),
    "sensitivities": search.sensitivities,
    "pareto": search.pareto,
    "histogram": probabilities.histogram,
    "reliability": probabilities.reliability,
    "rows_read": search.rows_read,
    "table_bytes": table_bytes,
}
"""The figures of a report, by their names in the template."""


def render(data: ReportData) -> str:
    """Render a report as one HTML page.

    The template escapes text of any origin; only the drawings, which are made here, are inserted as markup.
    """
    certificate, manifest, terms = data.certificate, data.manifest, report_terms()
    outcome, _, verdict = verdict_sentence(certificate).partition(": ")
    guards_passed = all(guard.passed for guard in certificate.guards)
    drawings = {name: draw(data) for name, draw in FIGURES.items()}
    return render_page(
        "dlrm_pl.artifact.report",
        "report.html.jinja",
        terms=terms,
        data=data,
        certificate=certificate,
        outcome=outcome,
        verdict=terms.linked(verdict, "AUROC drop", "fp32", "int8", "confidence", "tolerance"),
        reason="" if certificate.reason == describe_drop(certificate) else certificate.reason,
        slice_line=slice_line(certificate),
        guards_line="" if guards_passed else guards_line(certificate),
        share_of_bytes=f"{manifest.int8_bytes / manifest.fp32_bytes:.1%}",
        peak_memory=format_bytes(data.peak_memory_bytes),
        speeds=trial_speeds(data.trials, certificate),
        tables=tables(data, terms),
        drawings={name: svg and Markup(svg) for name, svg in drawings.items()},
        training="" if data.training is None else describe_training(data.training),
        curves=[] if data.training is None else [Markup(svg) for svg in training_figures(data.training)],
    )

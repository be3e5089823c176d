"""Render the page of a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from dlrm_pl.benchmark.page import figures
from dlrm_pl.benchmark.page.explanations import EXPLANATIONS, contender_words
from dlrm_pl.benchmark.page.sentence import by_threads, cell_text, chosen_cell, speed_sentence, threads_text
from dlrm_pl.benchmark.page.tables import agreement_table, bytes_table, cell_table, facts_table, rivals_table
from dlrm_pl.pages.page import render_page
from dlrm_pl.pages.table import fact_name
from dlrm_pl.pages.terms import Terms

if TYPE_CHECKING:
    from dlrm_pl.benchmark.run import Report


def render(report: Report) -> str:
    """Render a benchmark as one HTML page that loads nothing and runs no script."""
    comparison = report.comparison
    contenders = {label: contender_words(name, label) for name, label in comparison.labels.items()}
    terms = Terms(EXPLANATIONS | contenders)
    scale = figures.bar_scale(comparison)
    groups = [
        {
            "title": threads_text(count),
            "lines": [
                Markup(draw(comparison, cells)) for draw in (figures.throughput, figures.latency) if len(cells) > 1
            ],
            "cells": [
                {
                    "title": cell_text(cell).capitalize(),
                    "bars": Markup(figures.cell_bars(comparison, cell, scale)),
                    "table": cell_table(comparison, cell, terms),
                }
                for cell in cells
            ],
        }
        for count, cells in by_threads(comparison).items()
    ]
    machine = {fact_name(name): value for name, value in report.machine.items() if name != "isa"}
    chosen = chosen_cell(comparison)
    return render_page(
        "dlrm_pl.benchmark.page",
        "benchmark.html.jinja",
        terms=terms,
        sentence=terms.linked(speed_sentence(comparison), *comparison.labels.values()),
        comparison=comparison,
        groups=groups,
        chosen=chosen,
        chosen_bars=Markup(figures.cell_bars(comparison, chosen, scale)),
        rivals=rivals_table(comparison, terms),
        some_drawn=comparison.drawn != comparison.labels,
        agreement=agreement_table(comparison, terms),
        bytes_read=bytes_table(report.row_bytes, report.weight_bytes, terms),
        int8_ops=", ".join(f"{count} {op}" for op, count in report.int8_ops.items()),
        facts=facts_table({"artifact": report.artifact, "rows": report.rows, "int8 kernels": report.isa} | machine),
    )

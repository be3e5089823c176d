"""Figures of the click probabilities on the certification rows: their distribution and their calibration."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.metrics.share_interval import share_interval
from dlrm_pl.pages.figures.chart import Chart, figure
from dlrm_pl.pages.figures.scale import Scale, percent, short

_LEAST_RATE = 1e-9
"""Lowest click rate that the reliability diagram shows."""

# Tick labels of an axis of log odds.
_NAMED = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def histogram(data: ReportData) -> str | None:
    """Draw the distributions of both models' click probabilities."""
    if data.histograms is None:
        return None
    fp32, int8 = data.histograms
    used = np.flatnonzero(fp32.rows + int8.rows)
    first, last = used[0], used[-1] + 1
    edges = fp32.edges[first : last + 1].tolist()
    named = [p for p in _NAMED if edges[0] - 0.5 <= math.log(p / (1 - p)) <= edges[-1] + 0.5]
    ticks = [math.log(p / (1 - p)) for p in named]
    ends = [edges[0], edges[-1], *ticks]
    x = Scale(min(ends), max(ends), tuple(ticks), tuple(map(percent, named)))
    largest = float(max(fp32.rows.max(), int8.rows.max()))
    chart = Chart(
        x,
        Scale.linear([0.0, largest], zero=True, whole=True, form=short),
        x_label="click probability (log odds)",
        y_label="rows",
        height=150,
    )
    chart.area(_steps(edges, fp32.rows[first:last].tolist()), "fp32", name="fp32")
    chart.line(_steps(edges, int8.rows[first:last].tolist()), "int8", name="int8")
    moved = int(np.abs(np.cumsum(fp32.rows - int8.rows)).max())
    rows = int(fp32.rows.sum())
    words = (
        f"Histograms of the click probabilities of fp32 and int8 on {rows:,} rows. Their shares below any probability "
        f"differ by at most {moved / rows:.3%}."
    )
    return figure(words, [chart])


def reliability(data: ReportData) -> str | None:
    """Draw predicted against observed click rates, in groups of about equal numbers of rows."""
    if data.histograms is None:
        return None
    # Zero has no logarithm, and values near it would leave no room for the others.
    drawn = [[point for point in found.groups() if min(point) > _LEAST_RATE] for found in data.histograms]
    if not any(drawn):
        return None
    rates = [rate for points in drawn for predicted, observed, _ in points for rate in (predicted, observed)]
    scale = Scale.log([0.8 * min(rates), 1.2 * max(rates)], room=0.0, form=percent)
    chart = Chart(scale, scale, x_label="predicted click rate", y_label="observed click rate", height=210)
    ends = (scale.low, scale.high)
    chart.line([(end, end) for end in ends], "muted", name="as predicted", width=1, dashed=True)
    looks: tuple[tuple[str, Literal["square", "circle"]], ...] = (("fp32", "square"), ("int8", "circle"))
    for (name, shape), points in zip(looks, drawn, strict=True):
        chart.line([(predicted, observed) for predicted, observed, _ in points], name, width=1, words=name)
        for predicted, observed, rows in points:
            chart.point(
                predicted,
                observed,
                name,
                shape=shape,
                size=3,
                y_range=share_interval(observed, rows),
                name=name,
                words=f"{name}: predicted {predicted:.4%}, observed {observed:.4%} of {rows:,} rows",
            )
    words = (
        f"Reliability: observed against predicted click rates. Sum of predictions over sum of clicks: fp32 "
        f"{data.certificate.fp32['calibration_ratio']:.4f}, int8 "
        f"{data.certificate.int8['calibration_ratio']:.4f}."
    )
    return figure(words, [chart])


def _steps(edges: list[float], counts: list[int]) -> list[tuple[float, float]]:
    """Return the outline of the bars of a histogram."""
    outline = [(edges[0], 0.0)]
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        outline += [(left, float(count)), (right, float(count))]
    return [*outline, (edges[-1], 0.0)]

"""The figures of a report, each an ``<svg>`` element; None where there is nothing to draw."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.report.svg import BAD, FP32, GOOD, INK, INT8, MUTED, draw
from dlrm_pl.artifact.writing.sensitivities import Sensitivity
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.quantization.search.plot import Colours, plot_trade_offs

_LEAST_RATE = 1e-9
"""Least click rate that the reliability diagram draws."""

# Tick labels of an axis of log odds.
_NAMED = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def sensitivities(data: ReportData) -> str | None:
    """Draw the drop of each op and table as a bar, with its 95 % interval where that is known.

    For an op that was measured in several dtypes, it shows the dtype that the artifact has.
    """
    chosen: dict[str, Sensitivity] = {}
    for drop in data.sensitivities.drops:
        if drop.op not in chosen or drop.dtype == data.manifest.ops.get(drop.op, {}).get("dtype"):
            chosen[drop.op] = drop
    drops = tuple(chosen.values())
    if not drops:
        return None
    names = [f"{drop.op} {drop.dtype}".strip() for drop in drops]

    def on(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(drops))
        values = [drop.drop for drop in drops]
        errors = [1.96 * drop.standard_error if drop.standard_error else 0.0 for drop in drops]
        colours = [BAD if value > 0 else GOOD for value in values]
        axes.barh(places, values, xerr=errors, color=colours, ecolor=MUTED, height=0.7)
        axes.set_yticks(places, names)
        axes.set_ylim(len(drops) - 0.4, -0.6)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("drop of the score (right is worse)")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

    worst = max(drops, key=lambda drop: drop.drop)
    words = f"Drop by op and table. The largest is {worst.drop:.6f}, of {worst.op} {worst.dtype}."
    return draw("sensitivities", 0.9 + 0.19 * len(drops), on, words)


def pareto(data: ReportData) -> str | None:
    """Draw the drop of each trial against bytes, and against speed where it is known; dominated trials are hollow."""
    scored = [trial for trial in data.trials if trial.verdict is not None]
    if not scored:
        return None
    panels = 2 if any(trial.samples_per_s for trial in scored) else 1
    front = [trial for trial in scored if trial.number in data.pareto]

    def on(figure: Figure) -> None:
        plot_trade_offs(figure, scored, data.pareto, data.best, Colours(INK, MUTED, GOOD, BAD))

    best = next(trial for trial in scored if trial.number == data.best)
    words = (
        f"Drop against size and speed of {len(scored)} trials; {len(front)} of them are dominated by no other. "
        f"Chosen: trial {best.number}, drop {best.drop:.6f}, {format_bytes(best.model_bytes)}."
    )
    return draw("pareto", 1.2 + 1.9 * panels, on, words)


def histogram(data: ReportData) -> str | None:
    """Draw the distributions of both models' click probabilities."""
    if data.histograms is None:
        return None
    fp32, int8 = data.histograms
    used = np.flatnonzero(fp32.rows + int8.rows)
    first, last = used[0], used[-1] + 1

    def on(figure: Figure) -> None:
        axes = figure.subplots()
        edges = fp32.edges[first : last + 1]
        axes.stairs(fp32.rows[first:last], edges, fill=True, color=FP32, alpha=0.45, label="fp32")
        axes.stairs(int8.rows[first:last], edges, color=INT8, linewidth=1.5, label="int8")
        named = [p for p in _NAMED if edges[0] - 0.5 <= math.log(p / (1 - p)) <= edges[-1] + 0.5]
        axes.set_xticks([math.log(p / (1 - p)) for p in named], [f"{100 * p:g} %" for p in named])
        axes.set_xlabel("click probability (log odds)")
        axes.set_ylabel("rows")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        axes.legend()

    moved = int(np.abs(np.cumsum(fp32.rows - int8.rows)).max())
    rows = int(fp32.rows.sum())
    words = (
        f"Histograms of the click probabilities of fp32 and int8 on {rows:,} rows. Their shares below any probability "
        f"differ by at most {moved / rows:.3%}."
    )
    return draw("histogram", 2.7, on, words)


def reliability(data: ReportData) -> str | None:
    """Draw predicted against observed click rates, in groups of about equally many rows."""
    if data.histograms is None:
        return None
    # Zero has no logarithm, and values near it would leave no room for the others.
    drawn = [[point for point in found.groups() if min(point) > _LEAST_RATE] for found in data.histograms]
    if not any(drawn):
        return None

    def on(figure: Figure) -> None:
        axes = figure.subplots()
        ends = []
        styles = ((FP32, "s", "-"), (INT8, "o", ""))
        for (colour, marker, line), name, points in zip(styles, ("fp32", "int8"), drawn, strict=True):
            if not points:
                continue
            predicted, observed, rows = (np.array(values) for values in zip(*points, strict=True))
            low, high = _wilson(observed, rows)
            axes.errorbar(
                *(100 * predicted, 100 * observed),
                yerr=[100 * (observed - low), 100 * (high - observed)],
                color=colour,
                marker=marker,
                linestyle=line,
                markersize=5,
                linewidth=1,
                elinewidth=0.9,
                label=name,
            )
            ends += [predicted.min(), predicted.max(), observed.min(), observed.max()]
        span = np.array([80 * min(ends), 120 * max(ends)])
        axes.plot(span, span, color=MUTED, linestyle="--", linewidth=1, label="as predicted")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
            axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.set_xlabel("predicted click rate")
        axes.set_ylabel("observed click rate")
        axes.legend()

    words = (
        f"Reliability: observed against predicted click rates. Sum of predictions over sum of clicks: fp32 "
        f"{data.certificate.fp32['calibration_ratio']:.4f}, int8 "
        f"{data.certificate.int8['calibration_ratio']:.4f}."
    )
    return draw("reliability", 3.4, on, words)


def rows_read(data: ReportData) -> str | None:
    """Draw the number of rows that each trial needed."""
    known = [trial for trial in data.trials if trial.rows]
    if not known:
        return None

    def on(figure: Figure) -> None:
        axes = figure.subplots()
        for accepted, colour, hatch in ((True, GOOD, ""), (False, BAD, "////")):
            shown = [trial for trial in known if trial.accepted == accepted]
            if shown:
                axes.bar(
                    [trial.number for trial in shown],
                    [trial.rows for trial in shown],
                    color=colour,
                    hatch=hatch,
                    linewidth=0,
                    width=0.8,
                    label="accepted" if accepted else "rejected",
                )
        axes.axhline(data.tuning_rows, color=MUTED, linestyle="--", linewidth=1, label="all rows")
        axes.set_xlim(0.4, max(len(data.trials), 3) + 0.6)
        axes.set_ylim(0, 1.15 * max(data.tuning_rows, *(trial.rows for trial in known)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("trial")
        axes.set_ylabel("rows read")
        figure.legend(loc="outside upper center", ncols=3)

    words = f"Rows read by each of {len(known)} trials, in the median {data.median_rows:,}."
    return draw("rows-read", 2.6, on, words)


def table_bytes(data: ReportData) -> str:
    """Draw the bytes of each table in fp32 and in the artifact."""
    tables = data.table_sizes

    def on(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(tables))
        axes.barh(places - 0.2, [table[2] for table in tables], height=0.38, color=FP32, label="fp32")
        axes.barh(places + 0.2, [table[3] for table in tables], height=0.38, color=INT8, label="artifact")
        axes.set_yticks(places, [f"{index} {table[1]}" for index, table in enumerate(tables)])
        axes.set_ylim(len(tables) - 0.4, -0.6)
        largest = max(table[2] for table in tables)
        for place, table in zip(places, tables, strict=True):
            words = f"{format_bytes(table[2])} to {format_bytes(table[3])}"
            axes.text(max(table[2:]) + largest / 100, float(place), words, va="center", fontsize="small")
        axes.set_xlim(0, 1.4 * largest)  # Leave room for the labels; start at zero, so that the bars are to scale.
        axes.xaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(largest / 4))))  # Whole binary units.
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_bytes(value)))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("bytes")
        axes.set_ylabel("table")
        figure.legend(loc="outside upper center", ncols=2)

    before, after = sum(table[2] for table in tables), sum(table[3] for table in tables)
    words = f"Bytes of {len(tables)} tables: {format_bytes(before)} in fp32, {format_bytes(after)} in the artifact."
    return draw("table-bytes", 1.1 + 0.24 * len(tables), on, words)


def _wilson(
    share: np.ndarray[tuple[int], np.dtype[np.float64]], rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return the 95 % interval of a share (Wilson 1927), which stays within [0, 1] even for few clicks."""
    z = 1.96
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def _short(value: float, _: object = None) -> str:
    """Write a count with k and M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"

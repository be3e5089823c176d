"""Figures of a search: drop by op, trade-offs of the trials, and rows read by them."""

from __future__ import annotations

import math

from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.writing.sensitivities import Sensitivity
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.figures.chart import Chart, Legend, figure, room_for
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale, short
from dlrm_pl.quantization.search.trials.trial import Trial

_MOST_WITH_BOUNDS = 30
"""Number of trials from which their bounds are not drawn, because they would hide each other."""

_FEWEST_BARS = 3


def sensitivities(data: ReportData) -> str | None:
    """Draw the drop of each op and table as a bar, with its 95 % interval if known.

    For an op that was measured in several dtypes, it shows the dtype that the artifact has.
    """
    chosen: dict[str, Sensitivity] = {}
    for drop in data.sensitivities.drops:
        if drop.op not in chosen or drop.dtype == data.manifest.ops.get(drop.op, {}).get("dtype"):
            chosen[drop.op] = drop
    drops = tuple(chosen.values())
    if not drops:
        return None
    rows: list[NamedBars] = []
    values: list[float] = []
    for drop in drops:
        error = 1.96 * (drop.standard_error or 0.0)
        ends = (drop.drop - error, drop.drop + error)
        values += ends
        known = "" if drop.standard_error is None else f", standard error {drop.standard_error:.7f}"
        rows.append(
            NamedBars(
                f"{drop.op} {drop.dtype}".strip(),
                [Bar(drop.drop, "bad" if drop.drop > 0 else "good", ends if error else None)],
                words=f"{drop.op} {drop.dtype}: drop {drop.drop:+.7f}{known}",
            )
        )
    worst = max(drops, key=lambda drop: drop.drop)
    return named_bars(
        f"Drop by op and table. The largest is {worst.drop:.6f}, of {worst.op} {worst.dtype}.",
        rows,
        Scale.linear(values, zero=True, count=4),
        label="drop of the score (right is worse)",
    )


def pareto(data: ReportData) -> str | None:
    """Draw the drop of each trial against bytes, and against speed if known; dominated trials are hollow."""
    scored = [trial for trial in data.trials if trial.verdict is not None]
    if not scored:
        return None
    last = scored[-1].verdict
    tolerance = last.tolerance if last else 0.0
    with_bounds = len(scored) < _MOST_WITH_BOUNDS
    values = [tolerance, *(trial.drop for trial in scored)]
    if with_bounds:
        values += [end for trial in scored for end in _range(trial)]
    x = Scale.linear(values, count=4)
    label = "drop of the score (right is worse)" + (", with its bounds" if with_bounds else "")
    largest = max(trial.model_bytes for trial in scored)
    fastest = max(trial.samples_per_s for trial in scored)
    axes = {"size of the model": Scale.of_bytes(largest, room=0.1)}
    if fastest:
        axes["samples per second"] = Scale.linear([0.0, fastest], zero=True, room=0.1, form=short)
    left = max(map(room_for, axes.values()))
    charts = [Chart(x, y, y_label=name, x_label=label, height=130, left=left) for name, y in axes.items()]
    heights_of: list[list[float]] = [[t.model_bytes for t in scored], [t.samples_per_s for t in scored]]
    for chart, heights in zip(charts, heights_of, strict=False):
        chart.upright(tolerance, words=f"tolerance {tolerance:g}")
        for trial, height in zip(scored, heights, strict=True):
            chart.point(
                trial.drop,
                height,
                "good" if trial.accepted else "bad",
                shape="circle" if trial.accepted else "cross",
                hollow=trial.number not in data.pareto,
                x_range=_range(trial) if with_bounds else None,
                words=_describe(trial),
            )
            if trial.number == data.best:
                chart.point(trial.drop, height, "ink", shape="ring", size=7, words=f"chosen: {_describe(trial)}")
    front = sum(trial.number in data.pareto for trial in scored)
    best = next(trial for trial in scored if trial.number == data.best)
    words = (
        f"Drop against size and speed of {len(scored)} trials; {front} of them are not dominated by any other. "
        f"Chosen: trial {best.number}, drop {best.drop:.6f}, {format_bytes(best.model_bytes)}."
    )
    return figure(words, charts, legend=_trials_legend())


def rows_read(data: ReportData) -> str | None:
    """Draw the number of rows that each trial needed."""
    known = [trial for trial in data.trials if trial.rows]
    if not known:
        return None
    numbers = Scale.linear([1, len(data.trials)], room=0.0, whole=True, count=6)
    # With few trials, bars are as wide as with three.
    x = Scale(0.4, max(len(data.trials), _FEWEST_BARS) + 0.6, numbers.ticks, numbers.labels)
    largest = max(data.tuning_rows, *(trial.rows for trial in known))
    chart = Chart(
        x,
        Scale.linear([0.0, largest], zero=True, room=0.1, whole=True, form=short),
        x_label="trial",
        y_label="rows read",
        height=130,
        grid_x=False,
    )
    for trial in known:
        chart.bar(
            trial.number,
            0.8,
            trial.rows,
            "good" if trial.accepted else "bad",
            hollow=not trial.accepted,
            name="accepted" if trial.accepted else "rejected",
            words=f"trial {trial.number}: {trial.rows:,} rows",
        )
    chart.across(data.tuning_rows, name="all rows", words=f"all {data.tuning_rows:,} tuning rows")
    return figure(f"Rows read by each of {len(known)} trials; median {data.median_rows:,}.", [chart])


def _range(trial: Trial) -> tuple[float, float]:
    """Return the bounds of a trial's drop, or the drop itself where there is none: too few clicks give no bound."""
    assert trial.verdict is not None
    low, high = trial.verdict.low, trial.verdict.bound
    return (
        min(low, trial.drop) if math.isfinite(low) else trial.drop,
        max(high, trial.drop) if math.isfinite(high) else trial.drop,
    )


def _describe(trial: Trial) -> str:
    speed = f", {trial.samples_per_s:,.0f} samples/s" if trial.samples_per_s else ""
    verdict = "accepted" if trial.accepted else "rejected"
    return f"trial {trial.number}, {verdict}: drop {trial.drop:+.6f}, {format_bytes(trial.model_bytes)}{speed}"


def _trials_legend() -> Legend:
    legend = Legend()
    legend.add("accepted", "circle", "good")
    legend.add("rejected", "cross", "bad")
    legend.add("dominated", "ring", "muted")
    legend.add("chosen", "circle", "ink", hollow=True)
    legend.add("tolerance", "dashed", "muted")
    return legend

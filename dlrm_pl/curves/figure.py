"""Training curves as a figure on a page."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.pages.colours import SERIES
from dlrm_pl.pages.figures.chart import Chart, figure
from dlrm_pl.pages.figures.scale import Scale, short

MOST_BINS = 128
"""Number of bins that are drawn: with more, their means would differ by chance alone."""

_TRAIN, _VAL = "sixth", "first"
_HEIGHT = 110.0
_FEW = 50
"""Number of points up to which they are marked, since a line through one point is invisible."""

_LEAST_AUROCS = 0.01
"""Smallest range of AUROC that is drawn, so that a single validation has a sensible axis."""

_Drawn = tuple[str, Chart]


def training_figures(record: TrainingRecord) -> list[str]:
    """Draw what was recorded over the optimizer steps: loss, AUROC, learning rate and speed, as far as available.

    Returns:
        An ``<svg>`` element for each quantity.
    """
    return [figure(words, [chart]) for words, chart in charts(record)]


def charts(record: TrainingRecord) -> list[tuple[str, Chart]]:
    """Return a chart for each recorded quantity, with a description of it."""
    steps = _steps(record)
    made = [drawn for draw in (_loss, _log_loss, _auroc, _rates, _speed) if (drawn := draw(record, steps)) is not None]
    for number, (_, chart) in enumerate(made):
        for step in record.resumed:
            chart.upright(step, name="" if number else "continued", words=f"continued at step {step:,}")
        if record.bad_step is not None:
            words = f"step {record.bad_step:,}: the loss was not finite"
            chart.upright(record.bad_step, "bad", name="" if number else "loss not finite", words=words)
    return made


def describe_training(record: TrainingRecord) -> str:
    """Describe how training went, in sentences."""
    said = [f"{record.step:,} optimizer step{'s'[: record.step != 1]}."]
    if len(record.validations):
        (best, step), last = best_validation(record), record.validations.rows[-1][0]
        said.append(f"AUROC on val: best {best:.6f} at step {step:,.0f}, last {last:.6f}.")
    if record.resumed:
        said.append(f"Continued from a checkpoint at step {', '.join(f'{step:,}' for step in record.resumed)}.")
    if record.bad_step is not None:
        said.append(f"The loss was not finite at step {record.bad_step:,}.")
    return " ".join(said)


def best_validation(record: TrainingRecord) -> tuple[float, float]:
    """Return the largest AUROC on val, and its step."""
    aurocs = record.validations.column(0)
    place = aurocs.index(max(aurocs))
    return aurocs[place], record.validations.steps[place]


def _steps(record: TrainingRecord) -> Scale:
    """The horizontal scale, from zero unless the curves begin late."""
    parts = (record.losses, record.speeds, record.rates, record.validations)
    steps = [step for part in parts for step in part.steps[:1] + part.steps[-1:]]
    late = min(steps, default=0.0) > 0.1 * max(record.step, 1)
    return Scale.linear([*steps, record.step], zero=not late, room=0.02, whole=True, form=lambda value: f"{value:,.0f}")


def _loss(record: TrainingRecord, steps: Scale) -> _Drawn | None:
    losses = record.losses.at_most(MOST_BINS)
    bins = list(losses)
    validations = record.validations if record.trains_log_loss else type(record.validations)()
    means, of_val = [bin.mean for bin in bins], validations.column(1)
    if not means and not of_val:
        return None
    chart = _chart(steps, Scale.linear([*means, *of_val], room=0.15), f"loss{_of(record)}")
    if bins:
        name, words = "train", "train: each batch"
        if losses.width > 1:
            name = f"train, means of {losses.width:,} batches"
            low, high = min(bin.low for bin in bins), max(bin.high for bin in bins)
            words = f"{name}; single batches {low:.4g} to {high:.4g}"
        _curve(chart, [bin.step for bin in bins], means, _TRAIN, name, words)
    if of_val:
        _curve(chart, validations.steps, of_val, _VAL, "val", "val: log loss of all rows")
    return _between("Training loss, and log loss on val", [*means, *of_val]), chart


def _log_loss(record: TrainingRecord, steps: Scale) -> _Drawn | None:
    if record.trains_log_loss or not len(record.validations):
        return None
    losses = record.validations.column(1)
    chart = _chart(steps, Scale.linear(losses, room=0.15), "log loss, val")
    _curve(chart, record.validations.steps, losses, _VAL, "", "val: log loss of all rows")
    return _between("Log loss on val", losses), chart


def _auroc(record: TrainingRecord, steps: Scale) -> _Drawn | None:
    if not len(record.validations):
        return None
    aurocs = record.validations.column(0)
    best, step = best_validation(record)
    low, high = min(aurocs), max(aurocs)
    more = max(0.0, (_LEAST_AUROCS - (high - low)) / 2)
    scale = Scale.linear([low - more, min(high + more, 1.0)], room=0.15)
    chart = _chart(steps, scale, f"AUROC, val; best {best:.4f} at step {step:,.0f}")
    _curve(chart, record.validations.steps, aurocs, _VAL, "", "val: AUROC of all rows")
    chart.point(step, best, "ink", shape="ring", size=6.0, words=f"best: {best:.6f} at step {step:,.0f}")
    return _between("AUROC on val", aurocs), chart


def _rates(record: TrainingRecord, steps: Scale) -> _Drawn | None:
    if not len(record.rates):
        return None
    rates = [rate for row in record.rates.rows for rate in row]
    chart = _chart(steps, Scale.linear(rates, zero=True, form=short), "learning rate")
    for place, name in enumerate(record.groups):
        named = name if len(record.groups) > 1 else ""
        points = zip(record.rates.steps, record.rates.column(place), strict=True)
        chart.line(points, SERIES[place % len(SERIES)], name=named, words=name, dashed=bool(place % 2))
    return _between("Learning rate", rates), chart


def _speed(record: TrainingRecord, steps: Scale) -> _Drawn | None:
    bins = list(record.speeds.at_most(MOST_BINS))
    if not bins:
        return None
    speeds = [bin.mean for bin in bins]
    words = [f"{record.rows_of_step:,} rows a step"] if record.rows_of_step else []
    if record.threads:
        words.append(f"{record.threads} thread{'s'[: record.threads != 1]}")
    if record.processes > 1:
        words.append(f"{record.processes} processes")
    label = f"samples/s ({', '.join(words)})" if words else "samples/s"
    chart = _chart(steps, Scale.linear(speeds, zero=True), label)
    low, high = min(bin.low for bin in bins), max(bin.high for bin in bins)
    _curve(chart, [bin.step for bin in bins], speeds, _TRAIN, "", f"from {low:,.0f} to {high:,.0f} samples/s")
    return _between("Samples per second", speeds), chart


def _between(what: str, values: Sequence[float]) -> str:
    return f"{what} over the optimizer steps, between {min(values):.6g} and {max(values):.6g}."


def _chart(steps: Scale, values: Scale, label: str) -> Chart:
    return Chart(steps, values, height=_HEIGHT, x_label="optimizer step", y_label=label)


def _curve(chart: Chart, steps: Sequence[float], values: Sequence[float], colour: str, name: str, words: str) -> None:
    chart.line(zip(steps, values, strict=True), colour, name=name, words=words)
    for step, value in zip(steps, values, strict=True) if len(steps) <= _FEW else ():
        chart.point(step, value, colour, size=2.2, words=f"step {step:,.0f}: {value:.6g}")


def _of(record: TrainingRecord) -> str:
    return f" ({record.loss})" if record.loss else ""

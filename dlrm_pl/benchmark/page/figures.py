"""Figures of a benchmark's page: bars for each cell, and lines over batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.page.sentence import cell_text, threads_text
from dlrm_pl.pages.colours import SERIES
from dlrm_pl.pages.figures.chart import Chart, figure
from dlrm_pl.pages.figures.marks import Shape
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale, short

_MOST = 3.0
"""An interval is drawn up to this many times the longest bar; on a busy machine it may be far longer."""


class Look(NamedTuple):
    """Appearance of a contender; compiled ones have the colour of their dtype with another marker."""

    colour: str
    shape: Shape


LOOKS = {
    "fp32": Look("fp32", "square"),
    "fp32_compiled": Look("fp32", "diamond"),
    "bf16": Look("third", "square"),
    "bf16_compiled": Look("third", "diamond"),
    "eager_int8": Look("second", "square"),
    "int8": Look("int8", "circle"),
    "onnxruntime_fp32": Look("fourth", "square"),
    "onnxruntime_int8_dynamic": Look("fourth", "diamond"),
    "onnxruntime_int8_static": Look("fourth", "ring"),
    "openvino_bf16": Look("fifth", "square"),
    "openvino_int8": Look("fifth", "diamond"),
    "openvino_int8_linears": Look("fifth", "ring"),
    "pt2e_int8": Look("second", "diamond"),
    "fbgemm_int8": Look("second", "ring"),
    "fbgemm_int4": Look("second", "cross"),
    "bf16_max_autotune": Look("third", "ring"),
}


def look_of(name: str, comparison: Comparison) -> Look:
    """Return the appearance of a contender; exported models take the remaining colours."""
    others = [other for other in comparison.labels if other not in LOOKS]
    left = [colour for colour in SERIES if colour not in ("first", "second", "third", "sixth")]
    return LOOKS[name] if name in LOOKS else Look(left[others.index(name) % len(left)], "cross")


def bar_scale(comparison: Comparison) -> Scale:
    """Return the scale of all bars, the same for each batch size and number of threads, from zero."""
    bars = [comparison.bar(timing, cell) for cell in comparison.cells for timing in cell.timings.values()]
    longest = max(value for value, _, _ in bars)
    most = min(_MOST * longest, max(high for _, _, high in bars))
    return Scale.linear([0.0, most], zero=True, room=0.0, form=short)


def cell_bars(comparison: Comparison, cell: Cell, scale: Scale) -> str:
    """Draw the contenders at one batch size and number of threads as bars from zero, with 95 % intervals."""
    rows = _rows(comparison, cell, scale)
    words = "; ".join(row.words for row in rows)
    others = [row for other in comparison.cells for row in _rows(comparison, other, scale)]
    label = f"{comparison.unit}, with 95% intervals"
    return named_bars(f"{words}.", rows, scale, label=label, beside=others)


def _rows(comparison: Comparison, cell: Cell, scale: Scale) -> list[NamedBars]:
    rows = []
    for name, timing in cell.timings.items():
        value, low, high = comparison.bar(timing, cell)
        end = min(high, scale.high)
        form = "{:,.0f}" if comparison.is_alone else "{:.2f}"
        text = f"{form.format(value)} ({form.format(low)} to {form.format(high)})"
        rows.append(
            NamedBars(
                comparison.labels[name],
                [Bar(value, look_of(name, comparison).colour, (low, end))],
                text=text,
                words=f"{comparison.labels[name]}, {cell_text(cell)}: {timing.samples_per_s:,.0f} samples per "
                f"second, {text} {comparison.unit}",
            )
        )
    return rows


def throughput(comparison: Comparison, cells: Sequence[Cell]) -> str:
    """Draw samples per second against batch size for one number of threads."""
    fastest = max(timing.samples_per_s for cell in cells for timing in cell.timings.values())
    chart = Chart(
        _batch_sizes(cells),
        Scale.linear([0.0, fastest], zero=True, form=short),
        x_label="batch size",
        y_label=f"samples per second, {threads_text(cells[0].threads)}",
    )
    for name, label in comparison.drawn.items():
        points = [(cell, cell.timings[name]) for cell in cells if name in cell.timings]
        colour, shape = look_of(name, comparison)
        chart.line([(cell.batch_size, timing.samples_per_s) for cell, timing in points], colour, words=label)
        for cell, timing in points:
            words = f"{label}, {cell_text(cell)}: {timing.samples_per_s:,.0f} samples per second"
            chart.point(cell.batch_size, timing.samples_per_s, colour, shape=shape, name=label, words=words)
    return figure(f"Samples per second by batch size, {threads_text(cells[0].threads)}.", [chart])


def latency(comparison: Comparison, cells: Sequence[Cell]) -> str:
    """Draw the median and the 99th percentile of the time per call for one number of threads."""
    times = [t for cell in cells for timing in cell.timings.values() for t in (timing.p50_ms, timing.p99_ms)]
    chart = Chart(
        _batch_sizes(cells),
        Scale.log(times, form=lambda value: f"{value:g}"),
        x_label="batch size",
        y_label=f"milliseconds for a call, {threads_text(cells[0].threads)}",
    )
    for name, label in comparison.drawn.items():
        points = [(cell, cell.timings[name]) for cell in cells if name in cell.timings]
        colour, shape = look_of(name, comparison)
        chart.line([(cell.batch_size, timing.p50_ms) for cell, timing in points], colour, words=f"{label}, median")
        chart.line(
            [(cell.batch_size, timing.p99_ms) for cell, timing in points],
            colour,
            width=1,
            dashed=True,
            words=f"{label}, 99th percentile",
        )
        for cell, timing in points:
            words = f"{label}, {cell_text(cell)}: median {timing.p50_ms:.3g} ms, p99 {timing.p99_ms:.3g} ms"
            chart.point(cell.batch_size, timing.p50_ms, colour, shape=shape, name=label, words=words)
    chart.legend.add("median", "line", "muted")
    chart.legend.add("99th percentile", "dashed", "muted")
    words = f"Time of a call by batch size, {threads_text(cells[0].threads)}, on logarithmic axes."
    return figure(words, [chart])


def _batch_sizes(cells: Sequence[Cell]) -> Scale:
    """Return a logarithmic scale whose ticks are the batch sizes."""
    sizes = [cell.batch_size for cell in cells]
    found = Scale.log(sizes)
    return Scale(found.low, found.high, tuple(map(float, sizes)), tuple(f"{size:,}" for size in sizes), True)

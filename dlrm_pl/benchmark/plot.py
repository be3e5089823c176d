"""The comparison as one SVG: a panel per number of threads, a group of bars per batch size."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from html import escape

from dlrm_pl.benchmark.comparison import Cell, Comparison, colour_of

_WIDTH, _PANEL, _PLOT = 960, 270, 190
_LEFT, _TOP = 64, 92
_MOST_OF_THE_BARS = 3.0
_STYLE = """
    text { fill: #222; font-size: 12px }
    .title { font-size: 17px }
    .small { fill: #555; font-size: 11px }
    .middle { text-anchor: middle }
    .end { text-anchor: end }
    .grid { stroke: #e2e2e2 }
    .axis { stroke: #888 }
    .whisker { stroke: #222; stroke-width: 1.2; fill: none }
"""


def render(comparison: Comparison, description: str) -> str:
    """Draw the comparison.

    Args:
        comparison: its bars are speed-ups over the baseline, or samples per second if there is a single contender.
        description: the machine and the rows, in one line.
    """
    threads = sorted({cell.threads for cell in comparison.cells})
    height = _TOP + _PANEL * len(threads)
    unit = comparison.unit
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif">',
        f"<title>DLRM inference, {unit}</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="20" y="28">DLRM inference, {unit}</text>',
    ]
    for number, line in enumerate(textwrap.wrap(description, 150)[:2]):
        lines.append(f'<text class="small" x="20" y="{46 + 14 * number}">{escape(line)}</text>')
    lines += _legend(comparison)
    for number, count in enumerate(threads):
        cells = [cell for cell in comparison.cells if cell.threads == count]
        lines += _panel(comparison, cells, _TOP + _PANEL * number, f"{count} thread{'s' * (count > 1)}")
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend(comparison: Comparison) -> Iterator[str]:
    x = 20.0
    for name, label in comparison.drawn.items():
        text = f"{label} (not available)" if label in comparison.unavailable else label
        yield f'<rect x="{x}" y="68" width="12" height="12" fill="{colour_of(name, comparison.drawn)}"/>'
        yield f'<text x="{x + 17}" y="78.5">{escape(text)}</text>'
        x += 40 + 7.3 * len(text)


def _panel(comparison: Comparison, cells: list[Cell], top: float, title: str) -> Iterator[str]:
    values = {
        cell.batch_size: {
            name: comparison.bar(cell.timings[name], cell) for name in comparison.drawn if name in cell.timings
        }
        for cell in cells
    }
    shown = [bar for bars in values.values() for bar in bars.values()]
    # On a busy machine, an interval may be so long that the bars would shrink to nothing; it is cut off and marked.
    highest = _MOST_OF_THE_BARS * max(value for value, _, _ in shown)
    step, ticks = _ticks(1.1 * min(highest, max(high for _, _, high in shown)))
    bottom = top + 36 + _PLOT
    scale = _PLOT / (step * ticks)
    yield f'<text x="20" y="{top + 18}">{title}</text>'
    for tick in range(ticks + 1):
        y = bottom - tick * step * scale
        yield f'<path class="{"grid" if tick else "axis"}" d="M{_LEFT} {y:.1f}H{_WIDTH - 20}"/>'
        yield f'<text class="small end" x="{_LEFT - 6}" y="{y + 4:.1f}">{_number(tick * step)}</text>'
    group = (_WIDTH - 20 - _LEFT) / len(cells)
    for number, (size, bars) in enumerate(values.items()):
        width = min(60, group * 0.84 / len(bars))
        center = _LEFT + group * (number + 0.5)
        left = center - width * len(bars) / 2
        yield f'<text class="middle" x="{center:.1f}" y="{bottom + 18}">batch {size:,}</text>'
        for place, (name, (value, low, high)) in enumerate(bars.items()):
            x, middle = left + place * width, left + (place + 0.5) * width
            y, y_low, y_high = (bottom - min(v, step * ticks) * scale for v in (value, low, high))
            yield (
                f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{bottom - y:.1f}" '
                f'fill="{colour_of(name, comparison.drawn)}"/>'
            )
            yield f'<path class="whisker" d="M{middle:.1f} {y_low:.1f}V{y_high:.1f}"/>'
            label = _number(value, 1)
            if high > step * ticks:
                yield f'<path class="whisker" d="M{middle - 3:.1f} {y_high + 5:.1f}l3 -5l3 5"/>'
                label += f" (to {_number(high)})"
            yield f'<text class="small middle" x="{middle:.1f}" y="{y_high - 4:.1f}">{label}</text>'


def _ticks(largest: float) -> tuple[float, int]:
    """Return a round step, and how many of them exceed the largest value: five to ten."""
    power: float = 10.0 ** math.floor(math.log10(largest / 4))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= largest / 4)
    return step, math.floor(largest / step) + 1


def _number(value: float, digits: int = 0) -> str:
    """Write a number with three digits at most: with ``digits`` decimals below 100, or with as few as it has."""
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e3:
        return f"{value / 1e3:.3g}k"
    return f"{value:.{digits}f}" if digits and value < 100 else f"{value:.3g}"

"""Draw a comparison with matplotlib, for a notebook; ``plot`` writes the SVG of a report without it."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlrm_pl.benchmark.compare import Cell, Comparison
from dlrm_pl.benchmark.plot import COLOURS, bar_value, is_alone, unit_of


def plot_comparison(figure: Figure, comparison: Comparison) -> list[Axes]:
    """Draw a panel for each number of threads and in it a group of bars for each batch size.

    Args:
        figure: empty figure to draw on.
        comparison: bars are speed-ups over the baseline, or samples a second where there is a single contender.

    Returns:
        The panels.
    """
    threads = sorted({cell.threads for cell in comparison.cells})
    panels: list[Axes] = list(figure.subplots(len(threads), squeeze=False)[:, 0])
    for axes, count in zip(panels, threads, strict=True):
        cells = [cell for cell in comparison.cells if cell.threads == count]
        for place, (name, label) in enumerate(comparison.labels.items()):
            _draw_contender(axes, cells, comparison, name, label, place)
        axes.set_title(f"{count} thread{'s' * (count > 1)}")
        axes.set_xticks(range(len(cells)), [f"batch {cell.batch_size:,}" for cell in cells])
        axes.set_ylabel(unit_of(comparison))
    panels[0].legend()
    return panels


def _draw_contender(axes: Axes, cells: list[Cell], comparison: Comparison, name: str, label: str, place: int) -> None:
    """Draw the bars of a contender, one in each group where it ran."""
    width = 0.84 / len(comparison.labels)
    for group, cell in enumerate(cells):
        if name in cell.timings:
            value, low, high = bar_value(cell.timings[name], cell, is_alone(comparison))
            x = group + (place - (len(comparison.labels) - 1) / 2) * width
            whisker = [[max(0.0, value - low)], [max(0.0, high - value)]]
            bars = axes.bar(x, value, width, yerr=whisker, color=COLOURS[name])
            if label not in axes.get_legend_handles_labels()[1]:
                bars.set_label(label)

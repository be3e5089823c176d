"""Result of a comparison: timings by contender, and a figure of them for notebooks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dlrm_pl.benchmark.timer import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INT8 = "int8"

COLOURS = {
    "fp32": "#c9c9c9",
    "fp32_compiled": "#9a9a9a",
    "bf16": "#b7cde9",
    "bf16_compiled": "#6f93c4",
    "eager_int8": "#d9bd7c",
    "int8": "#2f7d4f",
}
# The program's own six contenders and three exported models.
_MOST_DRAWN = 9
_OTHER_COLOURS = ("#a05a8c", "#3b8ea5", "#8a6d3b")


def colour_of(name: str, labels: dict[str, str]) -> str:
    """Return the colour of a contender; exported models and other programs take further ones, in their order."""
    others = [other for other in labels if other not in COLOURS]
    return COLOURS[name] if name in COLOURS else _OTHER_COLOURS[others.index(name) % len(_OTHER_COLOURS)]


@dataclass(frozen=True)
class Cell:
    """Timings at one batch size with one number of threads, by contender name."""

    threads: int
    batch_size: int
    timings: dict[str, Timing]


@dataclass(frozen=True)
class BestRival:
    """The fastest contender that does not serve the artifact, at one batch size and number of threads.

    Attributes:
        name: name of the contender.
        label: its label.
        times: how many times as fast the artifact is, computed from both contenders' ratios to the baseline.
    """

    name: str
    label: str
    times: float


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        labels: label of each contender, by name.
        unavailable: reason by label of each contender that could not run here.
        baseline: name of the contender that ratios refer to.
        sqnr_db: signal-to-noise ratio to the fp32 logits in dB, by name; empty if there is no float model.
        cells: timings, ordered by number of threads and then by batch size.
        rivals: names of the contenders that do not serve the artifact, whether they could run or not.
    """

    labels: dict[str, str]
    unavailable: dict[str, str]
    baseline: str
    sqnr_db: dict[str, float]
    cells: tuple[Cell, ...]
    rivals: tuple[str, ...] = ()

    def best_rival(self, cell: Cell) -> BestRival | None:
        """Return the fastest rival in a cell; None if the artifact ran alone."""
        ratios = {name: cell.timings[name].ratio for name in self.rivals if name in cell.timings}
        if not ratios or INT8 not in cell.timings:
            return None
        name = max(ratios, key=lambda rival: ratios[rival])
        return BestRival(name, self.labels[name], cell.timings[INT8].ratio / ratios[name])

    @property
    def drawn(self) -> dict[str, str]:
        """Labels of the contenders that a figure of all cells shows, by name.

        If there are too many for their bars to fit, these are the baseline, compiled bf16, the artifact, what was
        exported from it, and each rival that is the fastest in some cell.
        """
        if len(self.labels) <= _MOST_DRAWN:
            return self.labels
        fastest = {best.name for cell in self.cells if (best := self.best_rival(cell)) is not None}
        kept = {self.baseline, "bf16_compiled", *fastest}
        return {name: label for name, label in self.labels.items() if name in kept or name not in self.rivals}

    @property
    def is_alone(self) -> bool:
        """Whether only one contender ran, so that there is no ratio to show."""
        return len(self.labels) - len(set(self.unavailable) & set(self.labels.values())) == 1

    @property
    def unit(self) -> str:
        """Unit of the bars."""
        return "samples per second" if self.is_alone else f"times {self.labels[self.baseline]}"

    def bar(self, timing: Timing, cell: Cell) -> tuple[float, float, float]:
        """Return the height of a bar and the ends of its interval."""
        if not self.is_alone:
            return timing.ratio, *timing.ratio_interval
        low, high = timing.interval_ms
        return timing.samples_per_s, 1e3 * cell.batch_size / high, 1e3 * cell.batch_size / low

    def plot(self) -> tuple[Figure, list[Axes]]:
        """Draw speed-ups over the baseline, or samples per second if only one contender ran.

        Returns:
            The figure and its panels, one for each number of threads.
        """
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        return figure, _draw_panels(figure, self)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types; for equal logits the ratio to their error is infinite and becomes null."""
        values = asdict(self)
        for cell, stored in zip(self.cells, values["cells"], strict=True):
            best = self.best_rival(cell)
            stored["best_rival"] = None if best is None else asdict(best)
        values["sqnr_db"] = {name: None if db == float("inf") else db for name, db in self.sqnr_db.items()}
        return values


def _draw_panels(figure: Figure, comparison: Comparison) -> list[Axes]:
    """Draw a panel for each number of threads and in it a group of bars for each batch size."""
    threads = sorted({cell.threads for cell in comparison.cells})
    panels: list[Axes] = list(figure.subplots(len(threads), squeeze=False)[:, 0])
    for axes, count in zip(panels, threads, strict=True):
        cells = [cell for cell in comparison.cells if cell.threads == count]
        for place, (name, label) in enumerate(comparison.drawn.items()):
            _draw_contender(axes, cells, comparison, name, label, place)
        axes.set_title(f"{count} thread{'s' * (count > 1)}")
        axes.set_xticks(range(len(cells)), [f"batch {cell.batch_size:,}" for cell in cells])
        axes.set_ylabel(comparison.unit)
    panels[0].legend()
    return panels


def _draw_contender(axes: Axes, cells: list[Cell], comparison: Comparison, name: str, label: str, place: int) -> None:
    """Draw the bars of a contender, one in each group where it ran."""
    count = len(comparison.drawn)
    width = 0.84 / count
    for group, cell in enumerate(cells):
        if name in cell.timings:
            value, low, high = comparison.bar(cell.timings[name], cell)
            x = group + (place - (count - 1) / 2) * width
            whisker = [[max(0.0, value - low)], [max(0.0, high - value)]]
            bars = axes.bar(x, value, width, yerr=whisker, color=colour_of(name, comparison.drawn))
            if label not in axes.get_legend_handles_labels()[1]:
                bars.set_label(label)

"""Trials of a search as a picture: drop against size and, if known, against speed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dlrm_pl.quantization.search.trials.trial import Trial


class Colours(NamedTuple):
    """Colours of a picture, in matplotlib's format."""

    ink: str = "black"
    muted: str = "gray"
    good: str = "tab:green"
    bad: str = "tab:red"


def plot_trade_offs(
    figure: Figure, trials: Sequence[Trial], pareto: Collection[int], best: int, colours: Colours | None = None
) -> list[Axes]:
    """Draw trials by drop, size and speed; dominated trials are hollow.

    Args:
        figure: empty figure to draw on.
        trials: trials with a verdict, in order.
        pareto: numbers of the trials that no other trial dominates.
        best: number of the trial that was chosen.
        colours: colours to use; None: matplotlib's own.

    Returns:
        One panel for the size, and another for the speed if that of any trial is known.
    """
    colours = colours or Colours()
    labels = ["model size, MiB"]
    if any(trial.samples_per_s for trial in trials):
        labels.append("thousand samples/s")
    panels: list[Axes] = list(figure.subplots(len(labels), sharex=True, squeeze=False)[:, 0])
    for number, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        heights = [trial.samples_per_s / 1000 if number else trial.model_bytes / 2**20 for trial in trials]
        for trial, height in zip(trials, heights, strict=True):
            _draw_trial(axes, trial, height, trial.number in pareto, 0.8 if len(trials) < 30 else 0.0, colours)
            if trial.number == best:
                axes.plot(trial.drop, height, marker="o", markersize=12, fillstyle="none", color=colours.ink)
        last = trials[-1].verdict
        axes.axvline(last.tolerance if last else 0.0, color=colours.muted, linestyle="--", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0, 1.1 * max(heights) or 1)
        axes.set_ylabel(label)
    panels[-1].set_xlabel("drop of the score (right is worse), with its bounds")
    handles = [
        Line2D([], [], color=colours.good, marker="o", linestyle="", label="accepted"),
        Line2D([], [], color=colours.bad, marker="X", linestyle="", label="rejected"),
        Line2D([], [], color=colours.muted, marker="o", fillstyle="none", linestyle="", label="dominated"),
        Line2D([], [], color=colours.ink, marker="o", fillstyle="none", markersize=11, linestyle="", label="chosen"),
        Line2D([], [], color=colours.muted, linestyle="--", label="tolerance"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=0.5, handletextpad=0.0)
    return panels


def _draw_trial(axes: Axes, trial: Trial, height: float, in_front: bool, width: float, colours: Colours) -> None:
    assert trial.verdict is not None
    low, high = trial.drop - trial.verdict.low, trial.verdict.bound - trial.drop
    axes.errorbar(
        trial.drop,
        height,
        xerr=[[max(low, 0.0) if math.isfinite(low) else 0.0], [max(high, 0.0) if math.isfinite(high) else 0.0]],
        color=colours.good if trial.accepted else colours.bad,
        marker="o" if trial.accepted else "X",
        markersize=6,
        fillstyle="full" if in_front else "none",
        elinewidth=width,
    )

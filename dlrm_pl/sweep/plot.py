"""Picture of a sweep: AUROC by trial, during the trials, and by each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.sweep.comparison import Comparison
from dlrm_pl.sweep.entries import Choices, Entry
from dlrm_pl.sweep.search import value_text
from dlrm_pl.sweep.space import Space
from dlrm_pl.sweep.trial import Trial, best_of

_COMPLETE, _PRUNED, _FAILED, _BEST, _GIVEN = "tab:blue", "0.6", "tab:red", "tab:green", "black"
_FEWEST_COLUMNS = 3
_SPREAD = 0.25
"""Fraction of the distance between two choices over which their points are spread, so that equal points do not hide
each other."""


Limits = tuple[float, float] | None


class _Look(NamedTuple):
    """What all panels of points share."""

    limits: Limits
    best: Trial | None


def write_plot(
    path: Path, trials: Sequence[Trial], space: Space, validations: int, comparison: Comparison | None
) -> None:
    """Draw the trials to a PNG file.

    Args:
        path: file to write.
        trials: trials in order.
        space: search space of the sweep.
        validations: number of validations in a complete trial.
        comparison: training runs with other seeds, if there are any.
    """
    names = list(space.entries)
    columns = _FEWEST_COLUMNS if len(names) <= _FEWEST_COLUMNS or len(names) in (5, 6, 9) else _FEWEST_COLUMNS + 1
    rows = 1 + math.ceil(len(names) / columns)
    look = _Look(_limits(trials), best_of(trials))
    figure = Figure(figsize=(12.5, 0.6 + 3.4 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 2 * columns)
    _by_trial(figure.add_subplot(grid[0, :columns]), trials, look, comparison)
    _curves(figure.add_subplot(grid[0, columns:]), trials, validations)
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
        _by_setting(axes, trials, look, name, space.entries[name])
        axes.set_ylabel("" if column else "AUROC on val")
    figure.legend(handles=_handles(trials), loc="outside upper center", ncols=6)
    with atomic_file(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=110)


def _handles(trials: Sequence[Trial]) -> list[Line2D]:
    looks: list[tuple[str, dict[str, Any]]] = [
        ("complete", {"color": _COMPLETE, "marker": "o", "linestyle": ""}),
        ("pruned, on fewer rows", {"color": _PRUNED, "marker": "v", "linestyle": ""}),
    ]
    if any(trial.state == "failed" for trial in trials):
        looks.append(("failed", {"color": _FAILED, "marker": "x", "linestyle": ""}))
    looks += [
        ("best", {"color": _BEST, "marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": ""}),
        ("given settings", {"color": _GIVEN, "linestyle": "--"}),
    ]
    return [Line2D([], [], label=label, **look) for label, look in looks]


def _limits(trials: Sequence[Trial]) -> Limits:
    """Range of AUROC to show: it covers most of the complete trials; the worst may be far below it."""
    scores = sorted(trial.auroc for trial in trials if trial.state == "complete" and trial.auroc is not None)
    if not scores:
        return None
    low, high = scores[len(scores) // 5], scores[-1]
    room = max(high - low, 1e-4)
    return low - 0.6 * room, high + 0.15 * room


def _by_trial(axes: Axes, trials: Sequence[Trial], look: _Look, comparison: Comparison | None) -> None:
    _draw_points(axes, trials, look, [trial.number for trial in trials])
    best, so_far = -math.inf, []
    for trial in trials:
        if trial.state == "complete" and trial.auroc is not None:
            best = max(best, trial.auroc)
        so_far.append(best if best > -math.inf else math.nan)
    axes.step([trial.number for trial in trials], so_far, where="post", color=_BEST, linewidth=1)
    given = trials[0].auroc
    if given is not None and trials[0].state == "complete":
        axes.axhline(given, color=_GIVEN, linestyle="--", linewidth=1)
        if comparison is not None:
            axes.axhspan(given - comparison.noise, given + comparison.noise, color=_GIVEN, alpha=0.08, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel("AUROC on val")
    band = "; band: standard deviation between seeds" if comparison is not None else ""
    axes.set_title(f"by trial{band}", fontsize=10)


def _curves(axes: Axes, trials: Sequence[Trial], validations: int) -> None:
    best = best_of(trials)
    for trial in trials:
        if not trial.scores:
            continue
        chosen = best is not None and trial.number == best.number
        colour = _BEST if chosen else _GIVEN if trial.is_given else _COMPLETE if trial.state == "complete" else _PRUNED
        steps = sorted(trial.scores)
        axes.plot(
            [100 * step / validations for step in steps],
            [trial.scores[step] for step in steps],
            color=colour,
            linestyle="--" if trial.is_given and not chosen else "-",
            linewidth=2 if chosen else 1,
            alpha=1 if chosen or trial.is_given else 0.6,
            zorder=3 if chosen else 2,
            marker="v" if trial.state == "pruned" and len(steps) == 1 else None,
            markersize=4,
        )
    scores = sorted(score for trial in trials for score in trial.scores.values())
    if scores:
        low, high = scores[len(scores) // 10], scores[-1]
        room = max(high - low, 1e-4)
        axes.set_ylim(low - 0.1 * room, high + 0.1 * room)
    axes.set_xlim(0, 102)
    axes.set_xlabel("share of the rows of a trial, %")
    axes.set_ylabel("AUROC on val")
    axes.set_title("during the trials", fontsize=10)


def _by_setting(axes: Axes, trials: Sequence[Trial], look: _Look, name: str, entry: Entry) -> None:
    shown = [trial for trial in trials if name in trial.values]
    if isinstance(entry, Choices):
        options = entry.values()
        options += [trial.values[name] for trial in shown if trial.values[name] not in options][:1]  # The given one.
        places = [float(options.index(trial.values[name])) for trial in shown]
        spread = _SPREAD / max(1, len(shown) - 1)
        places = [place + (number * spread - _SPREAD / 2) for number, place in enumerate(places)]
        labels = [value_text(option) for option in options]
        long = sum(map(len, labels)) > 25
        axes.set_xticks(range(len(options)), labels, rotation=20 if long else 0, ha="right" if long else "center")
        axes.set_xlim(-0.5, len(options) - 0.5)
    else:
        places = [float(trial.values[name]) for trial in shown]
        if entry.log:
            axes.set_xscale("log")
    _draw_points(axes, shown, look, places)
    axes.set_xlabel(name)


def _draw_points(axes: Axes, trials: Sequence[Trial], look: _Look, places: Sequence[float]) -> None:
    if look.limits is not None:
        axes.set_ylim(*look.limits)
    bottom = axes.get_ylim()[0]
    for trial, place in zip(trials, places, strict=True):
        if trial.auroc is None or trial.state == "failed":
            axes.plot(place, 0.02, "x", color=_FAILED, transform=axes.get_xaxis_transform(), clip_on=False)
            continue
        colour, marker = (_COMPLETE, "o") if trial.state == "complete" else (_PRUNED, "v")
        # Points below the visible range are drawn at its lower edge.
        height = max(trial.auroc, bottom)
        axes.plot(place, height, marker, color=colour, markersize=5, clip_on=False, zorder=3)
        if trial.is_given:
            axes.plot(place, height, "o", color=_GIVEN, markersize=9, fillstyle="none", clip_on=False, zorder=4)
        if look.best is not None and trial.number == look.best.number:
            axes.plot(place, height, "o", color=_BEST, markersize=11, fillstyle="none", clip_on=False, zorder=4)

"""A search on the terminal: a table of trials that grows while it runs, and a bar while tables are packed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from dlrm_pl.quantization.judging.criterion import Verdict
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.quantization.search.tune import TRIALS_LOGGER

# Of the last trials; a hundred of them are more than a screen has lines.
_SHOWN = 12
# Ops of a dtype that are listed by name.
_NAMED = 4
# Columns of a terminal from which all numbers have room beside the recipe.
_WIDE = 120


class SearchDisplay(TuningListener):
    """What is drawn on a terminal; does nothing on anything else, where each trial is a line of the log instead.

    Use it as a context: ``with SearchDisplay(console, total) as display``.

    Args:
        console: to draw on, of stderr: stdout is for results.
        float_bytes: of the tables that are packed, the length of the bar.
    """

    def __init__(self, console: Console, float_bytes: int) -> None:
        self._console = console
        self._trials: list[Trial] = []
        self._running: tuple[int, Recipe] | None = None
        self._look: Verdict | None = None
        self._title = ""
        self._best: Trial | None = None
        columns = (
            *(TextColumn("pack tables"), BarColumn(), DownloadColumn()),
            *(TransferSpeedColumn(), TimeRemainingColumn()),
        )
        self._bar = Progress(*columns, console=console)
        self._packing = self._bar.add_task("", total=float_bytes, visible=False)
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=4,
            vertical_overflow="crop",
            redirect_stdout=False,
        )

    def __enter__(self) -> SearchDisplay:
        """Nothing is drawn before there is something to tell."""
        self._restore = _silent_trials(self._console.is_terminal)
        self._restore.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        """What stands on the terminal stays there."""
        self._bar.update(self._packing, visible=False)
        self._live.stop()
        self._restore.__exit__(None, None, None)

    def packed(self, size_bytes: int) -> None:
        """So many more bytes of float tables were read and packed; a search that packs some again starts it anew."""
        if not self._console.is_terminal:
            return
        self._start()
        if self._bar.tasks[0].finished:
            self._bar.reset(self._packing)
        self._bar.update(self._packing, advance=size_bytes, visible=True)
        if self._bar.tasks[0].finished:
            self._bar.update(self._packing, visible=False)

    def on_baseline(self, baseline: Scores, tolerance: float) -> None:
        """The head of the table."""
        self._title = f"search: fp32 {baseline.value:.6f}, tolerated drop {tolerance:.6f}"
        self._start()

    def on_trial_start(self, number: int, recipe: Recipe) -> None:
        """A line for the trial that runs."""
        self._running, self._look = (number, recipe), None

    def on_look(self, number: int, verdict: Verdict) -> None:
        """The rows that it has read so far, and the drop on them."""
        self._look = verdict

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """Its line becomes final."""
        self._trials.append(trial)
        self._running = self._look = None

    def on_stop(self, best: Trial | None, reason: str) -> None:
        """Mark what was chosen; a trial that was interrupted is none."""
        self._best = best
        self._running = self._look = None
        self._title = f"{self._title}; stopped, {reason}"

    def _start(self) -> None:
        if self._console.is_terminal and not self._live.is_started:
            self._live.start()

    def _draw(self) -> Group:
        parts: list[Table | Progress] = []
        if self._trials or self._running:
            parts.append(self.table())
        if self._bar.tasks[0].visible:
            parts.append(self._bar)
        return Group(*parts)

    def table(self) -> Table:
        """The trials so far; of many, the last ones and the best."""
        table = Table(title=self._title, title_justify="left", expand=True)
        for name, width in self._numbers.items():
            table.add_column(name, justify="right", no_wrap=True, min_width=width)
        table.add_column("verdict", no_wrap=True, min_width=8)
        table.add_column("recipe", overflow="ellipsis", no_wrap=True, ratio=1)
        hidden = self._trials[:-_SHOWN]
        if hidden:
            table.add_row("...", *[""] * len(self._numbers), f"{len(hidden)} earlier trials")
        shown = self._trials[-_SHOWN:]
        if self._best is not None and self._best.number not in [trial.number for trial in shown]:
            shown = [self._best, *shown]
        for trial in shown:
            table.add_row(*self._cells_of(trial))
        if self._running is not None:
            number, recipe = self._running
            values = {} if self._look is None else _numbers(self._look)
            table.add_row(*self._cells(number, values, Text("running", style="cyan"), self._words(recipe)))
        return table

    @property
    def _numbers(self) -> dict[str, int]:
        """Columns of numbers and their widths; a narrow terminal leaves out what it can best do without."""
        columns = {"trial": 5, "drop": 9, "at most": 9, "rows": 10, "MiB": 9, "samples/s": 9}
        left_out = ("samples/s", "at most") if self._console.width < _WIDE else ()
        return {name: width for name, width in columns.items() if name not in left_out}

    def _cells_of(self, trial: Trial) -> list[str | Text]:
        if trial.verdict is None:
            return self._cells(trial.number, {}, Text("failed", style="red"), trial.error)
        word, style = ("accepted", "green") if trial.accepted else ("rejected", "yellow")
        if self._best is not None and trial.number == self._best.number:
            word, style = ("chosen" if trial.accepted else "best"), f"bold {style}"
        values = _numbers(trial.verdict) | {"MiB": f"{trial.model_bytes / 2**20:,.2f}"}
        if trial.samples_per_s:
            values["samples/s"] = f"{trial.samples_per_s:,.0f}"
        return self._cells(trial.number, values, Text(word, style=style), self._words(trial.recipe))

    def _words(self, recipe: Recipe) -> str:
        """The first recipe whole, others by what they do not share with it: a terminal has no room for more."""
        first = self._trials[0].recipe if self._trials else recipe
        return recipe.describe() if recipe == first else f"but {_difference(first, recipe)}"

    def _cells(self, number: int, values: dict[str, str], word: Text, recipe: str) -> list[str | Text]:
        """A line; as Text, so that no markup is read in a recipe or an error."""
        numbers = {"trial": str(number)} | values
        return [*(numbers.get(name, "") for name in self._numbers), word, Text(recipe)]


def _difference(first: Recipe, recipe: Recipe) -> str:
    """What the second has that the first has not."""
    changed: dict[str, list[str]] = {}
    for op, dtype in recipe.ops.items():
        if first.ops[op] != dtype:
            changed.setdefault(dtype, []).append(op)
    words = [f"{dtype} {', '.join(ops) if len(ops) <= _NAMED else f'{len(ops)} ops'}" for dtype, ops in changed.items()]
    for name in ("observer", "activation_scheme", "weight_granularity"):
        if getattr(first, name) != getattr(recipe, name):
            words.append(getattr(recipe, name))
    return "; ".join(words)


def _numbers(verdict: Verdict) -> dict[str, str]:
    rows = {"rows": f"{verdict.rows:,}"} if verdict.rows else {}
    return {"drop": f"{verdict.drop:+.6f}", "at most": f"{verdict.bound:+.6f}"} | rows


@contextmanager
def _silent_trials(drawn: bool) -> Iterator[None]:
    """Where the table is drawn, its lines are not logged as well, and other lines of the log go above it."""
    if not drawn:
        yield
        return
    trials = logging.getLogger(TRIALS_LOGGER)
    handlers = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    for handler in handlers:
        if handler.stream is sys.stderr:
            moved.append((handler, handler.stream))
            handler.setStream(cast(TextIO, _CurrentStderr()))
    before, trials.disabled = trials.disabled, True
    try:
        yield
    finally:
        trials.disabled = before
        for handler, stream in moved:
            handler.setStream(stream)


class _CurrentStderr:
    """Writes to what ``sys.stderr`` is at the time: a live display puts itself in its place."""

    def write(self, text: str) -> int:
        """As a file's."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """As a file's."""
        sys.stderr.flush()

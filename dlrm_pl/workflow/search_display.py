"""Display of a search on a terminal: a table of trials, and a progress bar while tables are packed."""

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
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import TRIALS_LOGGER

# Number of trials shown, the most recent ones: a hundred would not fit on a screen.
_TRIALS_SHOWN = 12
# Up to this many ops of a dtype are listed by name.
_OPS_NAMED = 4
# Terminals of at least this width have room for all numbers and the recipe.
_WIDE = 120


class SearchDisplay(TuningListener):
    """Draws a search on a terminal; elsewhere it draws nothing, and each trial is a log line instead.

    Use it as a context manager: ``with SearchDisplay(console, total) as display``.

    Args:
        console: console of stderr to draw on, since stdout is for results.
        float_bytes: bytes of the float tables that are packed, which is the length of the progress bar.
    """

    def __init__(self, console: Console, float_bytes: int) -> None:
        self._console = console
        self._trials: list[Trial] = []
        self._running: tuple[int, Recipe] | None = None
        self._look: Verdict | None = None
        self._title = ""
        self._best: Trial | None = None
        self._bar = Progress(
            TextColumn("pack tables"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._packing = self._bar.add_task("", total=float_bytes, visible=False)
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=4,
            vertical_overflow="crop",
            redirect_stdout=False,
        )

    def __enter__(self) -> SearchDisplay:
        """Silence the log lines of trials; drawing begins with the first event."""
        self._restore = _silent_trials(self._console.is_terminal)
        self._restore.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        """Stop drawing; the table stays on the terminal."""
        self._bar.update(self._packing, visible=False)
        self._live.stop()
        self._restore.__exit__(None, None, None)

    def packed(self, size_bytes: int) -> None:
        """Advance the bar by a number of packed bytes; it restarts if tables are packed a second time."""
        if not self._console.is_terminal:
            return
        self._start()
        if self._bar.tasks[0].finished:
            self._bar.reset(self._packing)
        self._bar.update(self._packing, advance=size_bytes, visible=True)
        if self._bar.tasks[0].finished:
            self._bar.update(self._packing, visible=False)

    def on_baseline(self, baseline: Scores, tolerance: float) -> None:
        """Show the title of the table."""
        self._title = f"search: fp32 {baseline.value:.6f}, tolerated drop {tolerance:.6f}"
        self._start()

    def on_trial_start(self, number: int, recipe: Recipe) -> None:
        """Add a row for the running trial."""
        self._running = (number, recipe)
        self._look = None

    def on_look(self, number: int, verdict: Verdict) -> None:
        """Show the rows read so far and the drop on them."""
        self._look = verdict

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """Replace the row of the running trial by its final one."""
        self._trials.append(trial)
        self._running = self._look = None

    def on_stop(self, best: Trial | None, reason: str) -> None:
        """Mark the chosen trial, and drop the row of a trial that was interrupted."""
        self._best = best
        self._running = self._look = None
        self._title = f"{self._title}; stopped: {reason}"

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
        """Make the table of the trials so far; if they are many, of the latest ones and the best."""
        table = Table(title=self._title, title_justify="left", expand=True)
        for name, width in self._numbers.items():
            table.add_column(name, justify="right", no_wrap=True, min_width=width)
        table.add_column("verdict", no_wrap=True, min_width=8)
        table.add_column("recipe", overflow="ellipsis", no_wrap=True, ratio=1)
        hidden = self._trials[:-_TRIALS_SHOWN]
        if hidden:
            table.add_row("...", *[""] * len(self._numbers), f"{len(hidden)} earlier trials")
        shown = self._trials[-_TRIALS_SHOWN:]
        if self._best is not None and self._best.number not in [trial.number for trial in shown]:
            shown = [self._best, *shown]
        for trial in shown:
            table.add_row(*self._cells_of(trial))
        if self._running is not None:
            number, recipe = self._running
            values = {} if self._look is None else _numbers(self._look)
            table.add_row(*self._cells(number, values, Text("running", style="cyan"), self._describe(recipe)))
        return table

    @property
    def _numbers(self) -> dict[str, int]:
        """Columns of numbers and their widths; a narrow terminal has fewer of them."""
        columns = {"trial": 5, "drop": 9, "at most": 9, "rows": 10, "MiB": 9, "samples/s": 9}
        left_out = ("samples/s", "at most") if self._console.width < _WIDE else ()
        return {name: width for name, width in columns.items() if name not in left_out}

    def _cells_of(self, trial: Trial) -> list[str | Text]:
        if trial.verdict is None:
            return self._cells(trial.number, {}, Text("failed", style="red"), trial.error)
        state, style = ("accepted", "green") if trial.accepted else ("rejected", "yellow")
        if self._best is not None and trial.number == self._best.number:
            state, style = ("chosen" if trial.accepted else "best"), f"bold {style}"
        values = _numbers(trial.verdict) | {"MiB": f"{trial.model_bytes / 2**20:,.2f}"}
        if trial.samples_per_s:
            values["samples/s"] = f"{trial.samples_per_s:,.0f}"
        return self._cells(trial.number, values, Text(state, style=style), self._describe(trial.recipe))

    def _describe(self, recipe: Recipe) -> str:
        """Describe the first recipe in full, and others by how they differ from it: a terminal has no room for more."""
        first = self._trials[0].recipe if self._trials else recipe
        return recipe.describe() if recipe == first else f"but {_difference(first, recipe)}"

    def _cells(self, number: int, values: dict[str, str], state: Text, recipe: str) -> list[str | Text]:
        """Make the cells of a row, as Text, so that a recipe or an error is not parsed as markup."""
        numbers = {"trial": str(number)} | values
        return [*(numbers.get(name, "") for name in self._numbers), state, Text(recipe)]


def _difference(first: Recipe, recipe: Recipe) -> str:
    """Describe what differs in the second recipe."""
    changed: dict[str, list[str]] = {}
    for op, dtype in recipe.ops.items():
        if first.ops[op] != dtype:
            changed.setdefault(dtype, []).append(op)
    parts = [
        f"{dtype} {', '.join(ops) if len(ops) <= _OPS_NAMED else f'{len(ops)} ops'}" for dtype, ops in changed.items()
    ]
    for name in ("observer", "activation_scheme", "weight_granularity"):
        if getattr(first, name) != getattr(recipe, name):
            parts.append(getattr(recipe, name))
    return "; ".join(parts)


def _numbers(verdict: Verdict) -> dict[str, str]:
    """Cells of a verdict, by column."""
    rows = {"rows": f"{verdict.rows:,}"} if verdict.rows else {}
    return {"drop": f"{verdict.drop:+.6f}", "at most": f"{verdict.bound:+.6f}"} | rows


@contextmanager
def _silent_trials(drawn: bool) -> Iterator[None]:
    """While the table is drawn, do not log its trials, and print other log lines above it."""
    if not drawn:
        yield
        return
    trials = logging.getLogger(TRIALS_LOGGER)
    handlers = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    redirected: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    for handler in handlers:
        if handler.stream is sys.stderr:
            redirected.append((handler, handler.stream))
            handler.setStream(cast(TextIO, _CurrentStderr()))
    was_disabled = trials.disabled
    trials.disabled = True
    try:
        yield
    finally:
        trials.disabled = was_disabled
        for handler, stream in redirected:
            handler.setStream(stream)


class _CurrentStderr:
    """Writes to the current ``sys.stderr``, which a live display replaces by itself."""

    def write(self, text: str) -> int:
        """Write text."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        sys.stderr.flush()

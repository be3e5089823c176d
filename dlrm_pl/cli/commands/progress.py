"""Show the progress of commands on standard error: bars on a terminal, a line now and then elsewhere.

This way, the log of a batch job shows how far the job is, without loading the library that draws bars. With `--quiet`,
nothing is shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dlrm_pl.program import is_quiet

LINE_EVERY_S = 10.0
"""Seconds between two lines without a terminal; a command that takes less time shows no progress."""


class _Lines:
    """Print lines of text, some seconds apart."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, text: Callable[[], str]) -> None:
        """Print a line, if it is time for one."""
        if time.monotonic() - self._last >= LINE_EVERY_S and not is_quiet():
            print(text(), file=sys.stderr, flush=True)
            self._last = time.monotonic()


def _counting_lines(what: str, total: int | None, unit: str) -> Callable[[int], None]:
    lines, done = _Lines(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        share = f" of {total:,}" if total else ""
        lines.say(lambda: f"{what}: {done:,}{share} {unit}")

    return advance


@contextmanager
def status(first: str) -> Iterator[Callable[[str], None]]:
    """Show in words what is being done; yields the function that changes them."""
    if is_quiet() or not sys.stderr.isatty():
        lines = _Lines()
        yield lambda text: lines.say(lambda: text)
        return
    from rich.console import Console

    with Console(stderr=True).status(first) as shown:
        yield shown.update


@contextmanager
def rows_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of rows; yields the function that advances it."""
    if is_quiet() or not sys.stderr.isatty():
        yield _counting_lines(what, total, "rows")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def bytes_bar(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of bytes, with the speed; yields the function that advances it."""
    if is_quiet() or not sys.stderr.isatty():
        yield _counting_lines(what, total, "bytes")
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


@contextmanager
def stages_bar() -> Iterator[Callable[[str, float, int], None]]:
    """Show a progress bar for each stage, with rows per second and time left; yields the function that advances it."""
    if is_quiet() or not sys.stderr.isatty():
        lines = _Lines()
        yield lambda stage, share, rows: lines.say(lambda: f"{stage}: {share:.0%}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, tuple[TaskID, float]] = {}
        rows_of: dict[str, int] = {}

        def advance(stage: str, share: float, rows: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0, speed=""), time.monotonic()
            task, began = tasks[stage]
            rows_of[stage] = rows_of.get(stage, 0) + rows
            seconds = time.monotonic() - began
            speed = f"{rows_of[stage] / seconds:,.0f} rows/s" if rows_of[stage] and seconds > 0.5 else ""
            bar.update(task, completed=share, speed=speed)

        yield advance

"""Progress bars on the error output, of those commands that take a while.

Nowhere but on a terminal: a batch job need not wait for what draws them to be loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def rows_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar of rows on the error output; yields the function that advances it."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def bytes_bar(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar of bytes on the error output, with the speed; yields the function that advances it."""
    if not sys.stderr.isatty():
        yield lambda size: None
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
    """A progress bar of stages on the error output, with rows a second and the time left."""
    if not sys.stderr.isatty():
        yield lambda stage, share, rows: None
        return
    import time

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

"""Output of a sweep at its end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from dlrm_pl.sweep.comparison import Comparison
from dlrm_pl.sweep.search import values_text
from dlrm_pl.sweep.trial import Trial

_SHOWN = 10


def print_summary(console: Console, trials: Sequence[Trial], comparison: Comparison | None, written: str) -> None:
    """Print the best trials next to the given settings, the noise between seeds, and the files.

    Args:
        console: console to print to.
        trials: trials in order.
        comparison: training runs with other seeds, if there are any.
        written: names of the written files.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    ranked = sorted(complete, key=lambda trial: -(trial.auroc or 0.0))
    shown = ranked[:_SHOWN]
    shown += [trial for trial in complete if trial.is_given and trial not in shown]
    table = Table(title=f"AUROC on val of {'all' if len(ranked) <= _SHOWN else 'the best'} complete trials")
    table.add_column("trial", justify="right")
    table.add_column("AUROC", justify="right")
    table.add_column("settings", overflow="fold")
    for trial in shown:
        text = values_text(trial.values)
        table.add_row(str(trial.number), f"{trial.auroc:.4f}", f"as given: {text}" if trial.is_given else text)
    console.print(table, highlight=False)
    counts = {state: sum(trial.state == state for trial in trials) for state in ("pruned", "failed")}
    others = " and ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(
        f"{len(complete)} of {len(trials)} trials complete{f', {others}' if others else ''}.", highlight=False
    )
    console.print(
        str(comparison)
        if comparison is not None
        else "It is not known how much of the gain is noise between seeds. Give --repeats 2 or more.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(written, highlight=False, soft_wrap=True)

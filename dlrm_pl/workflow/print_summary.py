"""The summary of a quantization on the console."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dlrm_pl.artifact.manifest import REPORT_NAME
from dlrm_pl.artifact.summary import comparison, drop_line, slice_line, verdict_line
from dlrm_pl.artifact.writing.outcome import Outcome


def print_summary(outcome: Outcome, console: Console, known_of_fp32: Collection[str] = ()) -> None:
    """Print how the int8 model compares with fp32, its verdict, and where the artifact is.

    Args:
        outcome: result of the quantization.
        console: console to print to.
        known_of_fp32: kinds of warnings about the fp32 model that the same command has already given.
    """
    table = Table(title="fp32 beside int8, on the certification rows")
    table.add_column("")
    for column in ("fp32", "int8", "difference"):
        table.add_column(column, justify="right")
    for row in comparison(outcome.manifest, outcome.certificate):
        table.add_row(*row)
    console.print(table)
    console.print(drop_line(outcome.certificate), soft_wrap=True)
    if line := slice_line(outcome.certificate):
        console.print(line, soft_wrap=True)
    best = outcome.tuning.best
    how = "kept" if best.unscored else f"trial {best.number} of {len(outcome.tuning.trials)}"
    console.print(f"recipe: {best.recipe.describe()} ({how})", soft_wrap=True)
    console.print(verdict_line(outcome.certificate), soft_wrap=True)
    if not outcome.certificate.accepted:
        console.print(f"reason: {outcome.certificate.reason}", soft_wrap=True)
    console.print(f"artifact: {outcome.path}; report: {outcome.path / REPORT_NAME}", soft_wrap=True)
    for warning in outcome.certificate.warnings_but(known_of_fp32):
        console.print(f"[bold red]warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)

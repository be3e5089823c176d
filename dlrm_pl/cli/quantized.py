"""Report of `quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlrm_pl.cli.output import Report

if TYPE_CHECKING:
    from dlrm_pl.artifact.writing.outcome import Outcome


def quantized_report(outcome: Outcome) -> Report:
    """Return the report on what was made."""

    def show() -> None:
        from rich.console import Console

        from dlrm_pl.workflow.print_summary import print_summary

        print_summary(outcome, Console())

    return Report(data_of(outcome), show)


def data_of(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a quantization, for JSON."""
    certificate = outcome.certificate
    return {"output": outcome.path, "outcome": certificate.outcome, "certificate": certificate}

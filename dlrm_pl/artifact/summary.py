"""Result of a quantization as a table and a few lines: fp32 and int8, drop, guards, outcome."""

from __future__ import annotations

import math

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import RESULTS, describe_drop, share
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES

Row = tuple[str, str, str, str]


def comparison(manifest: Manifest, certificate: Certificate) -> list[Row]:
    """Return rows of (quantity, fp32, int8, difference), ready to print."""
    fp32, int8 = certificate.fp32, certificate.int8
    rows = [
        _metric("AUROC", fp32["auroc"], int8["auroc"], 6),
        _metric("log loss", fp32["log_loss"], int8["log_loss"], 6),
        _metric("normalized entropy", fp32["normalized_entropy"], int8["normalized_entropy"], 6),
        _metric("calibration ratio", fp32["calibration_ratio"], int8["calibration_ratio"], 4),
        (
            "model bytes",
            f"{manifest.fp32_bytes:,}",
            f"{manifest.int8_bytes:,}",
            f"{manifest.int8_bytes / manifest.fp32_bytes:.1%}",
        ),
        (
            "samples per second",
            _known(fp32["samples_per_s"], ",.0f"),
            _known(int8["samples_per_s"], ",.0f"),
            _known(int8["samples_per_s"] / fp32["samples_per_s"], ".2f", "x"),
        ),
    ]
    if certificate.best_possible_auroc is not None:
        rows.append(("best possible AUROC", f"{certificate.best_possible_auroc:.6f}", "", ""))
    return rows


def drop_line(certificate: Certificate) -> str:
    """Return the AUROC drop with the bound that decides, its tolerance and the result, in one line."""
    if not certificate.rows:
        return "AUROC drop unknown: the certification rows could not be scored"
    drop = describe_drop(certificate)
    if not certificate.bound_method and certificate.auroc_drop_interval is not None:  # A certificate of format 2.
        low, high = (share(certificate, end) for end in certificate.auroc_drop_interval)
        drop += f" ({certificate.confidence:.0%} interval {low} to {high})"
    return f"{drop}; on {certificate.rows:,} test rows with {certificate.positives:,} clicks"


def guards_line(certificate: Certificate) -> str:
    """Return the guards, each with its change, tolerance and result, in one line."""
    if not certificate.guards:
        return "guards: unknown"
    texts = []
    for guard in certificate.guards:
        result = "not judged"
        if guard.tolerance is not None:
            result = f"tolerance {guard.tolerance:.2%}: {RESULTS[guard.passed]}"
        texts.append(f"{guard.title} {describe_change(guard.change, 4)} ({result})")
    return f"guards: {', '.join(texts)}"


def slice_line(certificate: Certificate) -> str:
    """Return the worst slice of the certification rows in one line; "" if no column was named."""
    stated = certificate.worst_slice
    if stated is None:
        return ""
    worst = stated.worst
    limit = f"tolerance {stated.guard.tolerance:.2%}: {RESULTS[stated.passed]}"
    too_small = f", {stated.too_small} too small" if stated.too_small else ""
    if worst is None:
        return f"worst slice of {stated.column}: unknown, no slice is large enough to judge{too_small}; {limit}"
    most = ""
    if stated.at_most is not None:
        most = f", at most {stated.at_most:.4%} in any slice with {certificate.confidence:.0%} confidence"
    return (
        f"worst slice of {stated.column}: {worst.value}, {SCORE_NAMES[stated.guard.score]} {worst.fp32:.6f} -> "
        f"{worst.int8:.6f}, drop {worst.drop:.4%} (relative){most}; {limit}; on {worst.rows:,} test rows with "
        f"{worst.clicks:,} clicks, {stated.judged} slice{'s'[: stated.judged != 1]} judged{too_small}"
    )


def verdict_line(certificate: Certificate) -> str:
    """Return the outcome in one line; if it is undecided, with the number of rows that would decide it."""
    if certificate.outcome != "undecided":
        return certificate.outcome.replace("not", "NOT")
    needed = certificate.rows_needed
    more = "" if needed is None else f"; about {needed:,} would decide"
    return f"UNDECIDED: {certificate.rows:,} test rows are too few to decide{more}"


def _metric(name: str, fp32: float, int8: float, digits: int) -> Row:
    return name, _known(fp32, f".{digits}f"), _known(int8, f".{digits}f"), _known(int8 - fp32, f"+.{digits}f")


def _known(value: float, form: str, unit: str = "") -> str:
    return "unknown" if math.isnan(value) else f"{value:{form}}{unit}"

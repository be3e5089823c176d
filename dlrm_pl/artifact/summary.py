"""The one table at the end of a quantization: fp32 beside int8."""

from __future__ import annotations

import math

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import bound_words, drop_passed, share
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices import SCORE_NAMES

Row = tuple[str, str, str, str]


def comparison(manifest: Manifest, certificate: Certificate) -> list[Row]:
    """Rows of (what, fp32, int8, difference), ready to print."""
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
    """The AUROC drop with the bound that decides, its tolerance and what follows, in one line."""
    if not certificate.rows:
        return "relative AUROC drop unknown: the certification rows could not be scored"
    where = f"on {certificate.rows:,} rows of test with {certificate.positives:,} clicks"
    drop = f"relative AUROC drop {share(certificate, certificate.auroc_drop)}"
    if certificate.bound_method:
        drop = f"relative AUROC drop {bound_words(certificate)}"
    elif certificate.auroc_drop_interval is not None:
        low, high = (share(certificate, end) for end in certificate.auroc_drop_interval)
        drop += f" ({certificate.confidence:.0%} interval {low} to {high})"
    if certificate.score != "AUROC":  # A tolerance of another score is none of AUROC.
        return f"{drop}; not judged, trials by {certificate.score}; {where}"
    by = ", by the drop itself" if certificate.judged_by == "estimate" else ""
    limit = f"tolerance {share(certificate, certificate.tolerance)}"
    return f"{drop}; {limit}: {_WORDS[drop_passed(certificate)]}{by}; {where}"


def guards_line(certificate: Certificate) -> str:
    """The guards, each with its change and its tolerance, in one line."""
    if not certificate.guards:
        return "guards: unknown"
    words = []
    for guard in certificate.guards:
        limit = "not judged" if guard.tolerance is None else f"tolerance {guard.tolerance:.2%}"
        words.append(f"{guard.title} {describe_change(guard.change, 4)} ({limit}{_MARKS[guard.passed]})")
    return f"guards: {', '.join(words)}"


def slice_line(certificate: Certificate) -> str:
    """The worst slice of the certification rows in one line; "" where no column was named."""
    stated = certificate.worst_slice
    if stated is None:
        return ""
    worst, tolerance = stated.worst, f"tolerance {stated.guard.tolerance:.2%}"
    small = f", {stated.too_small} too small to judge" if stated.too_small else ""
    word = _WORDS[stated.passed]
    if worst is None:
        return f"worst slice of {stated.column}: unknown, none can be judged{small} ({tolerance}: {word})"
    most = ""
    if stated.at_most is not None:
        most = f"at most {stated.at_most:.4%} in any with {certificate.confidence:.0%} confidence; "
    return (
        f"worst slice of {stated.column}: {worst.value}, {worst.rows:,} rows of test with {worst.clicks:,} clicks, "
        f"{SCORE_NAMES[stated.guard.score]} {worst.fp32:.6f} -> {worst.int8:.6f}, drop {worst.drop:+.4%} relative "
        f"({most}{tolerance}: {word}), of {stated.judged} slices judged{small}"
    )


def verdict_line(certificate: Certificate) -> str:
    """The outcome in one line, with what would decide it where the rows do not."""
    if certificate.outcome != "undecided":
        return certificate.outcome.replace("not", "NOT")
    needed = certificate.rows_needed
    more = "" if needed is None else f"; about {needed:,} would decide"
    return f"UNDECIDED: {certificate.rows:,} rows of test are too few to tell{more}"


_WORDS = {True: "within", False: "BEYOND", None: "UNDECIDED"}
"""Of what is compared with a tolerance."""
_MARKS = {True: "", False: ", FAILED", None: ", UNDECIDED"}


def _metric(name: str, fp32: float, int8: float, digits: int) -> Row:
    return name, _known(fp32, f".{digits}f"), _known(int8, f".{digits}f"), _known(int8 - fp32, f"+.{digits}f")


def _known(value: float, form: str, unit: str = "") -> str:
    return "unknown" if math.isnan(value) else f"{value:{form}}{unit}"

"""The one table at the end of a quantization: fp32 beside int8."""

from __future__ import annotations

import math

from dlrm_pl.artifact.certificate import Certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.quantization.guards import describe_change
from dlrm_pl.quantization.slices import SCORE_NAMES

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


def loss_line(certificate: Certificate) -> str:
    """The loss of AUROC with its interval, in one line."""
    if not certificate.rows:
        return "loss of AUROC unknown: the certification rows could not be scored"
    base = certificate.fp32["auroc"] or math.nan  # Nothing is a share of 0.
    interval = "unknown, too few clicks"
    if certificate.auroc_loss_interval is not None:
        low, high = certificate.auroc_loss_interval
        interval = f"{_known(low / base, '+.4%')} to {_known(high / base, '+.4%')}"
    # A tolerance of another score is none of AUROC.
    judged = certificate.score == "AUROC"
    limit = (
        f"tolerance {_known(certificate.tolerance / base, '.4%')}"
        if judged
        else f"not judged, trials by {certificate.score}"
    )
    loss = _known(certificate.auroc_loss_relative, "+.4%")
    return (
        f"loss of AUROC {loss} relative ({certificate.confidence:.0%} interval {interval}), {limit}, "
        f"on {certificate.rows:,} rows of test with {certificate.positives:,} clicks"
    )


def guards_line(certificate: Certificate) -> str:
    """The guards, each with its change and its tolerance, in one line."""
    if not certificate.guards:
        return "guards: unknown"
    words = []
    for guard in certificate.guards:
        limit = "not judged" if guard["tolerance"] is None else f"tolerance {guard['tolerance']:.2%}"
        word = "" if guard["held"] else ", BROKEN"
        words.append(f"{guard['name'].replace('_', ' ')} {describe_change(guard['change'], 4)} ({limit}{word})")
    return f"guards: {', '.join(words)}"


def slice_line(certificate: Certificate) -> str:
    """The worst slice of the certification rows in one line; "" where no column was named."""
    found = certificate.worst_slice
    if found is None:
        return ""
    worst, tolerance = found["worst"], f"tolerance {found['guard']['tolerance']:.2%}"
    small = f", {found['left_out']} too small to judge" if found["left_out"] else ""
    if worst is None:
        return f"worst slice of {found['column']}: unknown, none can be judged{small} ({tolerance}, BROKEN)"
    low, high = worst["interval"]
    return (
        f"worst slice of {found['column']}: {worst['value']}, {worst['rows']:,} rows of test with {worst['clicks']:,} "
        f"clicks, {SCORE_NAMES[found['guard']['score']]} {worst['fp32']:.6f} -> {worst['int8']:.6f}, loss "
        f"{worst['loss']:+.4%} relative ({certificate.confidence:.0%} interval {low:+.4%} to {high:+.4%}; {tolerance}"
        f"{', within' if found['held'] else ', BROKEN'}), of {found['judged']} slices judged{small}"
    )


def _metric(name: str, fp32: float, int8: float, digits: int) -> Row:
    return name, _known(fp32, f".{digits}f"), _known(int8, f".{digits}f"), _known(int8 - fp32, f"+.{digits}f")


def _known(value: float, form: str, unit: str = "") -> str:
    return "unknown" if math.isnan(value) else f"{value:{form}}{unit}"

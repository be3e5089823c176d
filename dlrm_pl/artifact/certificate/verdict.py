"""The verdict of a certificate, derived from its metrics on the certification rows and from the search's verdict.

There are three outcomes. ``accepted``: the upper bound of the drop is within the tolerance, and so is that of every
guard. ``not accepted``: a lower bound is beyond its tolerance, or the search itself rejected the model.
``undecided``: there are too few certification rows to decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlrm_pl.artifact.certificate.certificate import Certificate, Outcome
from dlrm_pl.metrics.sequential import rows_to_decide
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES

if TYPE_CHECKING:
    from dlrm_pl.quantization.judging.criterion import Verdict


@dataclass(frozen=True)
class CertifiedVerdict:
    """Outcome of a certification, with its reason.

    Attributes:
        outcome: ``accepted``, ``not accepted`` or ``undecided``.
        reason: explanation of the outcome.
        rows_needed: approximate number of certification rows that would decide an undecided outcome; None where that is
            unknown.
    """

    outcome: Outcome
    reason: str
    rows_needed: int | None


@dataclass(frozen=True)
class _Finding:
    """One judged quantity: its result and its description."""

    passed: bool | None
    words: str
    rows_needed: int | None = None


def judged(certificate: Certificate, search: Verdict | None) -> Certificate:
    """Return the certificate with its verdict, given the search's verdict, or None if the search scored no trial."""
    verdict = judge(certificate, search)
    return replace(
        certificate,
        outcome=verdict.outcome,
        accepted=verdict.outcome == "accepted",
        reason=verdict.reason,
        rows_needed=verdict.rows_needed,
    )


def judge(certificate: Certificate, search: Verdict | None) -> CertifiedVerdict:
    """Derive the verdict.

    Args:
        certificate: certificate with all measurements.
        search: the verdict of the search on the tuning rows; None if the recipe was given and they were not scored, so
            that the certification rows alone decide.
    """
    failed, undecided = failures(certificate), doubts(certificate)
    if search is not None and not search.accepted and not search.undecided:
        words = [f"rejected on the tuning rows: {search.reason}"]
        words += [f"on the certification rows: {'; '.join(failed)}"] if failed else []
        return CertifiedVerdict("not accepted", "; ".join(words), None)
    tuning = _in_tuning(search)
    if failed:
        return CertifiedVerdict("not accepted", f"{tuning}on the certification rows: {'; '.join(failed)}", None)
    if undecided:
        needed = rows_needed(certificate)
        more = (
            "the number of rows needed to decide is unknown"
            if needed is None
            else f"about {needed:,} test rows would be enough to decide if the estimates are right"
        )
        return CertifiedVerdict(
            "undecided",
            f"{tuning}the {certificate.rows:,} certification rows are too few to decide: {'; '.join(undecided)}; "
            f"{more}. Certify on more test rows, raise the tolerance, or choose a model with a smaller drop",
            needed,
        )
    drop = describe_drop(certificate)
    doubted = search is not None and not search.accepted
    return CertifiedVerdict("accepted", f"{tuning}on the certification rows: {drop}" if doubted else drop, None)


def _in_tuning(search: Verdict | None) -> str:
    """Begin a reason with the verdict of a search that did not reject the model."""
    if search is None:
        return ""
    if search.accepted:
        return "accepted on the tuning rows; "
    return f"undecided on the tuning rows ({search.reason}); "


def failures(certificate: Certificate) -> list[str]:
    """Describe each quantity that failed on the certification rows."""
    return [finding.words for finding in _findings(certificate) if finding.passed is False]


def doubts(certificate: Certificate) -> list[str]:
    """Describe each quantity for which the certification rows are too few to decide."""
    return [finding.words for finding in _findings(certificate) if finding.passed is None]


def rows_needed(certificate: Certificate) -> int | None:
    """Estimate how many certification rows would settle every doubt; None if unknown, or if there is no doubt."""
    needed = [finding.rows_needed for finding in _findings(certificate) if finding.passed is None]
    known = [rows for rows in needed if rows is not None]
    return max(known) if known and len(known) == len(needed) else None


def drop_passed(certificate: Certificate) -> bool | None:
    """Return whether the AUROC drop is within its tolerance; None if there are too few rows to decide.

    A tolerance of another score does not apply to AUROC, so with another score the drop always passes.
    """
    if certificate.score != "AUROC":
        return True
    return _drop_bound(certificate).within(certificate.tolerance, certificate.judged_by)


def _drop_bound(certificate: Certificate) -> CertifiedBound:
    low, high = certificate.auroc_drop_at_least, certificate.auroc_drop_at_most
    return CertifiedBound(
        estimate=certificate.auroc_drop,
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
        rows=certificate.rows,
    )


def _findings(certificate: Certificate) -> Iterator[_Finding]:
    bound = _drop_bound(certificate)
    yield _Finding(drop_passed(certificate), describe_drop(certificate), bound.rows_needed(certificate.tolerance))
    for guard in certificate.guards:
        yield _of_guard(guard, certificate)
    if certificate.worst_slice is not None:
        stated = certificate.worst_slice
        yield _Finding(stated.passed, _describe_slice(stated, certificate.confidence), stated.rows_needed)


def describe_drop(certificate: Certificate) -> str:
    """Describe the AUROC drop and its tolerance, with the bound that decides, or both bounds if neither does."""
    drop = f"AUROC drop {share(certificate, certificate.auroc_drop)} (relative)"
    if certificate.score != "AUROC":
        return f"{drop}, not judged: trials were scored by {certificate.score}, without a confidence bound"
    limit = f"tolerance {share(certificate, certificate.tolerance)}: {RESULTS[drop_passed(certificate)]}"
    if certificate.judged_by == "estimate":
        return f"{drop}, without a confidence bound; {limit}"
    if certificate.auroc_drop_at_least is None or certificate.auroc_drop_at_most is None:
        return f"{drop}, which cannot be bounded because a class has fewer than two rows; {limit}"
    low = share(certificate, certificate.auroc_drop_at_least)
    high = share(certificate, certificate.auroc_drop_at_most)
    bound = {True: f"at most {high}", False: f"at least {low}", None: f"between {low} and {high}"}
    return f"{drop}, {bound[drop_passed(certificate)]} with {certificate.confidence:.0%} confidence; {limit}"


RESULTS = {True: "passed", False: "failed", None: "undecided"}
"""Words for the result of a comparison with a tolerance."""


def share(certificate: Certificate, drop: float) -> str:
    """Format an AUROC drop as a percentage of fp32's AUROC; "unknown" if that is 0."""
    base = certificate.fp32["auroc"]
    return f"{drop / base:.4%}" if base and math.isfinite(drop / base) else "unknown"


def _of_guard(guard: CertifiedGuard, certificate: Certificate) -> _Finding:
    words = f"{guard.title} {guard.before:.6f} -> {guard.after:.6f} ({describe_change(guard.change)})"
    if guard.tolerance is None:
        return _Finding(True, words)
    limit = f"tolerance {guard.tolerance:.2%}: {RESULTS[guard.passed]}"
    if guard.passed is not None:
        return _Finding(guard.passed, f"{words}; {limit}")
    if guard.at_most is None:
        return _Finding(None, f"{words}, whose error is unknown; {limit}")
    needed = rows_to_decide(certificate.rows, guard.deviation, guard.at_most, guard.tolerance)
    most = f"at most {guard.at_most:.3%} with {certificate.confidence:.0%} confidence"
    return _Finding(None, f"{words}, {most}; {limit}", needed)


def _describe_slice(stated: CertifiedSlice, confidence: float) -> str:
    """Describe the worst slice and its result."""
    worst, tolerance = stated.worst, stated.guard.tolerance
    if worst is None:
        return (
            f"worst slice of {stated.column}: all {stated.too_small} slices are too small to resolve a drop of "
            f"{tolerance:.2%}; use fewer slices or raise the tolerance"
        )
    words = (
        f"worst slice {worst.value}: {SCORE_NAMES[stated.guard.score]} {worst.fp32:.6f} -> {worst.int8:.6f}, a drop of "
        f"{worst.drop:.3%}"
    )
    if stated.passed is None and stated.at_most is not None:
        words += f"; the worst of {stated.judged} slices drops by at most {stated.at_most:.3%} with {confidence:.0%} "
        words += "confidence"
    return f"{words}; tolerance {tolerance:.2%}: {RESULTS[stated.passed]}"

"""The verdict of a certificate, from what it states of the certification rows and from how the search ended.

Three outcomes. ``accepted``: the upper bound of the drop is within the tolerance, and so is that of every guard.
``not accepted``: a lower bound is beyond, or the search itself refused the model.
``undecided``: so few rows cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlrm_pl.metrics.sequential import rows_to_decide
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard
from dlrm_pl.quantization.judging.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices import SCORE_NAMES

if TYPE_CHECKING:
    from dlrm_pl.artifact.certificate.certificate import Certificate
    from dlrm_pl.quantization.judging.criterion import Verdict

Outcome = Literal["accepted", "not accepted", "undecided"]


@dataclass(frozen=True)
class CertifiedVerdict:
    """How a certification ended.

    Attributes:
        outcome: one of the three.
        reason: why, in words.
        rows_needed: about how many certification rows would decide, where it is undecided; None where nobody knows.
    """

    outcome: Outcome
    reason: str
    rows_needed: int | None


@dataclass(frozen=True)
class _Finding:
    """One thing that was judged: whether it passed, and the words where it did not."""

    passed: bool | None
    words: str
    rows_needed: int | None = None


def judge(certificate: Certificate, search: Verdict) -> CertifiedVerdict:
    """Decide.

    Args:
        certificate: with all that was measured.
        search: the verdict of the search on the tuning rows.
    """
    broken, unsure = failures(certificate), doubts(certificate)
    refused = not search.accepted and not search.undecided
    if refused:
        words = [f"the search refused it on the tuning rows: {search.reason}"]
        words += [f"on the certification rows {'; and '.join(broken)}"] if broken else []
        return CertifiedVerdict("not accepted", "; ".join(words), None)
    word = "accepted it" if search.accepted else f"could not decide ({search.reason})"
    before = f"on the tuning rows the search {word}, but the certification rows decide"
    if broken:
        return CertifiedVerdict("not accepted", f"{before}: {'; and '.join(broken)}", None)
    if unsure:
        needed = rows_needed(certificate)
        more = (
            "no number of rows is known that would decide"
            if needed is None
            else f"about {needed:,} rows of test would decide, were the estimates right"
        )
        return CertifiedVerdict(
            "undecided",
            f"{before}, and {certificate.rows:,} are too few to tell: {'; and '.join(unsure)}; {more}. Certify on more "
            "rows of test, tolerate more, or ask for a model that loses less",
            needed,
        )
    if not search.accepted:
        return CertifiedVerdict("accepted", f"{before}: {_drop_words(certificate)}", None)
    return CertifiedVerdict("accepted", _drop_words(certificate), None)


def failures(certificate: Certificate) -> list[str]:
    """What is not within its tolerance on the certification rows, in words; empty when nothing is known to be so."""
    return [found.words for found in _findings(certificate) if found.passed is False]


def doubts(certificate: Certificate) -> list[str]:
    """What so few certification rows cannot tell, in words."""
    return [found.words for found in _findings(certificate) if found.passed is None]


def rows_needed(certificate: Certificate) -> int | None:
    """About how many certification rows would settle every doubt; None where nobody knows, or there is none."""
    needed = [found.rows_needed for found in _findings(certificate) if found.passed is None]
    known = [rows for rows in needed if rows is not None]
    return max(known) if known and len(known) == len(needed) else None


def drop_passed(certificate: Certificate) -> bool | None:
    """Whether the AUROC drop is within its tolerance; None: so few rows cannot tell.

    Of another score the tolerance is none of AUROC, and nothing is held against it.
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
    yield _Finding(drop_passed(certificate), _drop_words(certificate), bound.rows_needed(certificate.tolerance))
    for guard in certificate.guards:
        yield _of_guard(guard, certificate)
    if certificate.worst_slice is not None:
        stated = certificate.worst_slice
        yield _Finding(stated.passed, _slice_words(stated, certificate.confidence), stated.rows_needed)


def _drop_words(certificate: Certificate) -> str:
    """The AUROC drop beside its tolerance, by what decides."""
    drop = share(certificate, certificate.auroc_drop)
    if certificate.score != "AUROC":
        return (
            f"trials were judged by {certificate.score} on the tuning rows, by the drop itself, without a confidence "
            f"bound; the relative AUROC drop, {drop}, is not judged"
        )
    limit = f"tolerance {share(certificate, certificate.tolerance)}"
    if certificate.judged_by == "estimate":
        return f"the relative AUROC drop is {drop}, {limit}, by the drop itself, without a confidence bound"
    return f"the relative AUROC drop is {bound_words(certificate)}, {limit}"


def bound_words(certificate: Certificate) -> str:
    """The relative AUROC drop with the bound that decides, or with both where neither does."""
    passed, drop = drop_passed(certificate), share(certificate, certificate.auroc_drop)
    if certificate.auroc_drop_at_least is None or certificate.auroc_drop_at_most is None:
        return f"{drop}, which cannot be bounded, since a class has fewer than two rows"
    low, high = (share(certificate, end) for end in (certificate.auroc_drop_at_least, certificate.auroc_drop_at_most))
    sure = f"with {certificate.confidence:.0%} confidence"
    if passed is None:
        return f"{drop}, at least {low} and at most {high}, each {sure}"
    return f"{drop}, at most {high} {sure}" if passed else f"{drop}, at least {low} {sure}"


def share(certificate: Certificate, drop: float) -> str:
    """A AUROC drop as a share of fp32's, in words; nothing is a share of 0."""
    base = certificate.fp32["auroc"]
    return f"{drop / base:.4%}" if base and math.isfinite(drop / base) else "unknown"


def _of_guard(guard: CertifiedGuard, certificate: Certificate) -> _Finding:
    words = f"the {guard.title} went from {guard.before:.6f} to {guard.after:.6f} ({describe_change(guard.change)})"
    if guard.tolerance is None or guard.passed:
        return _Finding(True, words)
    limit = f"the guard of {guard.tolerance:.2%}"
    if guard.passed is False:
        return _Finding(False, f"{words}, beyond {limit}")
    if guard.at_most is None:
        return _Finding(None, f"{words}, of which the error is not known, where the guard is {guard.tolerance:.2%}")
    most = f"at most {guard.at_most:.3%} with {certificate.confidence:.0%} confidence"
    needed = rows_to_decide(certificate.rows, guard.deviation, guard.at_most, guard.tolerance)
    return _Finding(None, f"{words}, {most}, where the guard is {guard.tolerance:.2%}", needed)


def _slice_words(stated: CertifiedSlice, confidence: float) -> str:
    """What became of the worst slice, in words."""
    worst, tolerance, score = stated.worst, stated.guard.tolerance, SCORE_NAMES[stated.guard.score]
    if worst is None:
        return (
            f"the worst slice of {stated.column} cannot be judged: each of the {stated.too_small} slices is too "
            f"small to tell a drop of {tolerance:.2%} from none; ask for fewer slices, or tolerate more"
        )
    words = (
        f"the {score} of the worst slice, {worst.value}, went from {worst.fp32:.6f} to {worst.int8:.6f} "
        f"(a drop of {worst.drop:.3%})"
    )
    if stated.passed is None:
        known = stated.at_most is not None
        most = f"may lose up to {stated.at_most:.3%}, with {confidence:.0%} confidence" if known else "is not bounded"
        return f"{words}; the worst of {stated.judged} slices {most}, where the guard is {tolerance:.2%}"
    return f"{words}, beyond the guard of {tolerance:.2%}"

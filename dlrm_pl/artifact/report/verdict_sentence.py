"""Verdict of a certificate in one sentence: outcome, AUROC drop, bound, tolerance and rows."""

from __future__ import annotations

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import doubts, drop_passed, failures, share


def verdict_sentence(certificate: Certificate) -> str:
    """Return the verdict in one sentence that begins with the outcome and a colon.

    If something other than the AUROC drop decided, that comes before the drop.
    """
    outcome = certificate.outcome.capitalize()
    if not certificate.rows:
        return f"{outcome}: the certification rows could not be scored, so the AUROC drop is unknown."
    parts = [
        *_other_reasons(certificate),
        f"{_drop(certificate)}, measured on {certificate.rows:,} test rows with {certificate.positives:,} clicks",
    ]
    if certificate.outcome == "undecided":
        needed = certificate.rows_needed
        parts.append("the number of rows needed is unknown" if needed is None else f"about {needed:,} would be enough")
    return f"{outcome}: {'; '.join(parts)}."


def _other_reasons(certificate: Certificate) -> list[str]:
    """Return what decided, if it was not the AUROC drop: guards, the worst slice, or the tuning rows."""
    passed = drop_passed(certificate)
    if certificate.outcome == "undecided" and passed is not None:
        return ["the rows are too few to decide on a guard", *doubts(certificate)]
    if certificate.outcome == "not accepted" and passed is not False:
        return failures(certificate) or ["the search rejected this model on the tuning rows"]
    return []


def _drop(certificate: Certificate) -> str:
    """Describe the AUROC drop, its bound, and the comparison with the tolerance."""
    drop = f"the AUROC drop from fp32 to int8 is {share(certificate, certificate.auroc_drop)}"
    if certificate.score != "AUROC":
        return f"{drop}, which was not judged because trials were scored by {certificate.score}"
    passed = drop_passed(certificate)
    tolerance = f"the tolerance of {share(certificate, certificate.tolerance)}"
    side = {True: f"within {tolerance}", False: f"beyond {tolerance}", None: f"too uncertain for {tolerance}"}[passed]
    if certificate.judged_by == "estimate":
        return f"{drop}, {side}, judged without a confidence bound"
    if certificate.auroc_drop_at_least is None or certificate.auroc_drop_at_most is None:
        return f"{drop}, and cannot be bounded because a class has fewer than two rows, {side}"
    low, high = (
        share(certificate, bound) for bound in (certificate.auroc_drop_at_least, certificate.auroc_drop_at_most)
    )
    bound = {True: f"at most {high}", False: f"at least {low}", None: f"between {low} and {high}"}[passed]
    return f"{drop} and {bound} with {certificate.confidence:.0%} confidence, {side}"

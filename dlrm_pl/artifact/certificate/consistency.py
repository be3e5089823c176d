"""Check that a certificate is consistent: recompute every number that follows from others.

This finds manual edits, even if the checksums were updated. It cannot find a certificate whose numbers were all made up
consistently; for that, the models are scored again, see ``verify.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import doubts, failures, rows_needed
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ArtifactError
from dlrm_pl.metrics.student import student_quantile
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard, bound_of_guard
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.slices.slice_column import SliceColumn

# Metrics are sums of millions of float32 values, so a number derived from two of them is correct to at least five
# digits.
_DIGITS = 1e-5


def contradiction(certificate: Certificate) -> str:
    """Describe the first number that does not follow from the others; "" if all do.

    Raises:
        ConfigurationError: the worst slice does not belong to any column.
        ArtifactError: the columns are not valid for any log.
    """
    return next(_contradictions(certificate), "")


def _contradictions(certificate: Certificate) -> Iterator[str]:
    accepted = certificate.outcome == "accepted"
    if certificate.accepted != accepted:
        yield f"accepted is {certificate.accepted}, but outcome is {certificate.outcome!r}"
    if not certificate.rows:  # They could not be scored, so there is nothing to check.
        if certificate.outcome != "not accepted":
            yield f"outcome is {certificate.outcome!r}, but no row was scored"
        return
    yield from _of_rows(certificate)
    yield from _of_drop(certificate)
    for guard in certificate.guards:
        yield from _of_guard(guard, certificate)
    if certificate.worst_slice is not None:
        yield from _of_slice(certificate.worst_slice, certificate)
    yield from _of_outcome(certificate)


def _of_rows(certificate: Certificate) -> Iterator[str]:
    of_range = certificate.row_ranges["certification"]
    yield from _other("rows", certificate.rows, "row_ranges.certification has", of_range["stop"] - of_range["start"])
    if not 0 < certificate.positives < certificate.rows:
        yield f"positives is {certificate.positives}, of {certificate.rows} rows"
        return
    rate = certificate.positives / certificate.rows
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    for model, scores in (("fp32", certificate.fp32), ("int8", certificate.int8)):
        derived = scores["log_loss"] / entropy
        yield from _other(
            f"{model}.normalized_entropy", scores["normalized_entropy"], "log_loss and rows give", derived
        )


def _of_drop(certificate: Certificate) -> Iterator[str]:
    drop, base = certificate.auroc_drop, certificate.fp32["auroc"]
    yield from _other("auroc_drop", drop, "fp32.auroc - int8.auroc is", base - certificate.int8["auroc"])
    if base:
        yield from _other(
            "auroc_drop_relative", certificate.auroc_drop_relative, "auroc_drop / fp32.auroc is", drop / base
        )
    interval, error = certificate.auroc_drop_interval, certificate.auroc_drop_standard_error
    if interval is not None:
        yield from _other("auroc_drop_interval is about", sum(interval) / 2, "auroc_drop is", drop)
        if interval[0] > interval[1]:
            yield f"auroc_drop_interval is {list(interval)}"
    if not certificate.bound_method:
        return
    degrees = math.inf if certificate.degrees_of_freedom is None else certificate.degrees_of_freedom
    margin, half = math.inf, 0.0
    if certificate.bound_method == "rule_of_three":
        margin = -2 * math.log(1 - certificate.confidence) / certificate.rows
    elif error is not None:
        margin = student_quantile(certificate.confidence, degrees) * error
        half = student_quantile((1 + certificate.confidence) / 2, degrees) * error
    for name, stated, derived in (
        ("auroc_drop_at_least", certificate.auroc_drop_at_least, drop - margin),
        ("auroc_drop_at_most", certificate.auroc_drop_at_most, drop + margin),
    ):
        yield from _other_bound(name, stated, "auroc_drop, its standard error and confidence give", derived)
    if interval is not None:
        yield from _other("auroc_drop_interval ends at", interval[1], "its standard error gives", drop + half)


def _of_guard(guard: CertifiedGuard, certificate: Certificate) -> Iterator[str]:
    where = f"the guard {guard.name}:"
    for key, value, model, scores in (
        ("before", guard.before, "fp32", certificate.fp32),
        ("after", guard.after, "int8", certificate.int8),
    ):
        yield from _other(f"{where} {key}", value, f"{model}.{guard.name} is", scores[guard.name])
    if guard.change is not None and guard.before:
        yield from _other(f"{where} change", guard.change, "after / before - 1 is", guard.after / guard.before - 1)
    bound = CertifiedBound(guard.deviation, guard.deviation, guard.deviation, certificate.rows)
    if certificate.bound_method:  # Certificates of format 2 have no bounds.
        bound = bound_of_guard(guard, certificate.confidence, certificate.rows)
        yield from _other_bound(f"{where} at_least", guard.at_least, "change and its error give", bound.low)
        yield from _other_bound(f"{where} at_most", guard.at_most, "change and its error give", bound.high)
    derived = guard.passes(bound, certificate.judged_by)
    if guard.passed is not derived:
        yield f"{where} passed is {guard.passed}, but its change and tolerance say {derived}"


def _of_slice(stated: CertifiedSlice, certificate: Certificate) -> Iterator[str]:
    columns = Columns.of_statement(certificate.columns, "columns", ArtifactError) if certificate.columns else None
    column = SliceColumn.find(stated.guard.by, columns)
    if stated.column != column.name or stated.cut.categorical != (column.kind == "table"):
        yield (
            f"worst_slice.cut: slices of {stated.column} with categorical={stated.cut.categorical} cannot be slices of "
            f"{column.name}"
        )
    worst, tolerance = stated.worst, stated.guard.tolerance
    if worst is None:
        return
    where = f"the worst slice {worst.value}:"
    if not (0 < worst.clicks <= certificate.positives and worst.clicks < worst.rows <= certificate.rows):
        yield f"{where} {worst.clicks} clicks among {worst.rows} rows, of {certificate.rows} rows"
    if stated.guard.score == "auroc":
        derived_drop = (worst.fp32 - worst.int8) / max(worst.fp32, 0.5)
        yield from _other(f"{where} drop", worst.drop, "its scores give", derived_drop)
    elif worst.fp32:
        yield from _other(f"{where} drop", worst.drop, "its scores give", worst.int8 / worst.fp32 - 1)
    low, high = stated.at_least, stated.at_most
    if low is not None and low > worst.drop + _DIGITS:
        yield f"{where} at_least is {low}, above its drop of {worst.drop}"
    if high is not None and high < worst.drop - _DIGITS:
        yield f"{where} at_most is {high}, below its drop of {worst.drop}"
    bound = CertifiedBound(
        estimate=worst.drop,
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
        rows=certificate.rows,
    )
    derived = bound.within(tolerance, certificate.judged_by)
    if stated.passed is not derived:
        yield f"{where} passed is {stated.passed}, but its drop and tolerance say {derived}"


def _of_outcome(certificate: Certificate) -> Iterator[str]:
    broken, unsure = failures(certificate), doubts(certificate)
    if certificate.outcome == "accepted" and (broken or unsure):
        yield f"outcome is 'accepted', but {(broken + unsure)[0]}"
    if certificate.outcome == "undecided":
        if broken or not unsure:
            yield f"outcome is 'undecided', but {broken[0] if broken else 'every bound decides'}"
        yield from _other_bound("rows_needed", certificate.rows_needed, "the bounds give", rows_needed(certificate))
    elif certificate.rows_needed is not None:
        yield f"rows_needed is {certificate.rows_needed}, but outcome is {certificate.outcome!r}"


def _other(name: str, stated: float, source: str, derived: float) -> Iterator[str]:
    if not math.isclose(stated, derived, rel_tol=_DIGITS, abs_tol=_DIGITS / 10):
        yield f"{name} {stated:.8g}, but {source} {derived:.8g}"


def _other_bound(name: str, stated: float | None, source: str, derived: float | None) -> Iterator[str]:
    known = None if derived is None or math.isinf(derived) else derived
    if stated is None or known is None:
        if stated is not known:
            yield f"{name} {stated}, but {source} {known}"
        return
    yield from _other(name, stated, source, known)

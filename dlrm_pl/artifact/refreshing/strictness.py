"""Compare the criterion of a refresh with the one that the artifact before was certified by."""

from __future__ import annotations

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.quantization.judging.criterion import Criterion

# Allowance for rounding: a tolerance in units of AUROC is computed from a share, and the share is computed back from
# it.
_ROUNDING = 1.0001


def less_strict(certificate: Certificate, criterion: Criterion) -> list[str]:
    """Return every respect in which a criterion is less strict than the one of a certificate, in words.

    The tolerated drop comes first, such as ``a drop of 1% of the AUROC, before 0.1%``; then the confidence, the guards
    and the guard of the worst slice.
    """
    found = []
    auroc = certificate.fp32["auroc"]
    if certificate.score == "AUROC" and auroc > 0:
        wanted = criterion.tolerance(auroc)
        if wanted > _ROUNDING * certificate.tolerance:
            before = _percent(certificate.tolerance / auroc)
            found.append(f"a drop of {_percent(wanted / auroc)} of the AUROC, before {before}")
    if certificate.judged_by == "bound" and (criterion.confidence or 0) < certificate.confidence:
        now = "no confidence" if criterion.confidence is None else f"a confidence of {_percent(criterion.confidence)}"
        found.append(f"{now}, before {_percent(certificate.confidence)}")
    stated = {guard.name: guard.tolerance for guard in certificate.guards}
    for title, tolerated, wanted_change in (
        ("log loss", stated.get("log_loss"), criterion.log_loss),
        ("calibration ratio", stated.get("calibration_ratio"), criterion.calibration_ratio),
    ):
        if tolerated is not None and (wanted_change is None or wanted_change > _ROUNDING * tolerated):
            now = "any change" if wanted_change is None else f"a change of {_percent(wanted_change)}"
            found.append(f"{now} of the {title}, before {_percent(tolerated)}")
    worst, guard = certificate.worst_slice, criterion.worst_slice
    if worst is not None and (guard is None or guard.tolerance > worst.guard.tolerance):
        now = "any drop" if guard is None else f"a drop of {_percent(guard.tolerance)}"
        found.append(f"{now} of the worst slice by {worst.column}, before {_percent(worst.guard.tolerance)}")
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"

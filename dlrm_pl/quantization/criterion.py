"""Is a trial accepted? fp32 score, trial score, tolerance -> verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.quantization.evaluation import Scores


@dataclass(frozen=True)
class Criterion:
    """How much a quantized model may lose.

    The loss of AUROC is judged by the paired difference on the same rows (DeLong et al. 1988): accepted when its
    one-sided upper confidence bound is within the tolerance. A user's own ``eval_func`` gives one number and no
    pairs, so then the loss itself is compared, as without ``confidence``, and the verdict says so.

    Attributes:
        relative: tolerated loss as a share of the fp32 score; 0.01 is LPOT's example, 0.001 is MLPerf's 99.9 %.
        absolute: tolerated loss in units of the score; at most one of the two is given.
        confidence: of the upper bound; null compares the loss itself, as LPOT does, which on few rows is luck.
        log_loss: guard: tolerated relative increase of the log loss (and so of normalized entropy), since AUROC
            is blind to probabilities that are off. None turns it off.
        calibration_ratio: guard: tolerated relative shift of sum(predictions) / sum(labels). None turns it off.
    """

    relative: float | None = None
    absolute: float | None = None
    confidence: float | None = 0.95
    log_loss: float | None = 0.005
    calibration_ratio: float | None = 0.02

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: both tolerances, a negative one, or a confidence outside (0.5, 1).
        """
        if self.relative is not None and self.absolute is not None:
            raise ConfigurationError(
                f"relative={self.relative} and absolute={self.absolute} exclude each other: give one tolerance."
            )
        for name in ("relative", "absolute", "log_loss", "calibration_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigurationError(f"{name}={value}: a tolerance is a number from 0 on.")
        if self.confidence is not None and not 0.5 < self.confidence < 1:
            raise ConfigurationError(f"confidence={self.confidence} must lie between 0.5 and 1, as 0.95 does.")

    def tolerance(self, baseline: float) -> float:
        """The tolerated loss in units of the score; 1 % of the baseline when none was given."""
        if self.absolute is not None:
            return self.absolute
        return abs(baseline) * (0.01 if self.relative is None else self.relative)

    def judge(self, baseline: Scores, trial: Scores) -> Verdict:
        """Compare a trial with the fp32 model on the same rows."""
        tolerance = self.tolerance(baseline.value)
        loss = bound = baseline.value - trial.value
        basis = "the loss itself, without a confidence bound"
        first, second, labels = baseline.probabilities, trial.probabilities, baseline.labels
        if self.confidence is not None and first is not None and second is not None and labels is not None:
            difference = paired_auroc_difference(first, second, labels)
            bound = difference.upper_bound(self.confidence)
            basis = f"the {self.confidence:.0%} upper bound of the paired loss"
        failures = []
        if math.isinf(bound):
            failures.append(f"the loss {loss:.6f} cannot be bounded: fewer than two clicks, or two others, were scored")
        elif not bound <= tolerance:
            failures.append(f"loss {loss:.6f} (bound {bound:.6f}) exceeds the tolerance {tolerance:.6f}")
        failures += self._broken_guards(baseline, trial)
        reason = "; ".join(failures) or f"{bound:.6f} is within the tolerance {tolerance:.6f}, by {basis}"
        return Verdict(accepted=not failures, loss=loss, bound=bound, tolerance=tolerance, reason=reason)

    def _broken_guards(self, baseline: Scores, trial: Scores) -> list[str]:
        """What is wrong with the probabilities, in words."""
        if not baseline.calibration or not trial.calibration:
            return []
        broken = []
        before, after = (scores.calibration["log_loss"] for scores in (baseline, trial) if scores.calibration)
        if self.log_loss is not None and after > before * (1 + self.log_loss):
            broken.append(f"log loss {before:.6f} -> {after:.6f} exceeds the guard of {self.log_loss:.2%}")
        before, after = (s.calibration["calibration_ratio"] for s in (baseline, trial) if s.calibration)
        if self.calibration_ratio is not None and abs(after / before - 1) > self.calibration_ratio:
            broken.append(
                f"calibration ratio {before:.4f} -> {after:.4f} exceeds the guard of {self.calibration_ratio:.2%}"
            )
        return broken


@dataclass(frozen=True)
class Verdict:
    """The outcome of a trial.

    Attributes:
        accepted: within tolerance and guards.
        loss: fp32 score minus trial score; negative when the trial is better.
        bound: what was compared with the tolerance.
        tolerance: in units of the score.
        reason: why or why not, for people.
    """

    accepted: bool
    loss: float
    bound: float
    tolerance: float
    reason: str

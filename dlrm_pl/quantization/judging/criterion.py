"""Acceptance rule for trials: fp32 score, trial score and tolerance give a verdict, or a request for more rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.sequential import Look, alpha_spent, look_at
from dlrm_pl.quantization.judging.bounds import ESTIMATES, Bounds
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.judging.guards import CalibrationGuard, Guard, GuardReading, LogLossGuard
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.judging.slices.cuts import Slices, WorstSlice
from dlrm_pl.quantization.judging.slices.worst_slice import WorstSliceGuard


@dataclass(frozen=True)
class Criterion:
    """Acceptance rule: how much worse than fp32 a quantized model may be.

    The AUROC drop is judged by the paired difference on the same rows (DeLong et al. 1988). A trial reads rows in
    growing blocks until the confidence interval of its drop is on one side of the tolerance; the interval is valid at
    every look, see ``dlrm_pl.metrics.sequential``. Each single verdict is wrong with a probability of at most ``1 -
    confidence``. The best of many trials is favoured by chance, which is why the final model is certified on rows that
    no trial has seen. Any other score (``eval_func``, a metric) has no paired test: it is computed on all rows, the
    drop itself is compared, and the verdict says so.

    Attributes:
        relative: tolerated drop as a share of the fp32 score; 0.01 is LPOT's example, 0.001 is MLPerf's 99.9 %.
        absolute: tolerated drop in units of the score; give at most one of the two.
        higher_is_better: whether a higher score is better; false for a score like the log loss. For AUROC it is true.
        confidence: confidence level of the bounds; null scores all rows and compares the drop itself, as LPOT does,
            which is a matter of luck if there are few rows.
        log_loss: guard: tolerated relative increase of the log loss (and therefore of normalized entropy), since AUROC
            does not reflect whether probabilities are right. Null turns it off.
        calibration_ratio: guard: tolerated relative shift of sum(predictions) / sum(labels). Null turns it off.
        worst_slice: guard: tolerated drop of the worst slice of the rows by a column, see ``WorstSlice``. Null turns it
            off. It needs the probabilities of each row, so it cannot be combined with an ``eval_func``.
        first_block: number of rows at the first look; each further look has twice as many.
        max_rows: maximum number of tuning rows to read; null: all of them.

    Example:
        >>> from dlrm_pl import Criterion
        >>> Criterion(relative=0.001, log_loss=0.002).tolerance(baseline=0.75)
        0.00075
        >>> Criterion(relative=0.01, absolute=0.002)
        Traceback (most recent call last):
        ...
        dlrm_pl.errors.ConfigurationError: relative=0.01 and absolute=0.002 are mutually exclusive: give one tolerance.
    """

    relative: float | None = None
    absolute: float | None = None
    higher_is_better: bool = True
    confidence: float | None = 0.95
    log_loss: float | None = 0.005
    calibration_ratio: float | None = 0.02
    worst_slice: WorstSlice | None = None
    first_block: int = 16_384
    max_rows: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: both tolerances are given, one is negative or tolerates everything, the confidence is
                outside (0.5, 1), or a number of rows is below 1.
        """
        check_fields(self)
        if self.relative is not None and self.absolute is not None:
            raise ConfigurationError(
                f"relative={self.relative} and absolute={self.absolute} are mutually exclusive: give one tolerance."
            )
        for name in ("relative", "absolute", "log_loss", "calibration_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigurationError(f"{name}={value} must be a non-negative number.")
        if self.higher_is_better and self.relative is not None and self.relative >= 1:
            raise ConfigurationError(
                f"relative={self.relative} tolerates a drop of {self.relative:.0%} of the score, so every model would "
                "be accepted. Give a share, such as 0.001 for 0.1 %."
            )
        for name in ("log_loss", "calibration_ratio"):
            value = getattr(self, name)
            if value is not None and value >= 1:
                raise ConfigurationError(
                    f"{name}={value} tolerates a change of {value:.0%}, which guards nothing. Give a share, such as "
                    "0.005 for 0.5 %; null turns the guard off."
                )
        if self.confidence is not None and not 0.5 < self.confidence < 1:
            raise ConfigurationError(f"confidence={self.confidence} must be between 0.5 and 1, such as 0.95.")
        for name in ("first_block", "max_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value} must be at least one row.")

    def check_auroc(self) -> None:
        """Check that trials may be scored by AUROC.

        Raises:
            ConfigurationError: ``higher_is_better`` is false, or the tolerance accepts every model.
        """
        if not self.higher_is_better:
            raise ConfigurationError(
                "higher_is_better: false contradicts AUROC, for which higher is better. Remove it, or set the metric "
                "or eval_func that it refers to."
            )
        if self.absolute is not None and self.absolute >= 0.5:
            raise ConfigurationError(
                f"absolute={self.absolute}: a perfect model that lost this much AUROC would be no better than chance, "
                "so every model would be accepted. Give it in units of AUROC, such as 0.001."
            )

    @property
    def loose(self) -> str:
        """Return the tolerances above 10 %, for a warning; empty if there are none."""
        named = {
            "relative": self.relative,
            "absolute": self.absolute if self.higher_is_better else None,
            "log_loss": self.log_loss,
            "calibration_ratio": self.calibration_ratio,
            "worst_slice.tolerance": None if self.worst_slice is None else self.worst_slice.tolerance,
        }
        return ", ".join(f"{name}={value:g}" for name, value in named.items() if value is not None and value > 0.1)

    def tolerance(self, baseline: float) -> float:
        """Return the tolerated drop in units of the score; 1 % of the baseline if no tolerance is given."""
        if self.absolute is not None:
            return self.absolute
        return abs(baseline) * (0.01 if self.relative is None else self.relative)

    def drop(self, baseline: float, trial: float) -> float:
        """Return how much worse a trial's score is than the baseline's; negative if it is better."""
        return baseline - trial if self.higher_is_better else trial - baseline

    def judge(
        self, baseline: Scores, trial: Scores, *, look: int = 1, last: bool = True, slices: Slices | None = None
    ) -> Verdict:
        """Compare a trial with the fp32 model on the same rows.

        Args:
            baseline: scores of the fp32 model.
            trial: scores of the quantized model on the same rows.
            look: number of this look at the rows, from 1.
            last: whether no more rows will come; before the last look, a verdict may be open.
            slices: slices of the same rows; needed by ``worst_slice``.

        Raises:
            MetricError: all labels are the same.
            ConfigurationError: the slices for ``worst_slice`` are missing.
        """
        scores = _pair(baseline, trial)
        if scores is None or self.confidence is None or not baseline.paired:
            return self._compare(baseline, trial, slices)
        difference = scores.auroc_difference()
        seen = look_at(
            difference,
            number=look,
            tolerance=self.tolerance(difference.first),
            confidence=self.confidence,
            last=last,
            rows=len(scores),
        )
        bounds = Bounds(
            alpha=alpha_spent(look, confidence=self.confidence, last=last),
            num_comparisons=1 if self.worst_slice is None else self.worst_slice.slices,
            last=last,
        )
        readings = tuple(guard.read(scores, bounds) for guard in self.guards(slices))
        decisions = [reading.decision(bounds) for reading in readings]
        failed = [reading for reading, decision in zip(readings, decisions, strict=True) if decision == "beyond"]
        decided = last or bool(failed) or seen.decision == "beyond"
        decided = decided or (seen.decision == "within" and "open" not in decisions)
        return Verdict(
            accepted=decided and seen.decision == "within" and not failed,
            drop=seen.estimate,
            bound=seen.high,
            tolerance=seen.tolerance,
            reason=self._describe(seen, failed) if decided else "open: more rows are needed",
            baseline=difference.first,
            score=difference.second,
            low=seen.low,
            decided=decided,
            looks=look,
            rows=seen.rows,
            guards=readings,
        )

    def guards(self, slices: Slices | None) -> tuple[Guard, ...]:
        """Return the guards that have a tolerance.

        Args:
            slices: slices of the rows that they will read; needed by ``worst_slice``.

        Raises:
            ConfigurationError: the slices for ``worst_slice`` are missing.
        """
        guards: list[Guard] = []
        if self.log_loss is not None:
            guards.append(LogLossGuard(self.log_loss))
        if self.calibration_ratio is not None:
            guards.append(CalibrationGuard(self.calibration_ratio))
        if self.worst_slice is not None:
            if slices is None:
                raise ConfigurationError(
                    f"worst_slice by {self.worst_slice.by!r} needs the slices of the rows: pass slices= to judge()."
                )
            guards.append(WorstSliceGuard(self.worst_slice, slices))
        return tuple(guards)

    def _describe(self, seen: Look, failed: list[GuardReading]) -> str:
        """Explain a verdict."""
        failures = [reading.describe_failure() for reading in failed]
        # A failed guard is reason enough, unless the AUROC drop decides as well.
        if failures and (seen.decision == "within" or (seen.decision == "open" and not seen.last)):
            return "; ".join(failures)
        return "; ".join([self._describe_drop(seen), *failures])

    def _describe_drop(self, seen: Look) -> str:
        """Describe the AUROC drop, its bounds and its tolerance."""
        drop, tolerance = f"AUROC drop {seen.estimate:.6f}", f"tolerance {seen.tolerance:.6f}"
        if math.isinf(seen.high):
            return f"{drop} cannot be bounded: fewer than two clicks or fewer than two other rows were scored"
        sure = f"with {self.confidence:.0%} confidence on {'all ' if seen.last else ''}{seen.rows:,} rows"
        if seen.decision == "within":
            return f"{drop}, at most {seen.high:.6f} {sure}; {tolerance}: passed"
        if seen.decision == "beyond":
            return f"{drop}, at least {seen.low:.6f} {sure}; {tolerance}: failed"
        needed = seen.rows_needed
        more = (
            f"about {needed:,} rows would be enough to decide"
            if needed is not None
            else "no number of rows would be enough to decide"
        )
        return (
            f"{drop}, between {seen.low:.6f} and {seen.high:.6f} {sure}; {tolerance}: undecided; "
            f"these rows resolve a difference of {seen.high - seen.estimate:.6f}, {more}"
        )

    def _compare(self, baseline: Scores, trial: Scores, slices: Slices | None) -> Verdict:
        """Compare the two scores themselves, where they are not paired or no confidence is asked for."""
        tolerance = self.tolerance(baseline.value)
        drop = self.drop(baseline.value, trial.value)
        scores = _pair(baseline, trial)
        readings: tuple[GuardReading, ...] = ()
        if scores is not None:
            readings = tuple(guard.read(scores, ESTIMATES) for guard in self.guards(slices))
        failures = [reading.describe_failure() for reading in readings if reading.decision(ESTIMATES) == "beyond"]
        passed = drop <= tolerance
        why = "confidence: null" if self.confidence is None else "this score has no paired test"
        rows = f"all {baseline.rows:,} rows" if baseline.rows else "all rows"
        words = (
            f"drop {drop:.6f} on {rows}, without a confidence bound ({why}); tolerance {tolerance:.6f}: "
            f"{'passed' if passed else 'failed'}"
        )
        return Verdict(
            accepted=passed and not failures,
            drop=drop,
            bound=drop,
            tolerance=tolerance,
            reason="; ".join(failures if passed and failures else [words, *failures]),
            baseline=baseline.value,
            score=trial.value,
            low=drop,
            decided=True,
            looks=1,
            rows=baseline.rows,
            guards=readings,
        )


def _pair(baseline: Scores, trial: Scores) -> PairedScores | None:
    """Both models' logits on the same rows; None where a score does not tell them."""
    if baseline.logits is None or trial.logits is None or baseline.labels is None:
        return None
    return PairedScores(baseline.logits, trial.logits, baseline.labels)


@dataclass(frozen=True)
class Verdict:
    """Outcome of a trial, or of one look at its rows.

    Attributes:
        accepted: whether the drop is within the tolerance and all guards passed.
        drop: drop of the score; negative where the trial is better.
        bound: upper bound of the drop, which is compared with the tolerance.
        tolerance: tolerated drop in units of the score.
        reason: explanation of the verdict.
        baseline: score of the fp32 model on the same rows.
        score: score of the trial.
        low: lower bound of the drop; equal to ``bound`` where the scores are not paired.
        decided: whether no more rows are needed, or none are left.
        looks: number of looks at the rows so far.
        rows: number of rows scored; 0 where unknown.
        guards: readings of the guards on these rows.

    Example:
        >>> from dlrm_pl import TuningListener
        >>> from dlrm_pl.quantization import Verdict
        >>> class PrintBounds(TuningListener):
        ...     def on_look(self, number: int, verdict: Verdict) -> None:
        ...         print(f"trial {number}: drop at most {verdict.bound:.6f} after {verdict.rows:,} rows")
    """

    accepted: bool
    drop: float
    bound: float
    tolerance: float
    reason: str
    baseline: float
    score: float
    low: float
    decided: bool
    looks: int
    rows: int
    guards: tuple[GuardReading, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether it is not accepted only because there are too few rows: neither drop nor guards are known to fail."""
        unjudged = any(not guard.judged for guard in self.guards)
        failed = any(guard.decision(ESTIMATES) == "beyond" for guard in self.guards if guard.judged)
        open_ = self.bound > self.tolerance or unjudged
        return not self.accepted and self.low <= self.tolerance and open_ and not failed

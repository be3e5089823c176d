import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.judging.guards import GuardReading
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.judging.slices.worst_slice import SliceReading


def paired(noise: float, rows: int = 4000) -> tuple[Scores, Scores]:
    """Return scores of two models for the same rows that differ by noise."""
    rng = np.random.default_rng(0)
    labels = (rng.random(rows) < 0.1).astype(np.uint8)
    first = (rng.normal(size=rows) + labels).astype(np.float32)
    second = (first + rng.normal(scale=noise, size=rows)).astype(np.float32)
    return tuple(Scores(exact_auroc(x, labels), 1.0, x, labels) for x in (first, second))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("criterion", "drop", "accepted"),
    [
        (Criterion(relative=0.01), 0.0079, True),
        (Criterion(relative=0.01), 0.0081, False),
        (Criterion(absolute=0.005), 0.0049, True),
        (Criterion(absolute=0.005), 0.0051, False),
        (Criterion(), 0.0079, True),  # LPOT's default: 1 % relative.
        (Criterion(), 0.0081, False),
        (Criterion(relative=0.0), 0.0, True),
        (Criterion(relative=0.0), -0.01, True),  # A better model is never rejected.
    ],
)
def test_scores_without_pairs_are_compared_as_they_are(criterion: Criterion, drop: float, accepted: bool) -> None:
    verdict = criterion.judge(Scores(0.8, 1.0), Scores(0.8 - drop, 1.0))
    assert verdict.accepted is accepted
    assert verdict.drop == verdict.bound == pytest.approx(drop)


def test_pairs_are_judged_by_their_upper_bound_and_not_by_the_estimate() -> None:
    baseline, trial = paired(noise=0.02)
    drop = baseline.value - trial.value
    verdict = Criterion(absolute=abs(drop) + 1e-9).judge(baseline, trial)
    assert verdict.drop <= verdict.tolerance < verdict.bound
    assert not verdict.accepted
    assert Criterion(absolute=verdict.bound + 1e-9).judge(baseline, trial).accepted
    assert Criterion(absolute=abs(drop) + 1e-9, confidence=None).judge(baseline, trial).accepted


def test_identical_scores_pass_any_tolerance() -> None:
    baseline, _ = paired(noise=0.02)
    assert Criterion(relative=0.0).judge(baseline, baseline).accepted


def squeezed(scores: Scores, factor: float, shift: float) -> Scores:
    """Return logits with the same order, and therefore the same AUROC, but other values."""
    assert scores.logits is not None
    changed = factor * scores.logits.astype(np.float64) + shift
    return Scores(scores.value, 1.0, changed.astype(np.float32), scores.labels)


@pytest.mark.parametrize(
    ("factor", "shift", "word"), [(1.5, 0.0, "log loss"), (1.0, 0.1, "calibration ratio")], ids=["spread", "shift"]
)
def test_guards_reject_probabilities_that_are_off(factor: float, shift: float, word: str) -> None:
    baseline, _ = paired(noise=0.0)
    trial = squeezed(baseline, factor, shift)
    verdict = Criterion(relative=0.01).judge(baseline, trial)
    assert verdict.drop == pytest.approx(0.0, abs=1e-4)
    assert not verdict.accepted
    assert word in verdict.reason
    relaxed = Criterion(relative=0.01, log_loss=None, calibration_ratio=None)
    assert relaxed.judge(baseline, trial).accepted


def test_both_tolerances_at_once_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"relative=0\.01 and absolute=0\.002 are mutually exclusive"):
        Criterion(relative=0.01, absolute=0.002)


@pytest.mark.parametrize(("name", "value"), [("relative", -0.1), ("absolute", float("nan")), ("log_loss", -1.0)])
def test_tolerance_below_zero_is_rejected(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        Criterion(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0.5, 1.0, 95.0])
def test_confidence_that_is_no_confidence_is_rejected(confidence: float) -> None:
    with pytest.raises(ConfigurationError, match=f"confidence={confidence}"):
        Criterion(confidence=confidence)


def test_one_click_bounds_no_drop_and_the_reason_says_so() -> None:
    labels = np.zeros(50, np.uint8)
    labels[7] = 1
    ranked = np.linspace(0.1, 0.9, 50, dtype=np.float32)
    baseline = Scores(exact_auroc(ranked, labels), 1.0, ranked, labels)
    verdict = Criterion(relative=0.5).judge(baseline, baseline)
    assert not verdict.accepted
    assert "cannot be bounded" in verdict.reason
    assert "exceeds" not in verdict.reason
    assert Criterion(relative=0.5, confidence=None).judge(baseline, baseline).accepted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relative": 1.5}, r"relative=1\.5 tolerates a drop of 150% of the score, .* as 0\.001 for 0\.1 %"),
        ({"relative": 1.0}, "relative=1.0 tolerates a drop of 100%"),
        ({"relative": float("nan")}, "relative=nan must be a non-negative number"),
        ({"log_loss": 5.0}, r"log_loss=5\.0 tolerates a change of 500%, which guards nothing.* null turns"),
        ({"calibration_ratio": 2.0}, "calibration_ratio=2.0 tolerates a change of 200%"),
        ({"confidence": 95}, "confidence=95 must be between 0.5 and 1"),
    ],
)
def test_tolerance_of_everything_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Criterion(**settings)


def test_drop_of_auroc_down_to_chance_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"absolute=0\.5: a perfect model that lost this much AUROC"):
        Criterion(absolute=0.5).check_auroc()
    Criterion(absolute=0.49).check_auroc()
    assert Criterion(relative=2.0, higher_is_better=False).relative == 2.0  # The metric is an error that may triple.


def test_slice_that_may_lose_everything_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"worst_slice.tolerance=1.0 tolerates a drop of 100%"):
        WorstSlice(by="C1", tolerance=1.0)


def test_loose_tolerances_are_named() -> None:
    assert Criterion(relative=0.1).loose == ""
    guard = WorstSlice(by="C1", tolerance=0.3)
    loose = Criterion(relative=0.2, calibration_ratio=0.4, worst_slice=guard).loose
    assert loose == "relative=0.2, calibration_ratio=0.4, worst_slice.tolerance=0.3"


@pytest.mark.parametrize(
    ("change", "undecided"),
    [
        ({"low": 0.001, "bound": 0.02}, True),
        ({"low": 0.011, "bound": 0.02}, False),
        ({"low": 0.001, "bound": 0.002}, False),
        ({"low": -math.inf, "bound": math.inf}, True),
        ({"low": 0.001, "bound": 0.02, "accepted": True}, False),
        ({"low": 0.001, "bound": 0.02, "guards": (GuardReading("x", 1, 2, 1.0, 0.1, 0.5, False),)}, False),
        ({"low": 0.0, "bound": 0.002, "guards": (SliceReading("x", 1, 2, 1.0, 0.1, 0.5, slices=0),)}, True),
    ],
)
def test_search_is_undecided_only_where_no_row_speaks_against_the_trial(
    change: dict[str, Any], undecided: bool
) -> None:
    verdict = Verdict(False, 0.005, 0.02, 0.01, "", 0.8, 0.795, 0.0, True, 1, 1000)
    assert dataclasses.replace(verdict, **change).undecided is undecided

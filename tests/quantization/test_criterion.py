import numpy as np
import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.auroc import exact_auroc
from dlrm_pl.quantization.criterion import Criterion
from dlrm_pl.quantization.evaluation import Scores


def paired(noise: float, rows: int = 4000) -> tuple[Scores, Scores]:
    """Two models of the same rows that differ by noise."""
    rng = np.random.default_rng(0)
    labels = (rng.random(rows) < 0.1).astype(np.uint8)
    first = (rng.normal(size=rows) + labels).astype(np.float32)
    second = (first + rng.normal(scale=noise, size=rows)).astype(np.float32)
    return tuple(Scores(exact_auroc(x, labels), 1.0, x, labels) for x in (first, second))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("criterion", "loss", "accepted"),
    [
        (Criterion(relative=0.01), 0.0079, True),
        (Criterion(relative=0.01), 0.0081, False),
        (Criterion(absolute=0.005), 0.0049, True),
        (Criterion(absolute=0.005), 0.0051, False),
        (Criterion(), 0.0079, True),  # LPOT's default: 1 % relative
        (Criterion(), 0.0081, False),
        (Criterion(relative=0.0), 0.0, True),
        (Criterion(relative=0.0), -0.01, True),  # a better model is never rejected
    ],
)
def test_scores_without_pairs_are_compared_as_they_are(criterion: Criterion, loss: float, accepted: bool) -> None:
    verdict = criterion.judge(Scores(0.8, 1.0), Scores(0.8 - loss, 1.0))
    assert verdict.accepted is accepted
    assert verdict.loss == verdict.bound == pytest.approx(loss)


def test_pairs_are_judged_by_their_upper_bound_and_not_by_the_estimate() -> None:
    baseline, trial = paired(noise=0.02)
    loss = baseline.value - trial.value
    verdict = Criterion(absolute=abs(loss) + 1e-9).judge(baseline, trial)
    assert verdict.loss <= verdict.tolerance < verdict.bound
    assert not verdict.accepted
    assert Criterion(absolute=verdict.bound + 1e-9).judge(baseline, trial).accepted
    assert Criterion(absolute=abs(loss) + 1e-9, confidence=None).judge(baseline, trial).accepted


def test_identical_scores_pass_any_tolerance() -> None:
    baseline, _ = paired(noise=0.02)
    assert Criterion(relative=0.0).judge(baseline, baseline).accepted


def squeezed(scores: Scores, factor: float, shift: float) -> Scores:
    """The same order, and so the same AUROC, with other logits."""
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
    assert verdict.loss == pytest.approx(0.0, abs=1e-4)
    assert not verdict.accepted
    assert word in verdict.reason
    relaxed = Criterion(relative=0.01, log_loss=None, calibration_ratio=None)
    assert relaxed.judge(baseline, trial).accepted


def test_both_tolerances_at_once_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"relative=0\.01 and absolute=0\.002 exclude each other"):
        Criterion(relative=0.01, absolute=0.002)


@pytest.mark.parametrize(("name", "value"), [("relative", -0.1), ("absolute", float("nan")), ("log_loss", -1.0)])
def test_tolerance_below_zero_is_rejected(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        Criterion(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0.5, 1.0, 95.0])
def test_confidence_that_is_no_confidence_is_rejected(confidence: float) -> None:
    with pytest.raises(ConfigurationError, match=f"confidence={confidence}"):
        Criterion(confidence=confidence)


def test_one_click_bounds_no_loss_and_the_reason_says_so() -> None:
    labels = np.zeros(50, np.uint8)
    labels[7] = 1
    ranked = np.linspace(0.1, 0.9, 50, dtype=np.float32)
    baseline = Scores(exact_auroc(ranked, labels), 1.0, ranked, labels)
    verdict = Criterion(relative=0.5).judge(baseline, baseline)
    assert not verdict.accepted
    assert "cannot be bounded" in verdict.reason
    assert "exceeds" not in verdict.reason
    assert Criterion(relative=0.5, confidence=None).judge(baseline, baseline).accepted

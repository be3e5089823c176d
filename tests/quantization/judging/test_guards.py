"""Guards compared with numbers by hand, and their errors with resampling."""

from __future__ import annotations

import numpy as np
import pytest

from dlrm_pl.quantization.judging.bounds import ESTIMATES, Bounds
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.guards import CalibrationGuard, GuardReading, LogLossGuard
from dlrm_pl.quantization.judging.paired_scores import PairedScores


def drawn(rows: int = 4000, noise: float = 0.1, seed: int = 0, shift: float = 0.0) -> PairedScores:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 1, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    before, after = logits, logits + shift + noise * rng.normal(size=rows)
    return PairedScores(before.astype(np.float32), after.astype(np.float32), labels.astype(np.uint8))


def read(scores: PairedScores) -> tuple[GuardReading, GuardReading]:
    return LogLossGuard(0.1).read(scores, ESTIMATES), CalibrationGuard(0.1).read(scores, ESTIMATES)


def changes(scores: PairedScores) -> tuple[float, float]:
    first, second = read(scores)
    return first.change, second.change


def test_values_are_those_of_the_definitions() -> None:
    probabilities, labels = np.array([[0.5, 0.2], [0.4, 0.4]]), np.array([1, 0])
    before, after = np.log(probabilities / (1 - probabilities))
    log_loss, ratio = read(PairedScores(before, after, labels))
    assert log_loss.before == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert log_loss.after == pytest.approx(-(np.log(0.4) + np.log(0.6)) / 2)
    assert log_loss.change == pytest.approx(log_loss.after / log_loss.before - 1)
    assert (ratio.before, ratio.after) == (pytest.approx(0.7), pytest.approx(0.8))
    assert ratio.change == pytest.approx(0.8 / 0.7 - 1)


def test_standard_errors_are_those_of_fresh_rows() -> None:
    found = [changes(drawn(seed=seed, shift=-1.0)) for seed in range(200)]
    readings = read(drawn(seed=999, shift=-1.0))
    spread = np.std(found, axis=0)
    for reading, expected in zip(readings, spread, strict=True):
        assert reading.standard_error == pytest.approx(expected, rel=0.2)


def test_certain_row_that_was_wrong_loses_its_logit() -> None:
    """Its float32 probability is 1 for all logits from 17 on."""
    certain = np.array([40.0, 40.0], np.float32)
    reading = LogLossGuard(0.1).read(PairedScores(certain, 2 * certain, np.array([0, 1])), ESTIMATES)
    assert (reading.before, reading.after) == (20.0, 40.0)


@pytest.mark.parametrize(
    ("change", "two_sided", "last", "decision"),
    [
        (0.001, False, False, "within"),
        (0.0095, False, False, "open"),
        (0.0095, False, True, "within"),
        (0.0105, False, True, "beyond"),
        (0.02, False, False, "beyond"),
        (-0.02, False, False, "within"),
        (-0.02, True, False, "beyond"),
        (-0.0095, True, False, "open"),
    ],
)
def test_decisions(change: float, two_sided: bool, last: bool, decision: str) -> None:
    reading = GuardReading("x", 1.0, 1 + change, change, 0.001, 0.01, two_sided)
    assert reading.decision(Bounds(0.023, last=last)) == decision


def test_guards_that_are_off_are_not_read() -> None:
    assert Criterion(log_loss=None, calibration_ratio=None).guards(None) == ()
    assert Criterion(log_loss=0.1, calibration_ratio=0.2).guards(None) == (LogLossGuard(0.1), CalibrationGuard(0.2))

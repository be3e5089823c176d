"""Guards against numbers by hand, and their error against resampling."""

from __future__ import annotations

import numpy as np
import pytest

from dlrm_pl.quantization.judging.guards import GuardReading, read_guards


def drawn(
    rows: int = 4000, noise: float = 0.1, seed: int = 0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 1, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    before, after = logits, logits + shift + noise * rng.normal(size=rows)
    return before.astype(np.float32), after.astype(np.float32), labels.astype(np.uint8)


def changes(arrays: tuple[np.ndarray, ...]) -> tuple[float, float]:  # type: ignore[type-arg]
    first, second = read_guards(*arrays, log_loss=0.1, calibration_ratio=0.1)
    return first.change, second.change


def test_values_are_those_of_the_definitions() -> None:
    probabilities, labels = np.array([[0.5, 0.2], [0.4, 0.4]]), np.array([1, 0])
    before, after = np.log(probabilities / (1 - probabilities))
    log_loss, ratio = read_guards(before, after, labels, log_loss=0.1, calibration_ratio=0.1)
    assert log_loss.before == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert log_loss.after == pytest.approx(-(np.log(0.4) + np.log(0.6)) / 2)
    assert log_loss.change == pytest.approx(log_loss.after / log_loss.before - 1)
    assert (ratio.before, ratio.after) == (pytest.approx(0.7), pytest.approx(0.8))
    assert ratio.change == pytest.approx(0.8 / 0.7 - 1)


def test_standard_errors_are_those_of_fresh_rows() -> None:
    found = [changes(drawn(seed=seed, shift=-1.0)) for seed in range(200)]
    readings = read_guards(*drawn(seed=999, shift=-1.0), log_loss=0.1, calibration_ratio=0.1)
    spread = np.std(found, axis=0)
    for reading, expected in zip(readings, spread, strict=True):
        assert reading.standard_error == pytest.approx(expected, rel=0.2)


def test_certain_row_that_was_wrong_loses_its_logit() -> None:
    """Its float32 probability is 1, whatever the logit is from 17 on."""
    certain = np.array([40.0, 40.0], np.float32)
    (reading,) = read_guards(certain, 2 * certain, np.array([0, 1]), log_loss=0.1, calibration_ratio=None)
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
    assert reading.decision(0.023, last=last) == decision


def test_guards_that_are_off_are_not_read() -> None:
    assert read_guards(*drawn(100), log_loss=None, calibration_ratio=None) == ()

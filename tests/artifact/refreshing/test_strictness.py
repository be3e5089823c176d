"""A refresh is compared with the criterion by which the previous artifact was certified."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from dlrm_pl.artifact.refreshing.strictness import less_strict
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from tests.support.refreshing import Made

WORST = SimpleNamespace(column="C2", guard=WorstSlice(by="C2", tolerance=0.02))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Criterion(relative=0.9), []),
        (Criterion(relative=0.5, confidence=0.99, log_loss=0.001, calibration_ratio=0.01), []),
        (Criterion(relative=0.95), ["a drop of 95% of the AUROC, before 90%"]),
        (Criterion(relative=0.9, confidence=0.9), ["a confidence of 90%, before 95%"]),
        (Criterion(relative=0.9, confidence=None), ["no confidence, before 95%"]),
        (Criterion(relative=0.9, log_loss=0.01), ["a change of 1% of the log loss, before 0.5%"]),
        (Criterion(relative=0.9, calibration_ratio=None), ["any change of the calibration ratio, before 2%"]),
    ],
)
def test_every_weaker_demand_is_named(made: Made, criterion: Criterion, expected: list[str]) -> None:
    assert less_strict(made.artifact().certificate, criterion) == expected


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (WorstSlice(by="C2", tolerance=0.02), []),
        (WorstSlice(by="C2", tolerance=0.05), ["a drop of 5% of the worst slice by C2, before 2%"]),
        (None, ["any drop of the worst slice by C2, before 2%"]),
    ],
)
def test_a_weaker_guard_of_the_worst_slice_is_named(made: Made, guard: WorstSlice | None, expected: list[str]) -> None:
    certificate = dataclasses.replace(made.artifact().certificate, worst_slice=WORST)  # type: ignore[arg-type]
    assert less_strict(certificate, Criterion(relative=0.9, worst_slice=guard)) == expected


def test_tolerances_that_cannot_be_compared_are_left_out(made: Made) -> None:
    """Tolerances of a score other than AUROC, shares of an AUROC of 0, disabled guards, and invalid bounds."""
    certificate, weak = made.artifact().certificate, Criterion(relative=0.95, confidence=None, log_loss=None)
    off = tuple(dataclasses.replace(guard, tolerance=None) for guard in certificate.guards)
    without = dataclasses.replace(certificate, guards=off, judged_by="estimate")
    assert less_strict(dataclasses.replace(without, score="Accuracy"), weak) == []
    nothing = dataclasses.replace(without, fp32=without.fp32 | {"auroc": 0.0}, tolerance=0.0)
    assert less_strict(nothing, Criterion(absolute=0.01)) == []

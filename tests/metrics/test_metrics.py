"""AUROC, calibration and the paired difference, compared with explicit definitions."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dlrm_pl.errors import MetricError, NonFiniteError, ShapeError
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.metrics.calibration_sums import click_calibration, normalized_entropy
from dlrm_pl.metrics.logits import click_probabilities, log_losses
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.metrics.student import student_quantile
from tests.reference import metrics as reference
from tests.support.processes.ranks import run_ranks


def rows(size: int, seed: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores of two models with many ties, and labels of both classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    labels[:4] = 0, 1, 0, 1
    first, second = (np.clip(rng.integers(0, levels, size) / levels, 0, 1).astype(np.float32) for _ in range(2))
    return first, second, labels


@settings(deadline=None)
@given(size=st.integers(4, 60), seed=st.integers(0, 2**16), levels=st.sampled_from([1, 3, 10, 1000]))
def test_auroc_counts_every_pair_and_ties_as_half(size: int, seed: int, levels: int) -> None:
    first, _, labels = rows(size, seed, levels)
    assert exact_auroc(first, labels) == pytest.approx(reference.auroc(first, labels), abs=1e-12)
    assert exact_auroc(torch.from_numpy(first), torch.from_numpy(labels)) == exact_auroc(first, labels)


@settings(deadline=None)
@given(size=st.integers(4, 60), seed=st.integers(0, 2**16), cut=st.integers(0, 60))
def test_metric_does_not_depend_on_batches(size: int, seed: int, cut: int) -> None:
    first, _, labels = (torch.from_numpy(array) for array in rows(size, seed, 10))
    metric = ExactAUROC()
    metric.update(first[:cut], labels[:cut])
    metric.update(first[cut:], labels[cut:])
    assert metric.compute().item() == exact_auroc(first, labels)
    assert metric.compute().dtype == torch.float64


def test_threads_do_not_change_the_auroc(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, labels = rows(1000, 1, 50)
    alone = exact_auroc(first, labels)
    monkeypatch.setattr("dlrm_pl.metrics.ranking._ROWS_WORTH_A_THREAD", 10)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert exact_auroc(first, labels) == alone


def test_half_precision_scores_are_read() -> None:
    scores = torch.tensor([0.1, 0.9, 0.4, 0.6], dtype=torch.bfloat16)
    assert exact_auroc(scores, torch.tensor([0, 1, 1, 0])) == 0.75


def test_metric_is_reset_pickled_and_cloned() -> None:
    first, _, labels = (torch.from_numpy(array) for array in rows(30, 1, 10))
    metric = ExactAUROC()
    metric.update(first, labels)
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute() == metric.clone().compute() == exact_auroc(first, labels)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(MetricError):
        metric.compute()


@pytest.mark.parametrize("label", [0, 1])
def test_single_class_has_no_auroc(label: int) -> None:
    with pytest.raises(MetricError, match=f"single class: {3 * label} clicks among 3 rows"):
        exact_auroc(np.array([0.1, 0.2, 0.3]), np.full(3, label))


METRICS = {
    "exact_auroc": exact_auroc,
    "ExactAUROC": lambda scores, labels: ExactAUROC().update(torch.from_numpy(scores), torch.from_numpy(labels)),
    "ClickCalibration": lambda logits, labels: ClickCalibration().update(
        torch.from_numpy(logits), torch.from_numpy(labels)
    ),
    "first of a pair": lambda scores, labels: paired_auroc_difference(scores, np.zeros(len(labels)), labels),
    "second of a pair": lambda scores, labels: paired_auroc_difference(np.zeros(len(labels)), scores, labels),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        ([0.5, float("nan"), 1.0], [0.0, 1.0, 0.0], NonFiniteError, "The score of row 1 is nan"),
        ([0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 2.0, 3.0], MetricError, r"label of row 2 is 2\.0; labels must be 0 or 1"),
        ([0.5, 0.5], [1.0, -1.0], MetricError, r"label of row 1 is -1\.0"),
        ([0.5, 0.5], [0.5, 0.0], MetricError, r"label of row 0 is 0\.5"),
        ([0.5, 0.5], [0.0, float("nan")], MetricError, "label of row 1 is nan"),
        ([0.5], [0.0, 1.0], ShapeError, r"Scores \[1\] and labels \[2\]"),
        ([[0.5], [1.0]], [[0.0], [1.0]], ShapeError, r"\[2, 1\]"),
    ],
)
def test_what_is_no_score_or_label_is_rejected(
    metric: str, scores: list[float], labels: list[float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        METRICS[metric](np.array(scores), np.array(labels))


def test_infinite_scores_have_an_order_but_no_log_loss() -> None:
    scores, labels = torch.tensor([float("-inf"), 0.0, float("inf")]), torch.tensor([0, 0, 1])
    assert exact_auroc(scores, labels) == 1.0
    metric = ExactAUROC()
    metric.update(scores, labels)
    assert metric.compute() == 1.0
    with pytest.raises(NonFiniteError, match="The score of row 0 is -inf"):
        ClickCalibration().update(scores, labels)


def test_negative_zero_ties_with_zero() -> None:
    assert exact_auroc(np.array([-0.0, 0.0, -0.0, 0.0], np.float32), np.array([0, 1, 1, 0])) == 0.5


@settings(deadline=None)
@given(size=st.integers(4, 60), seed=st.integers(0, 2**16), shift=st.integers(-2000, 2000), power=st.integers(0, 6))
def test_shift_and_scale_of_the_logits_change_no_order(size: int, seed: int, shift: int, power: int) -> None:
    """Whole numbers and powers of two, so that no logit is rounded; their probabilities are 0 or 1 in float64."""
    first, second, labels = rows(size, seed, 10)
    one, other = (np.round(10 * scores) for scores in (first, second))
    auroc, paired = exact_auroc(one, labels), paired_auroc_difference(one, other, labels)
    one, other = ((scores + shift) * 2.0**power for scores in (one, other))
    assert exact_auroc(one, labels) == auroc
    assert paired_auroc_difference(one, other, labels) == paired
    metric = ExactAUROC()
    metric.update(torch.from_numpy(one), torch.from_numpy(labels))
    assert metric.compute() == auroc


@settings(deadline=None)
@given(size=st.integers(4, 80), seed=st.integers(0, 2**16), batch=st.integers(1, 80))
def test_calibration_equals_its_definitions(size: int, seed: int, batch: int) -> None:
    scores, _, labels = rows(size, seed, 1000)
    logits = 10 * scores - 7
    metric = ClickCalibration()
    for start in range(0, size, batch):
        part = slice(start, start + batch)
        metric.update(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    found = {name: float(value) for name, value in metric.compute().items()}
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    log_loss = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    rate = labels.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["log_loss"] == pytest.approx(log_loss, rel=1e-9)
    assert found["normalized_entropy"] == pytest.approx(log_loss / entropy, rel=1e-9)
    assert found["calibration_ratio"] == pytest.approx(p.sum() / labels.sum(), rel=1e-9)
    assert (found["rows"], found["clicks"]) == (size, labels.sum())


def test_model_that_knows_only_the_rate_has_normalized_entropy_one() -> None:
    labels = torch.tensor([1.0] + [0.0] * 3)
    metric = ClickCalibration()
    metric.update(torch.full((4,), -math.log(3)), labels)
    values = metric.compute()
    assert values["normalized_entropy"].item() == pytest.approx(1)
    assert values["calibration_ratio"].item() == pytest.approx(1)


def test_certain_and_wrong_loses_its_logit() -> None:
    """The probabilities are 0 and 1, even in float64."""
    metric = ClickCalibration()
    metric.update(torch.tensor([-1000.0, 1000.0, 1000.0]), torch.tensor([1.0, 0.0, 1.0]))
    values = metric.compute()
    assert values["log_loss"].item() == pytest.approx(2000 / 3)
    assert values["calibration_ratio"].item() == 1.0


def test_losses_and_probabilities_of_logits_are_those_of_exact_arithmetic() -> None:
    logits = np.array([-800.0, -40.0, -1.5, 0.0, 2.5, 40.0, 800.0], np.float32)
    with np.errstate(all="raise", under="ignore"):
        probabilities, of_clicks, of_others = (
            click_probabilities(logits),
            log_losses(logits, np.ones(7)),
            log_losses(logits, np.zeros(7)),
        )
    for logit, probability, clicked, other in zip(logits.tolist(), probabilities, of_clicks, of_others, strict=True):
        exact = Decimal(logit).exp()
        assert probability == pytest.approx(float(exact / (1 + exact)), rel=1e-15)
        assert clicked == pytest.approx(float((1 + 1 / exact).ln()), rel=1e-15)
        assert other == pytest.approx(float((1 + exact).ln()), rel=1e-15)


def test_calibration_without_rows_or_of_one_class_is_undefined() -> None:
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(MetricError, match="No rows"):
        ClickCalibration().compute()
    metric = ClickCalibration()
    metric.update(torch.tensor([0.5]), torch.tensor([0.0]))
    with pytest.raises(MetricError, match=r"label rate is 0\.0"):
        metric.compute()
    with pytest.raises(MetricError, match="label rate is 1"):
        normalized_entropy(0.5, 1)


@settings(deadline=None)
@given(size=st.integers(4, 80), seed=st.integers(0, 2**16), levels=st.sampled_from([2, 10, 1000]))
def test_paired_difference_equals_delong_by_all_pairs(size: int, seed: int, levels: int) -> None:
    first, second, labels = rows(size, seed, levels)
    found = paired_auroc_difference(first, second, labels)
    assert found.first == pytest.approx(reference.auroc(first, labels), abs=1e-12)
    assert found.difference == pytest.approx(found.first - reference.auroc(second, labels), abs=1e-12)
    expected = reference.paired_standard_error(first, second, labels)
    assert found.standard_error == pytest.approx(expected, rel=1e-6, abs=1e-9)
    low, high = found.interval(0.95)
    assert low <= found.difference <= high
    assert high - low == pytest.approx(
        2 * t(0.975, found.degrees_of_freedom) * found.standard_error, rel=1e-5, abs=1e-12
    )
    assert found.difference + found.margin(0.05) == pytest.approx(
        found.difference + t(0.95, found.degrees_of_freedom) * found.standard_error, rel=1e-5
    )
    if found.standard_error:
        rows_of = sorted((found.num_positives, found.num_negatives))
        assert rows_of[0] - 1 <= found.degrees_of_freedom + 1e-9 <= len(labels) - 2 + 1e-6


def t(probability: float, degrees_of_freedom: float) -> float:
    return float(special.stdtrit(min(degrees_of_freedom, 1e12), probability))


@pytest.mark.parametrize("degrees_of_freedom", [1.0, 1.7, 4.0, 29.0, 99.5, 100.5, 1e4, math.inf])
@pytest.mark.parametrize("probability", [0.0001, 0.05, 0.5, 0.95, 0.975, 0.9999])
def test_quantiles_are_those_of_students_t(probability: float, degrees_of_freedom: float) -> None:
    found = student_quantile(probability, degrees_of_freedom)
    assert found == pytest.approx(t(probability, degrees_of_freedom), rel=1e-5, abs=1e-6)


def test_one_click_gives_no_bound() -> None:
    scores, labels = np.linspace(0, 1, 50), np.arange(50) == 40
    found = paired_auroc_difference(scores, scores[::-1], labels, click_logits=scores)
    assert math.isinf(found.margin(0.05))


def test_identical_scores_have_no_error() -> None:
    first, _, labels = rows(50, 3, 10)
    found = paired_auroc_difference(first, first, labels)
    assert (found.difference, found.standard_error, found.interval(0.99)) == (0.0, 0.0, (0.0, 0.0))


def test_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    """600 draws of two models with equal AUROCs: the 90 % interval contains 0 in about 90 % of them."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        labels = (rng.random(300) < 0.3).astype(int)
        truth = rng.normal(size=300) + labels
        first, second = truth + rng.normal(size=300), truth + rng.normal(size=300)
        low, high = paired_auroc_difference(first, second, labels).interval(0.9)
        covered += low <= 0 <= high
    # Four standard errors of a share of 600.
    assert abs(covered / 600 - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 600)


def test_one_click_gives_a_difference_but_no_error() -> None:
    labels = np.array([1, 0, 0, 0])
    found = paired_auroc_difference(np.array([0.9, 0.1, 0.2, 0.3]), np.array([0.2, 0.1, 0.3, 0.4]), labels)
    assert found.difference == pytest.approx(1 - 1 / 3)
    assert found.standard_error == float("inf")


def test_paired_difference_of_a_single_class_is_undefined() -> None:
    with pytest.raises(MetricError, match="0 clicks among 3 rows"):
        paired_auroc_difference(np.zeros(3), np.zeros(3), np.zeros(3))


RANK = """
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.metrics.without_sync import without_sync
scores = torch.tensor([0.9, 0.1, 0.8, 0.3, 0.35, 0.7, 0.2], dtype=torch.float64).logit()
labels = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0])
# Unequal shares, and none of the clicks on rank 1.
mine = labels == 1 if rank == 0 else labels == 0
auroc, calibration = ExactAUROC(), ClickCalibration()
auroc.update(scores[mine], labels[mine])
calibration.update(scores[mine], labels[mine])
alone = without_sync(ExactAUROC())
if rank == 0:  # Would wait for rank 1, were it not local.
    alone.update(scores, labels)
    expected = alone.compute()
found = auroc.compute()
assert rank or found == expected, (found, expected)
assert abs(calibration.compute()["calibration_ratio"].item() - 3.35 / 3) < 1e-6
"""


def test_ranks_with_unequal_rows_give_the_auroc_of_all(tmp_path: Path) -> None:
    run_ranks(RANK, tmp_path)


def test_metrics_take_the_argument_names_of_torchmetrics_and_have_a_functional_form() -> None:
    preds, target = torch.tensor([-2.0, 0.5, 0.1, 3.0]), torch.tensor([0, 1, 1, 0])
    auroc, calibration = ExactAUROC(), ClickCalibration()
    for metric in (auroc, calibration):
        metric.update(preds=preds, target=target)
    assert float(auroc.compute()) == exact_auroc(preds=preds, target=target)
    assert click_calibration(preds, target) == calibration.compute()
    with pytest.raises(MetricError, match="single class"):
        click_calibration(preds, torch.zeros(4))


def test_a_pair_is_compared_from_lists_and_tensors_as_from_arrays() -> None:
    rows = ([0.1, 0.9, 0.4, 0.3], [0.2, 0.1, 0.8, 0.3], [0, 1, 1, 0])
    expected = paired_auroc_difference(*map(np.array, rows))
    assert paired_auroc_difference(*rows) == expected
    assert paired_auroc_difference(*map(torch.tensor, rows)) == expected
    assert exact_auroc(rows[0], rows[2]) == expected.first  # type: ignore[arg-type]

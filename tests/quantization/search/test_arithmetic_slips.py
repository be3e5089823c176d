"""What cannot be computed fails one trial with its reason; what affects every trial stops the search at the start."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy

from dlrm_pl.errors import BaselineError, CalibrationError, DLRMError, MetricError
from dlrm_pl.metrics.paired_sums import PairedSums, change_of_mean
from dlrm_pl.metrics.sequential import Look
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.bounds import Bounds
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.guards import CalibrationGuard, LogLossGuard
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.ptq import quantize as post_training
from dlrm_pl.quantization.ptq import torch_ao
from dlrm_pl.quantization.ptq.histogram_ranges import kl_range
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search import context as search
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from dlrm_pl.quantization.sensitivity import auroc_drop as sensitivity
from tests.support import tiny
from tests.support.quantization import searches

ROWS = tiny.batches(2, 400, seed=3)


def observed(observer: str, scheme: str, seen: list[Tensor]) -> tuple[float, int]:
    kind = torch_ao.OBSERVERS[observer]  # type: ignore[index]
    made = kind(dtype=torch.quint8, qscheme=getattr(torch, f"per_tensor_{scheme}"))
    for values in seen:
        made(values)
    scale, zero_point = made.calculate_qparams()
    return float(scale), int(zero_point)


CONSTANTS = {"minus one": -1.0, "zero": 0.0, "two": 2.0, "denormal": -1e-42, "far": -1e30}


@pytest.mark.each_value
@pytest.mark.parametrize("observer", torch_ao.OBSERVERS)
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("value", CONSTANTS)
def test_constant_activation_has_a_range_that_holds_it(observer: str, scheme: str, value: str) -> None:
    constant = CONSTANTS[value]
    for seen in ([torch.full((8, 4), constant)] * 2, [torch.tensor([[constant]])]):
        scale, zero_point = observed(observer, scheme, seen)
        assert math.isfinite(scale)
        assert scale > 0
        steps = min(max(round(constant / scale) + zero_point, 0), 255) - zero_point
        assert steps * scale == pytest.approx(constant, rel=0.01, abs=1e-6)


def test_kl_range_of_a_constant_is_the_constant() -> None:
    assert kl_range(np.ones(2048), -1.0, -1.0) == (-1.0, -1.0)


@pytest.mark.parametrize("observer", torch_ao.OBSERVERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_activation_without_a_finite_range_fails_the_recipe(observer: str, value: float) -> None:
    model = tiny.model()
    with torch.no_grad():
        model.bottom_mlp[0].weight[0] = 0.0  # type: ignore[index]
        model.bottom_mlp[0].bias[0] = value  # type: ignore[index]
        model.bottom_mlp[2].weight[1, 0] = -1.0  # type: ignore[index]
        model.bottom_mlp[2].weight[0, 0] = 1.0  # type: ignore[index]
    recipe = replace(Recipe.all_float(tiny.ARCHITECTURE, linears="int8"), observer=observer)  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=r"NaN or|finite range"):
        post_training.quantize(model, recipe, ROWS[:1], post_training.table_packer(model))


def settings(**changes: object) -> TuningSettings:
    return TuningSettings(criterion=Criterion(relative=0.0, log_loss=None), max_trials=4, **changes)  # type: ignore[arg-type]


def dividing_by_zero(recipe: Recipe) -> None:
    if recipe.observer == "minmax":
        1 / 0  # noqa: B018


def test_division_by_zero_fails_its_trial_and_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = search.quantize

    def quantize(model: DLRM, recipe: Recipe, *args: object) -> nn.Module:
        dividing_by_zero(recipe)
        return made(model, recipe, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "quantize", quantize)
    result = tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(ROWS), settings())
    failed = [trial for trial in result.trials if trial.verdict is None]
    assert 0 < len(failed) < len(result.trials)
    assert failed[0].error.startswith("ZeroDivisionError: division by zero (")
    assert "test_arithmetic_slips.py:" in failed[0].error
    assert result.best.verdict is not None


def test_timer_that_fails_fails_its_trial() -> None:
    def timer(model: object) -> object:
        raise OverflowError("no time at all")

    criterion = Criterion(relative=0.5, log_loss=None, calibration_ratio=None)
    with pytest.raises(DLRMError, match=r"All 2 trials failed\. The last one: OverflowError: no time at all"):
        tune(
            *(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(ROWS)),
            TuningSettings(criterion=criterion, max_trials=2, objective="latency"),
            timer=timer,  # type: ignore[arg-type]
        )


def test_strategy_that_cannot_measure_ends_with_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def errors(*args: object) -> dict[str, float]:
        raise CalibrationError("nothing was seen")

    monkeypatch.setattr(import_module("dlrm_pl.quantization.search.strategies.mse"), "activation_errors", errors)
    result = tune(
        *(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(ROWS)), replace(settings(strategy="mse"), max_trials=50)
    )
    assert result.stopped_because == "the strategy mse could not continue: nothing was seen"
    assert result.trials


def test_strategy_that_cannot_measure_before_the_first_trial_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*args: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(search, "measure_sensitivities", measured)
    with pytest.raises(DLRMError, match="because the strategy budget could not continue: ZeroDivisionError"):
        tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(ROWS), settings(strategy="budget"))


def test_change_that_cannot_be_made_counts_as_all_there_is_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sensitivity.quantize

    def quantize(model: DLRM, recipe: Recipe, *args: object) -> nn.Module:
        if recipe.ops["top_mlp.0"] == "int8":
            raise CalibrationError("no range")
        return made(model, recipe, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(sensitivity, "quantize", quantize)
    found = searches.context().sensitivities([("top_mlp.0", "int8"), ("top_mlp.2", "int8")], 500)
    assert [one.drop == 1.0 for one in found] == [True, False]


def test_float_model_that_fails_behind_the_first_look_ends_the_search_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, feature = tiny.model(), ROWS[1].dense[7, 0]
    model.register_forward_hook(lambda _, batch, logits: logits.where(batch[0].dense[:, 0] != feature, torch.nan))
    tried: list[Recipe] = []
    made = search.quantize

    def quantize(model: DLRM, recipe: Recipe, *args: object) -> nn.Module:
        tried.append(recipe)
        return made(model, recipe, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "quantize", quantize)
    criterion = Criterion(relative=0.0, first_block=400)
    with pytest.raises(
        BaselineError, match=r"fp32 model cannot be scored on the tuning rows: The score of row 407 is nan"
    ):
        tune(model, tiny.batches(2, 64), AUROCEvaluation(ROWS), TuningSettings(criterion=criterion))
    assert len(tried) == 1


def test_label_that_is_none_ends_the_search_before_the_first_trial() -> None:
    labels = ROWS[0].labels.clone()
    labels[5] = 2.0
    rows = [ROWS[0]._replace(labels=labels)]
    with pytest.raises(BaselineError, match=r"The label of row 5 is 2\.0"):
        tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(rows), settings())


@pytest.mark.parametrize("metric", [None, BinaryAccuracy()])
def test_float_model_that_predicts_nothing_is_refused_before_the_search(metric: BinaryAccuracy | None) -> None:
    model = tiny.model()
    with torch.no_grad():
        model.top_mlp[-1].bias -= 100  # type: ignore[operator]
    with pytest.raises(
        MetricError, match=r"all 800 rows a click probability of 0 in float32: its logits lie between -98"
    ):
        tune(model, tiny.batches(2, 64), AUROCEvaluation(ROWS, metric), settings())


@pytest.mark.parametrize("metric", [None, BinaryAccuracy()])
def test_rows_of_a_single_class_are_refused_before_the_search(metric: BinaryAccuracy | None) -> None:
    rows = [batch._replace(labels=torch.zeros_like(batch.labels)) for batch in ROWS]
    with pytest.raises(MetricError, match="0 clicks among 800 rows"):
        tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(rows, metric), settings())


@given(
    rows=st.integers(2, 30),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1.0, 1e-30, 1e-150]),
)
def test_change_is_the_same_from_all_values_and_from_sums(rows: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    before, after = scale * rng.random(rows), scale * rng.random(rows)
    sums = PairedSums()
    sums.add(before, after)
    change, error = change_of_mean(before, after)
    assert change == pytest.approx(after.sum() / before.sum() - 1)
    expected = (after - (change + 1) * before).std() / before.mean() / math.sqrt(rows)
    assert error == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert sums.change == pytest.approx(change)
    assert sums.standard_error == pytest.approx(error, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "change", "error"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0, 0.0),
        ([0.0, 0.0], [0.0, 1.0], math.inf, None),
        ([1e-300, 1e-300], [1.0, 0.5], pytest.approx(7.5e299), None),
        ([5e-324, 0.0], [1e38, 1e38], math.inf, None),
    ],
)
def test_change_of_nothing_or_nearly(before: list[float], after: list[float], change: float, error: float) -> None:
    sums = PairedSums()
    sums.add(np.array(before), np.array(after))
    assert (sums.change, sums.standard_error) == (change, error)
    assert change_of_mean(np.array(before), np.array(after)) == (change, error)


GUARDS = (LogLossGuard(0.1), CalibrationGuard(0.1))
LAST = Bounds(alpha=0.05, last=True)


def test_guards_of_probabilities_beyond_float64_are_read_judged_and_written() -> None:
    labels = np.array([0, 0, 1], np.uint8)
    before, after = np.array([-900.0, -900.0, -800.0], np.float32), np.array([-3.0, -900.0, -800.0], np.float32)
    same = CalibrationGuard(0.1).read(PairedScores(before, before, labels), LAST)
    assert (same.change, same.standard_error, same.decision(LAST)) == (0.0, 0.0, "within")
    log_loss, ratio = (guard.read(PairedScores(before, after, labels), LAST) for guard in GUARDS)
    assert ratio.change == math.inf
    assert ratio.decision(replace(LAST, last=False)) == "beyond"
    assert ratio.describe() == "calibration ratio 0.000000 -> 0.047426 (from zero)"
    trial = searches.trial(Recipe.all_float(tiny.ARCHITECTURE), 0.1)
    assert trial.verdict is not None
    trial = replace(trial, verdict=replace(trial.verdict, guards=(log_loss, ratio)))
    text = json.dumps(trial.to_dict(), allow_nan=False)
    again = Trial.from_dict(json.loads(text))
    assert again.verdict is not None
    assert again.verdict.guards == trial.verdict.guards


def test_log_loss_of_nothing_has_a_change() -> None:
    right, labels = np.array([-900.0, 900.0], np.float32), np.array([0, 1], np.uint8)
    same = LogLossGuard(0.1).read(PairedScores(right, right, labels), LAST)
    assert (same.before, same.change) == (0.0, 0.0)
    worse = LogLossGuard(0.1).read(PairedScores(right, -right, labels), LAST)
    assert worse.decision(LAST) == "beyond"


def test_rows_that_no_disk_holds_are_no_number() -> None:
    look = Look(number=1, rows=1000, estimate=0.0, low=-0.1, high=0.1, tolerance=1e-300, last=True)
    assert look.rows_needed is None

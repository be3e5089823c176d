"""The search loop: order, ends, failures; a fake score selects each path."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import Metric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from dlrm_pl.errors import ConfigurationError, DLRMError, EvaluationError, MetricError, NonFiniteError
from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, Scores, check_finite, score_with
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import Latency
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.strategies import strategy_named
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny


def drop_of(rule: Callable[[dict[str, str]], float]) -> Callable[[nn.Module], float]:
    """Return an eval_func whose drop is a rule on the dtypes of the ops; 0.8 for the float model."""

    def eval_func(model: nn.Module) -> float:
        return 0.8 - rule(model.op_dtypes) if isinstance(model, Int8DLRM) else 0.8

    return eval_func


def run(rule: Callable[[dict[str, str]], float], **settings: object) -> TuningResult:
    chosen = {"criterion": Criterion(absolute=0.001), "space": SpaceSettings(observers=("minmax",))} | settings
    return tune(tiny.model(), tiny.batches(1, 32), drop_of(rule), TuningSettings(**chosen))  # type: ignore[arg-type]


def test_first_recipe_that_passes_ends_the_search() -> None:
    result = run(lambda ops: 0.0)
    assert len(result.trials) == 1
    assert result.accepted
    assert result.stopped_because == "a recipe was accepted"
    assert set(result.model.op_dtypes.values()) == {"int8"}


def test_one_bad_op_is_found_and_falls_back_alone() -> None:
    result = run(lambda ops: 0.01 if ops["top_mlp.1"] == "int8" else 0.0)
    assert result.accepted
    assert {op for op, dtype in result.model.op_dtypes.items() if dtype != "int8"} == {"top_mlp.1"}


def test_two_bad_ops_fall_back_together() -> None:
    bad = ("bottom_mlp.0", "tables.1")
    result = run(lambda ops: 0.01 * sum(ops[op] == "int8" for op in bad))
    assert result.accepted
    assert {op for op, dtype in result.model.op_dtypes.items() if dtype != "int8"} == set(bad)


def test_op_that_needs_fp32_gets_it() -> None:
    result = run(lambda ops: 0.0 if ops["tables.0"] == "fp32" else 0.01)
    assert result.accepted
    assert result.model.op_dtypes["tables.0"] == "fp32"


def test_nothing_passes_and_the_best_comes_back_with_its_reason() -> None:
    result = run(lambda ops: 0.1 + 0.01 * sum(dtype == "int8" for dtype in ops.values()))
    assert not result.accepted
    assert result.stopped_because == "the strategy basic has no more recipes to propose"
    assert result.best.score == max(trial.score for trial in result.trials if trial.score is not None)
    assert result.best.verdict is not None
    assert ": failed" in result.best.verdict.reason
    # Never all-float, because that is the original model.
    assert all("int8" in trial.recipe.ops.values() for trial in result.trials)


def test_no_recipe_is_tried_twice() -> None:
    result = run(lambda ops: 0.1)
    recipes = [trial.recipe for trial in result.trials]
    assert len(set(recipes)) == len(recipes)
    assert [trial.number for trial in result.trials] == list(range(1, len(recipes) + 1))


def test_max_trials_ends_the_search() -> None:
    result = run(lambda ops: 0.1, max_trials=5)
    assert len(result.trials) == 5
    assert result.stopped_because == "max_trials=5 recipes were tried"


def test_with_time_left_the_search_goes_on_and_the_smallest_accepted_wins() -> None:
    result = run(lambda ops: 0.0, timeout_s=1e9, max_trials=12)
    assert len(result.trials) == 12
    assert result.best.model_bytes == min(trial.model_bytes for trial in result.trials if trial.accepted)


def test_time_that_is_used_up_ends_the_search() -> None:
    result = run(lambda ops: 0.1, timeout_s=1e-9)
    assert len(result.trials) == 1
    assert "seconds have passed" in result.stopped_because


def test_search_is_the_same_every_time() -> None:
    def signature(result: TuningResult) -> list[tuple[Recipe, float | None]]:
        return [(trial.recipe, trial.score) for trial in result.trials]

    def auroc() -> TuningResult:
        settings = TuningSettings(criterion=Criterion(relative=0.0), max_trials=6)
        return tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(tiny.batches(2, 500, seed=3)), settings)

    assert signature(auroc()) == signature(auroc())


def test_each_trial_begins_with_the_seed() -> None:
    drawn: list[float] = []

    def eval_func(model: nn.Module) -> float:
        drawn.append(float(torch.rand(())))
        return 0.5 if isinstance(model, Int8DLRM) else 0.8

    settings = TuningSettings(criterion=Criterion(absolute=0.0), max_trials=3)
    tune(tiny.model(), tiny.batches(1, 32), eval_func, settings)
    assert len(set(drawn[1:])) == 1


def test_failed_trial_is_recorded_and_the_search_goes_on() -> None:
    def rule(ops: dict[str, str]) -> float:
        if ops["tables.2"] == "int8":
            raise MetricError("the score of this trial is undefined")
        return 0.0

    result = run(rule)
    assert result.accepted
    failed = [trial for trial in result.trials if trial.score is None]
    assert failed
    assert failed[0].error == "the score of this trial is undefined"
    assert "failed" in failed[0].describe()
    assert failed[0].to_dict()["accepted"] is False


def test_eval_func_that_returns_nan_fails_its_trial() -> None:
    result = run(lambda ops: math.nan if ops["tables.2"] == "int8" else 0.0)
    assert result.accepted
    assert "returned nan" in result.trials[0].error


def test_nothing_but_failures_says_why() -> None:
    def rule(ops: dict[str, str]) -> float:
        raise MetricError("no clicks in these rows")

    with pytest.raises(DLRMError, match=r"All 2 trials failed.*no clicks in these rows"):
        run(rule, max_trials=2)


def test_auroc_evaluation_judges_by_pairs() -> None:
    seen: list[Trial] = []

    class Listener(TuningListener):
        def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
            assert not resumed
            seen.append(trial)

    result = tune(
        tiny.model(),
        tiny.batches(2, 128),
        AUROCEvaluation(tiny.batches(4, 1000, seed=3)),
        TuningSettings(criterion=Criterion(relative=0.02)),
        listeners=[Listener()],
    )
    assert result.accepted
    assert seen == list(result.trials)
    best = result.best
    assert best.verdict is not None
    assert best.verdict.bound > best.verdict.drop
    assert best.rows == 4000
    assert best.samples_per_s > 0
    assert best.model_bytes == result.model.model_bytes
    assert "accepted" in best.describe()


def test_evaluation_gives_the_same_score_every_time() -> None:
    evaluation = AUROCEvaluation(tiny.batches(2, 300))
    model = tiny.model()
    assert evaluation(model) == evaluation(model) == score_with(evaluation, model).value


def test_row_with_a_score_that_is_no_number_is_named() -> None:
    with pytest.raises(NonFiniteError, match="The score of row 102 is nan"):
        check_finite(torch.tensor([0.1, 0.2, float("nan")]), 100)


def test_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no strategy 'genetic'.*basic"):
        strategy_named("genetic")


@pytest.mark.parametrize(("name", "value"), [("timeout_s", -1.0), ("max_trials", 0)])
def test_settings_out_of_range_are_rejected(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        TuningSettings(**{name: value})  # type: ignore[arg-type]


def test_basic_starts_with_the_start_and_then_its_variants() -> None:
    start = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    result = run(lambda ops: 0.1, max_trials=16, space=SpaceSettings())
    tried = [trial.recipe for trial in result.trials]
    assert tried[0] == start
    assert {(recipe.observer, recipe.activation_scheme, recipe.weight_granularity) for recipe in tried} == {
        (observer, scheme, granularity)
        for observer in ("minmax", "kl", "percentile", "histogram")
        for scheme in ("affine", "symmetric")
        for granularity in ("per_channel", "per_tensor")
    }
    assert all(recipe.ops == start.ops for recipe in tried)


def test_search_ends_at_once_when_no_recipe_can_be_judged() -> None:
    one_click = [batch._replace(labels=torch.eye(300)[5]) for batch in tiny.batches(1, 300)]
    settings = TuningSettings(criterion=Criterion(relative=0.5))
    result = tune(tiny.model(), tiny.batches(1, 32), AUROCEvaluation(one_click), settings)
    assert len(result.trials) == 1
    assert not result.accepted
    assert "too few clicks to bound" in result.stopped_because


@pytest.mark.parametrize("metric", [BinaryAveragePrecision(), BinaryAUROC()])
def test_any_metric_of_torchmetrics_can_be_the_score(metric: Metric) -> None:
    evaluation = AUROCEvaluation(tiny.batches(3, 400, seed=3), metric)
    result = tune(tiny.model(), tiny.batches(2, 64), evaluation, TuningSettings(criterion=Criterion(relative=0.05)))
    labels = torch.cat([batch.labels for batch in tiny.batches(3, 400, seed=3)]).int()
    with torch.no_grad():
        logits = torch.cat([tiny.model()(batch) for batch in tiny.batches(3, 400, seed=3)])
    expected = type(metric)()(torch.sigmoid(logits.double()), labels)
    assert result.baseline.value == pytest.approx(float(expected), abs=1e-6)


def test_budget_goes_on_without_a_limit_of_time_and_first_stops_in_spite_of_one() -> None:
    assert len(run(lambda ops: 0.0, stop_at="budget", max_trials=9).trials) == 9
    assert len(run(lambda ops: 0.0, stop_at="first", timeout_s=1e9).trials) == 1


def test_lower_can_be_better() -> None:
    criterion = Criterion(absolute=0.001, higher_is_better=False)

    def log_loss(model: nn.Module) -> float:
        worse = isinstance(model, Int8DLRM) and model.op_dtypes["tables.1"] == "int8"
        return 0.2 if worse else 0.1

    result = tune(tiny.model(), tiny.batches(1, 32), log_loss, TuningSettings(criterion=criterion))
    assert result.accepted
    assert result.model.op_dtypes["tables.1"] != "int8"
    assert result.trials[0].drop == pytest.approx(0.1)


def test_eval_func_that_raises_fails_its_trial_and_the_search_goes_on() -> None:
    def rule(ops: dict[str, str]) -> float:
        return 1 / (ops["tables.2"] != "int8") - 1

    result = run(rule)
    assert result.accepted
    assert "raised ZeroDivisionError" in result.trials[0].error


def test_what_raised_in_an_eval_func_is_named_with_its_line() -> None:
    def eval_func(model: nn.Module) -> float:
        raise KeyError("clicks")

    line = eval_func.__code__.co_firstlineno + 1
    with pytest.raises(
        EvaluationError, match=rf"eval_func \S+\.eval_func raised KeyError: 'clicks' \({__file__}:{line}\)"
    ):
        score_with(eval_func, tiny.model())


@pytest.mark.parametrize(
    "number", [0.25, 1, np.float32(0.25), torch.tensor(0.25), torch.tensor([0.25]), np.array([[0.25]])]
)
def test_numbers_of_any_library_are_a_score(number: object) -> None:
    assert score_with(lambda model: number, tiny.model()).value in (0.25, 1.0)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("0.77", "returned a str '0.77'; return one number"),
        (None, "returned a NoneType None"),
        (torch.tensor([0.7, 0.8]), r"returned a Tensor of shape \(2,\)"),
        ({"auroc": 0.7}, "returned a dict {'auroc': 0.7}"),
    ],
)
def test_eval_func_that_returns_no_number_is_told_what_it_returned(other: object, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        score_with(lambda model: other, tiny.model())  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("confidence", [0.95, None])
def test_lower_is_not_better_for_auroc(confidence: float | None) -> None:
    criterion = Criterion(higher_is_better=False, confidence=confidence)
    evaluation = AUROCEvaluation(tiny.batches(1, 400, seed=3))
    with pytest.raises(ConfigurationError, match="higher_is_better: false contradicts AUROC"):
        tune(tiny.model(), tiny.batches(1, 32), evaluation, TuningSettings(criterion=criterion))


def test_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="timeout_s=nan must be 0"):
        TuningSettings(timeout_s=math.nan)


def timer(speed_of: Callable[[Int8DLRM], float], bf16: float | None = 200.0) -> Callable[[Int8DLRM], Latency]:
    return lambda model: Latency(speed_of(model), fp32_samples_per_s=100.0, bf16_samples_per_s=bf16)


def latency_search(speed_of: Callable[[Int8DLRM], float], **settings: object) -> TuningResult:
    chosen = TuningSettings(criterion=Criterion(absolute=0.001), objective="latency", **settings)  # type: ignore[arg-type]
    return tune(tiny.model(), tiny.batches(1, 32), drop_of(lambda ops: 0.0), chosen, timer=timer(speed_of))


def test_fastest_accepted_model_wins_for_latency() -> None:
    result = latency_search(
        lambda model: 900.0 if model.op_dtypes["tables.0"] == "fp16" else 300.0, stop_at="budget", max_trials=40
    )
    assert result.best.recipe.tables[0] == "fp16"
    assert result.best.samples_per_s == 900.0
    assert result.best.cost == pytest.approx(100 / 900)


def test_model_slower_than_compiled_bf16_is_not_accepted_for_latency() -> None:
    result = latency_search(lambda model: 150.0, max_trials=3)
    assert not result.accepted
    assert "but its 150 samples/s are slower than compiled bf16 with 200" in result.reason
    assert result.best.latency is not None


def test_latency_without_a_timer_is_refused() -> None:
    settings = TuningSettings(objective="latency")
    with pytest.raises(ConfigurationError, match="objective 'latency' needs a timer"):
        tune(tiny.model(), tiny.batches(1, 32), drop_of(lambda ops: 0.0), settings)


def test_rejected_models_are_not_timed() -> None:
    timed: list[Int8DLRM] = []
    settings = TuningSettings(criterion=Criterion(absolute=0.001), objective="latency", max_trials=3)
    result = tune(
        tiny.model(),
        tiny.batches(1, 32),
        drop_of(lambda ops: 0.1),
        settings,
        timer=timed.append,  # type: ignore[arg-type, return-value]
    )
    assert timed == []
    assert [trial.cost for trial in result.trials] == [None] * 3


def test_listeners_hear_of_everything_in_order() -> None:
    heard: list[str] = []

    class Listener(TuningListener):
        def on_baseline(self, baseline: Scores, tolerance: float) -> None:
            heard.append(f"baseline {baseline.rows} {tolerance}")

        def on_trial_start(self, number: int, recipe: Recipe) -> None:
            heard.append(f"start {number}")

        def on_look(self, number: int, verdict: Verdict) -> None:
            heard.append(f"look {number} {verdict.rows} {verdict.decided}")

        def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
            heard.append(f"end {trial.number} {resumed}")

        def on_stop(self, best: Trial | None, reason: str) -> None:
            heard.append(f"stop {best.number if best else None} {reason}")

    settings = TuningSettings(criterion=Criterion(absolute=0.02, first_block=500))
    evaluation = AUROCEvaluation(tiny.batches(4, 500, seed=3))
    tune(tiny.model(), tiny.batches(2, 64), evaluation, settings, listeners=[Listener()])
    assert heard[0] == "baseline 500 0.02"
    assert heard[1] == "start 1"
    assert heard[2] == "look 1 500 True"
    assert heard[-2:] == ["end 1 False", "stop 1 a recipe was accepted"]


def test_all_float_is_a_recipe_like_any_other() -> None:
    start = RecipeStart(linears="bf16", tables="fp16", interaction="bf16")
    settings = TuningSettings(recipe=start, criterion=Criterion(absolute=0.01))
    result = tune(tiny.model(), tiny.batches(1, 64), AUROCEvaluation(tiny.batches(4, 500)), settings)
    assert result.accepted
    assert result.model.expected_int8_ops() == {}


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (BinaryAUROC(), r"eval_func is the metric BinaryAUROC, .* Pass AUROCEvaluation\(batches, BinaryAUROC\(\)\)"),
        (0.5, r"eval_func=0\.5 must be a function that takes a model"),
    ],
)
def test_score_that_cannot_score_models_is_refused(score: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tune(tiny.model(), tiny.batches(1, 32), score, TuningSettings())  # type: ignore[arg-type]

"""The strategy ``budget`` with a user's score: made-up drops by op, or those of a real metric."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MeanSquaredError

from dlrm_pl.artifact.writing.sensitivities import Sensitivities
from dlrm_pl.errors import EvaluationError
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.quantization.search.tune import tune
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny
from tests.support.quantization import searches

Ops = dict[str, str]
SPACE = SpaceSettings(
    tables=("int8", "int4"), linears=("int8", "fp32"), interaction=("fp32",), ops={"bottom_mlp.0": ["fp32"]}
)
CHANGES = 3 * 2 + 4  # Three tables in two dtypes each, four Linears in one.
COSTS = {
    **{("tables.0", "int4"): 6e-4, ("tables.1", "int4"): 5e-4, ("tables.2", "int4"): 4e-4},
    **{("tables.0", "int8"): 1e-4, ("top_mlp.0", "int8"): 3e-4, ("top_mlp.1", "int8"): 2e-3},
}


def added_up(ops: Ops) -> float:
    return sum(COSTS.get(change, 0.0) for change in ops.items())


class Score:
    """An eval_func: 0.8 minus a drop that is a rule on the dtypes; counts its calls."""

    def __init__(self, rule: Callable[[Ops], float], sign: float = 1.0) -> None:
        self.rule, self.sign, self.calls = rule, sign, 0

    def __call__(self, model: nn.Module) -> float:
        self.calls += 1
        return 0.8 - self.sign * (self.rule(dict(model.op_dtypes)) if isinstance(model, Int8DLRM) else 0.0)


def search(
    score: Callable[[nn.Module], float],
    log: TrialLog | None = None,
    listener: TuningListener | None = None,
    **how: object,
) -> TuningResult:
    criterion = how.pop("criterion", Criterion(absolute=1e-3))
    settings = TuningSettings(criterion=criterion, space=SPACE, strategy="budget", **how)  # type: ignore[arg-type]
    listeners = () if listener is None else (listener,)
    return tune(tiny.model(), tiny.batches(1, 32), score, settings, trial_log=log, listeners=listeners)


def smallest_of_all(rule: Callable[[Ops], float], tolerance: float) -> int:
    """Return the bytes of the smallest model within the tolerance, by exhaustive search."""
    floats = Recipe.all_float(tiny.ARCHITECTURE)
    dtypes = {op: ("fp32", "int8", "int4") if op.startswith("tables") else ("fp32", "int8") for op in floats.ops}
    dtypes["bottom_mlp.0"] = dtypes["interaction"] = ("fp32",)
    sizes = []
    for chosen in itertools.product(*dtypes.values()):
        ops = dict(zip(dtypes, chosen, strict=True))
        if rule(ops) <= tolerance:
            recipe = floats
            for op, dtype in ops.items():
                recipe = recipe.with_dtype(op, dtype)
            sizes.append(recipe_bytes(recipe, tiny.ARCHITECTURE))
    return min(sizes)


@pytest.mark.parametrize("tolerance", [2e-4, 1e-3, 1.5e-3])
def test_first_trial_is_the_smallest_model_of_all_where_drops_add_up(tolerance: float) -> None:
    score = Score(added_up)
    result = search(score, criterion=Criterion(absolute=tolerance * 1.005))
    assert result.accepted
    assert len(result.trials) == 1
    assert result.best.model_bytes == smallest_of_all(added_up, tolerance)
    assert score.calls == 1 + CHANGES + 1  # The float model, each op alone, and the trial.


def test_score_of_which_lower_is_better() -> None:
    result = search(Score(added_up, sign=-1.0), criterion=Criterion(absolute=1.005e-3, higher_is_better=False))
    assert result.accepted
    assert result.best.model_bytes == smallest_of_all(added_up, 1e-3)


def test_drops_that_are_more_together_are_repaired_upward() -> None:
    def worse_together(ops: Ops) -> float:
        return added_up(ops) + 0.01 * (list(ops.values()).count("int4") > 1)

    result = search(Score(worse_together), criterion=Criterion(absolute=1.505e-3))
    assert result.accepted
    assert len(result.trials) > 1
    assert list(result.trials[0].recipe.tables).count("int4") > 1  # As small as the sum allows.
    assert list(result.best.recipe.tables).count("int4") <= 1
    assert [trial.model_bytes for trial in result.trials] == sorted(trial.model_bytes for trial in result.trials)


def test_change_that_cannot_be_scored_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    def fails(ops: Ops) -> float:
        if "int4" in ops.values():
            raise ZeroDivisionError("no clicks today")
        return 0.0

    caplog.set_level(logging.INFO, logger="dlrm_pl")
    result = search(Score(fails))
    assert result.accepted
    assert set(result.best.recipe.tables) == {"int8"}
    assert caplog.text.count("raised ZeroDivisionError: no clicks today") == 3
    assert "drop of the score by tables.0 int4 alone: failed" in caplog.text


def test_score_that_never_works_is_told() -> None:
    with pytest.raises(EvaluationError, match="no model today"):
        search(lambda model: (_ for _ in ()).throw(ValueError("no model today")))  # type: ignore[arg-type]


def test_how_many_scorings_it_takes_is_said_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dlrm_pl")
    search(Score(added_up))
    said = caplog.text.index(f"takes {CHANGES} full evaluations before the first trial")
    assert said < caplog.text.index(f"1 of {CHANGES}: drop of the score by ")
    assert f"{CHANGES} of {CHANGES}: " in caplog.text


class Stop(Score):
    """Raises ctrl-C at one of the calls."""

    def __init__(self, at: int) -> None:
        super().__init__(added_up)
        self.at = at

    def __call__(self, model: nn.Module) -> float:
        if self.calls + 1 == self.at:
            raise KeyboardInterrupt
        return super().__call__(model)


def test_measuring_that_was_interrupted_goes_on_where_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = search(Score(added_up))
    path = tmp_path / "trials.jsonl"
    with pytest.raises(KeyboardInterrupt):
        search(Stop(at=6), TrialLog(path, {}))  # After the float model and four others.
    caplog.set_level(logging.INFO, logger="dlrm_pl")
    rest = Score(added_up)
    again = search(rest, TrialLog(path, {}))
    assert rest.calls == 1 + (CHANGES - 4) + 1
    assert f"takes {CHANGES - 4} full evaluations" in caplog.text
    assert [trial.recipe for trial in again.trials] == [trial.recipe for trial in whole.trials]


def test_report_has_the_drops_by_op(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl", {})
    result = search(Score(added_up), log)
    drops = Sensitivities.found_in(log.notes, result.trials).drops
    found = {(drop.op, drop.dtype): drop.drop for drop in drops}
    assert len(found) == CHANGES
    assert all(drop.standard_error is None for drop in drops)
    assert {change: drop for change, drop in found.items() if drop > 1e-12} == pytest.approx(COSTS)


def context_of(metric: MeanSquaredError, rows: int | None = None) -> SearchContext:
    """Return a context as ``tune`` makes it, whose score is a metric of the tiny model."""
    seen: list[SearchContext] = []

    def strategy(context: SearchContext):  # type: ignore[no-untyped-def]
        seen.append(context)
        yield context.start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlrm_pl.quantization.search.tune.strategy_named", lambda name: strategy)
        settings = TuningSettings(criterion=Criterion(relative=0.5, max_rows=rows, higher_is_better=False))
        tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(tiny.batches(4, 500, seed=3), metric), settings)
    return seen[0]


@pytest.mark.parametrize("rows", [None, 700])
def test_drops_are_those_of_the_metric(rows: int | None) -> None:
    """Not those of AUROC, whose units differ from this search's tolerance."""
    context = context_of(MeanSquaredError(), rows)
    changes = [("tables.1", "int4"), ("top_mlp.0", "int8"), ("tables.0", "fp16")]
    found = context.scored_drops(changes)
    batches = list(tiny.batches(4, 500, seed=3))
    labels = np.concatenate([batch.labels.numpy() for batch in batches])[:rows]

    def error(model: nn.Module) -> float:
        with torch.inference_mode():
            logits = np.concatenate([model(batch).double().numpy() for batch in batches])[:rows]
        return float(np.mean((1 / (1 + np.exp(-logits)) - labels) ** 2))

    alone = replace(Recipe.all_float(tiny.ARCHITECTURE), bias_correction=context.start.bias_correction)
    for op, dtype in changes:
        expected = error(context.quantize(alone.with_dtype(op, dtype))) - error(context.model)
        assert found[op, dtype] == pytest.approx(expected, abs=1e-7)
    assert abs(found["tables.1", "int4"]) > 1e-6 > abs(found["tables.0", "fp16"])


def test_auroc_is_still_measured_in_one_pass() -> None:
    context = searches.context()
    assert context.drop_of is None
    assert not math.isnan(context.sensitivities([("tables.0", "int4")], 500)[0].standard_error)

"""Properties of every strategy, with a judge that is a rule on dtypes."""

from __future__ import annotations

import ast
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies import STRATEGIES, strategy_named
from dlrm_pl.quantization.search.strategies.model_based import bayesian, optuna_sampler
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from tests.support import tiny
from tests.support.quantization import searches

pytestmark = pytest.mark.long

BAD = {"tables.1", "bottom_mlp.1", "top_mlp.1"}
NARROW = ("int8", "int4")
# Each of the others works like one of these.
SOME_SLOW = [
    name if name in ("basic", "bayesian", "hawq_v2", "mse_v2") else pytest.param(name, marks=pytest.mark.slow)
    for name in STRATEGIES
]
WHOLE_SPACE = ["bayesian", "exhaustive", "random", "tpe"]
# Four ops with two choices, one observer, two schemes.
SMALL = SpaceSettings(
    linears=("int8",),
    interaction=("int8",),
    tables=("int8",),
    ops={"tables.1": ["int8", "fp16"], "bottom_mlp.0": ["bf16", "int8"], "top_mlp.*": ["int8"], "top_mlp.1": ["fp32"]},
    observers=("minmax",),
    activation_schemes=("affine", "symmetric"),
    weight_granularities=("per_channel",),
)


@pytest.fixture(autouse=True)
def _fewer_local_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Optuna improve a proposal from two points instead of ten: its quality is not tested here."""
    make = bayesian._sampler

    def sampler(optuna: Any, seed: int) -> Any:
        made = make(optuna, seed)
        assert made._n_local_search == 10
        made._n_local_search = 2
        return made

    monkeypatch.setattr(bayesian, "_sampler", sampler)


def three_bad_ops(ops: dict[str, str]) -> float:
    """Each bad op alone exceeds the tolerance of 0.008."""
    return 0.01 * sum(ops[op] in NARROW for op in BAD) + 0.0001 * sum(dtype in NARROW for dtype in ops.values())


def rejected(ops: dict[str, str]) -> float:
    return 0.1


def recipes(trials: list[Trial]) -> list[Recipe]:
    return [trial.recipe for trial in trials]


def model_with_three_bad_ops(*_: object) -> DLRM:
    """A table whose rows share their scale with a large value, two Linears behind a channel that takes the range."""
    torch.manual_seed(0)
    model = DLRM(tiny.ARCHITECTURE).eval()
    with torch.no_grad():
        list(model.embedding_bags.parameters())[1][:, 0] = 100.0
        for mlp in (model.bottom_mlp, model.top_mlp):
            before, after = [layer for layer in mlp.children() if isinstance(layer, torch.nn.Linear)][:2]
            before.weight[3] *= 1000
            before.bias[3] = 1000.0
            after.weight[:, 3] /= 1000
    return model


# Of 9 ops. basic tries 16 variants, 9 ops alone, and then three together. mse does without the 9. mse_v2, without the
# variants, falls back an op or two too many and takes them back. conservative needs two trials for the kinds, one for
# the interaction, and one for each op of the two kinds that fail.
@pytest.mark.parametrize(("name", "within"), [("basic", 28), ("mse", 25), ("mse_v2", 14), ("conservative", 12)])
def test_one_bad_table_and_two_bad_linears_fall_back_and_nothing_else(
    name: str, within: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "model", model_with_three_bad_ops)
    trials = searches.follow(STRATEGIES[name], searches.context(), three_bad_ops)[:within]
    accepted = [set(trial.recipe.quantized_ops) for trial in trials if trial.accepted]
    assert searches.context().start.ops.keys() - BAD in accepted


def test_hawq_v2_finds_them_among_others() -> None:
    trials = searches.follow(STRATEGIES["hawq_v2"], searches.context(), three_bad_ops)
    assert trials[-1].accepted
    assert set(trials[-1].recipe.quantized_ops).isdisjoint(BAD)


@pytest.mark.untraced
@pytest.mark.parametrize("name", SOME_SLOW)
def test_search_that_was_killed_goes_the_same_way(name: str, tmp_path: Path) -> None:
    limit = 13 if name == "bayesian" else 24
    whole = searches.follow(STRATEGIES[name], searches.context(), three_bad_ops, limit)
    judged: list[dict[str, str]] = []

    def rule(ops: dict[str, str]) -> float:
        judged.append(ops)
        return three_bad_ops(ops)

    for cut in (1, 12, limit):
        # Each opens the file that the previous ones left.
        context = searches.context(log=TrialLog(tmp_path / "trials.jsonl", {}))
        searches.follow(STRATEGIES[name], context, rule, cut)
    context = searches.context(log=TrialLog(tmp_path / "trials.jsonl", {}))
    assert recipes(searches.follow(STRATEGIES[name], context, rule, limit)) == recipes(whole)
    assert len(judged) == len(whole)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_search_measures_nothing_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.jsonl"
    first = searches.follow(STRATEGIES[name], searches.context(log=TrialLog(path, {})), three_bad_ops, 12)

    def measured(self: object, recipe: Recipe) -> object:
        raise AssertionError("a model was made although all is known")

    monkeypatch.setattr("dlrm_pl.quantization.search.context.SearchContext.quantize", measured)
    monkeypatch.setattr("dlrm_pl.quantization.search.strategies.model_based.optuna_sampler._Space.ask", measured)
    again = searches.follow(STRATEGIES[name], searches.context(log=TrialLog(path, {})), three_bad_ops, 12)
    assert recipes(again) == recipes(first)


@pytest.mark.untraced
@pytest.mark.parametrize("name", STRATEGIES)
def test_limits_of_the_space_are_kept_and_no_recipe_is_of_floats_alone(name: str) -> None:
    settings = SpaceSettings(
        linears=("int8", "fp32"),
        interaction=("int8", "fp32"),
        tables=("int8", "fp16"),
        ops={"top_mlp.2": ["int8"], "tables.0": ["int8", "fp32"]},
        observers=("minmax", "kl"),
        activation_schemes=("affine",),
    )
    context = searches.context(space=SearchSpace(settings, tiny.ARCHITECTURE))
    for trial in searches.follow(STRATEGIES[name], context, rejected, limit={"bayesian": 12, "tpe": 40}.get(name, 100)):
        assert all(context.space.allows(op, dtype) for op, dtype in trial.recipe.ops.items())
        assert trial.recipe.observer in settings.observers
        assert trial.recipe.activation_scheme == "affine"


@pytest.mark.each_value
@pytest.mark.untraced
@pytest.mark.parametrize("rule", [rejected, lambda ops: None, lambda ops: 0.0], ids=["rejected", "failed", "accepted"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_search_ends(name: str, rule: searches.Rule) -> None:
    context = searches.context(space=SearchSpace(SMALL, tiny.ARCHITECTURE))
    trials = searches.follow(STRATEGIES[name], context, rule)
    assert 1 <= len(trials) <= 9
    assert all(trial.recipe.quantized_ops for trial in trials)


@pytest.mark.parametrize("name", WHOLE_SPACE)
def test_whole_space_is_tried_once(name: str) -> None:
    context = searches.context(space=SearchSpace(SMALL, tiny.ARCHITECTURE))
    trials = searches.follow(STRATEGIES[name], context, rejected)
    assert trials[0].recipe == context.start
    # top_mlp.1 has to be fp32 in this space, but the start has another dtype.
    inside = {
        (recipe.tables[1], recipe.bottom_mlp[0], recipe.activation_scheme)
        for recipe in recipes(trials[1:])
        if recipe.top_mlp == ("int8", "fp32", "int8")
    }
    assert len(trials) == 9
    assert len(inside) == 8


# A killed search also relies on a model making the same proposals for the same seed.
@pytest.mark.untraced
@pytest.mark.parametrize("name", [pytest.param("bayesian", marks=pytest.mark.slow), "random", "tpe"])
def test_same_seed_same_search_and_another_seed_another(name: str) -> None:
    def run(seed: int) -> list[Recipe]:
        return recipes(searches.follow(STRATEGIES[name], searches.context(seed=seed), three_bad_ops, 12))

    found = run(5)
    assert run(5) == found
    # The start, and what chance may produce.
    assert len(set(found) & set(run(6))) <= 2


@pytest.mark.untraced
@pytest.mark.parametrize("name", SOME_SLOW)
def test_strategy_runs_by_name_on_a_real_model(name: str) -> None:
    settings = TuningSettings(
        strategy=name, criterion=Criterion(relative=0.0, confidence=None), stop_at="budget", max_trials=12
    )
    result = tune(tiny.model(), tiny.batches(2, 64), AUROCEvaluation(tiny.batches(2, 500, seed=3)), settings)
    assert 1 <= len(result.trials) <= 12
    assert result.model.op_dtypes == result.best.recipe.ops


@pytest.mark.parametrize("name", ["basic", "mse", "mse_v2", "hawq_v2"])
def test_int4_tables_fall_back_to_int8_before_floats(name: str) -> None:
    start = Recipe.starting_from(RecipeStart(tables="int4"), tiny.ARCHITECTURE)
    trials = searches.follow(STRATEGIES[name], searches.context(start), lambda ops: 0.01 * (ops["tables.1"] == "int4"))
    first = next(trial for trial in trials if trial.accepted)
    assert first.recipe.ops["tables.1"] == "int8"
    assert not {"fp16", "fp32", "bf16"} & set(first.recipe.ops.values())


@pytest.mark.parametrize("name", ["basic", "mse", "mse_v2", "hawq_v2"])
def test_what_int8_reached_is_kept_when_int4_was_not_the_only_trouble(name: str) -> None:
    start = Recipe.starting_from(RecipeStart(tables="int4"), tiny.ARCHITECTURE)
    trials = searches.follow(
        STRATEGIES[name],
        searches.context(start),
        lambda ops: 0.01 * (ops["tables.1"] == "int4") + 0.01 * (ops["top_mlp.1"] == "int8"),
    )
    first = next(trial for trial in trials if trial.accepted)
    assert first.recipe.ops["tables.1"] == "int8"
    assert first.recipe.ops["top_mlp.1"] == "bf16"


@pytest.mark.parametrize(
    ("name", "package"), [("bayesian", "optuna"), ("bayesian", "scipy"), ("tpe", "optuna")], ids=str
)
def test_package_that_is_missing_is_named_before_anything_runs(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"strategy {name} needs {package}: .*dlrm-pl\[tune\]"):
        TuningSettings(strategy=name)


def test_other_strategies_do_without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in STRATEGIES.keys() - {"bayesian", "tpe"}:
        assert searches.follow(strategy_named(name), searches.context(), rejected, 1)


@pytest.mark.parametrize(("name", "trials"), [("bayesian", 15), ("tpe", 24)])
def test_samplers_find_smaller_models_than_chance(name: str, trials: int) -> None:
    def best(name: str) -> int:
        found = searches.follow(
            STRATEGIES[name], searches.context(), lambda ops: 0.01 * (ops["tables.1"] in NARROW), trials
        )
        return min(trial.model_bytes for trial in found if trial.accepted)

    assert best(name) < best("random")


def test_optuna_is_imported_only_when_used() -> None:
    source = Path(optuna_sampler.__file__).read_text()
    whole = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    at_import = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert any("optuna" in ast.unparse(node).split() for node in whole)
    assert not any("optuna" in ast.unparse(node).split() for node in at_import)


def test_optuna_writes_no_lines_of_its_own() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("optuna").addHandler(handler)
    try:
        searches.follow(STRATEGIES["tpe"], searches.context(), rejected, 3)
    finally:
        logging.getLogger("optuna").removeHandler(handler)
    assert not lines

"""The order in which ``mse`` proposes recipes, with made-up errors."""

from __future__ import annotations

from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies.mse import mse
from tests.support import tiny
from tests.support.quantization import searches

# One variant besides the start, and four ops that may fall back, the interaction only to fp32.
SPACE = SpaceSettings(
    linears=("int8",),
    interaction=("int8", "fp32"),
    tables=("int8",),
    ops={"tables.1": ["int8", "fp16"], "bottom_mlp.0": ["int8", "bf16", "fp32"], "top_mlp.2": ["int8", "bf16"]},
    observers=("minmax", "kl"),
    activation_schemes=("affine",),
    weight_granularities=("per_channel",),
)
ERRORS = {"tables.1": 3.0, "top_mlp.2": 2.0, "bottom_mlp.0": 1.0, "interaction": 4.0}


def proposals(rule: searches.Rule) -> list[dict[str, str]]:
    context = searches.context(space=SearchSpace(SPACE, tiny.ARCHITECTURE))
    for level in ("half", "fp32"):
        errors = dict.fromkeys(context.start.ops, 0.0) | ERRORS
        context.cached(f"mse: errors before falling back to {level}", lambda errors=errors: errors)
    trials = searches.follow(mse, context, rule)
    return [searches.fallen(trial.recipe) | {"observer": trial.recipe.observer} for trial in trials]


def test_ops_fall_back_by_their_errors_and_stay_where_they_help() -> None:
    # The second of three helps; nothing else does.
    found = proposals(lambda ops: 0.1 - 0.05 * (ops["top_mlp.2"] != "int8") + 0.01 * (ops["tables.1"] == "fp16"))
    expected = [
        {"observer": "minmax"},
        {"observer": "kl"},
        {"tables.1": "fp16"},
        {"top_mlp.2": "bf16"},
        {"top_mlp.2": "bf16", "bottom_mlp.0": "bf16"},
        # Then all of them together, whether they help or not; the first is known.
        {"tables.1": "fp16", "top_mlp.2": "bf16"},
        {"tables.1": "fp16", "top_mlp.2": "bf16", "bottom_mlp.0": "bf16"},
        # fp32, again from the start.
        {"interaction": "fp32"},
        {"bottom_mlp.0": "fp32"},
        {"interaction": "fp32", "bottom_mlp.0": "fp32"},
    ]
    assert found == [{"observer": "minmax"} | recipe for recipe in expected]


def test_falls_back_from_the_best_variant() -> None:
    context = searches.context(space=SearchSpace(SPACE, tiny.ARCHITECTURE))
    strategy = mse(context)
    next(strategy)
    strategy.send(searches.trial(context.start, 0.2))
    kl = context.space.variants(context.start)[0]
    after = strategy.send(searches.trial(kl, 0.1))
    assert after.observer == "kl"
    assert searches.fallen(after)

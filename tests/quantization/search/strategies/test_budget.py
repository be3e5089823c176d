"""The solver compared with exhaustive search, and the strategy with made-up drops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.knapsack import Choice, allocate
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies.budget import budget, gain, predicted_drops
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.sensitivity.auroc_drop import Sensitivity
from tests.support import tiny
from tests.support.examples import examples
from tests.support.quantization import searches

CHOICE = st.builds(Choice, st.sampled_from(["a", "b", "c"]), st.integers(0, 50), st.floats(-0.2, 1.5))
CHOICES = st.lists(
    st.lists(CHOICE, min_size=1, max_size=3, unique_by=lambda choice: choice.dtype), min_size=1, max_size=5
)


def totals(options: list[Choice]) -> tuple[float, float]:
    return sum(choice.cost for choice in options), sum(max(0.0, choice.drop) for choice in options)


@settings(max_examples=examples(150))
@given(choices=CHOICES, tolerance=st.floats(0.01, 3.0))
def test_solution_is_as_cheap_as_the_best_of_all(choices: list[list[Choice]], tolerance: float) -> None:
    named = {str(index): options for index, options in enumerate(choices)}
    found = allocate(named, tolerance)
    picked = [next(c for c in options if c.dtype == found[op]) for op, options in named.items()]
    everything = [totals(list(options)) for options in itertools.product(*choices)]
    cost, drop = totals(picked)
    # Each drop is rounded up to 1/4000, so a solution that needs the last thousandth of the tolerance may be missed.
    strict = [c for c, total in everything if total <= tolerance * (1 - len(choices) / 4000)]
    if strict:
        assert drop <= tolerance * (1 + 1e-9)
        assert cost <= min(strict)
    elif not [c for c, total in everything if total <= tolerance]:
        assert drop == min(total for _, total in everything)


def test_no_tolerance_leaves_what_loses_nothing() -> None:
    choices = {
        "x": [Choice("int8", 1, 0.0), Choice("fp32", 4, 0.0)],
        "y": [Choice("int8", 1, 1e-9), Choice("fp32", 4, 0.0)],
    }
    assert allocate(choices, 0.0) == {"x": "int8", "y": "fp32"}


def sensitivity(op: str, dtype: str, mse: float, drop: float, error: float) -> Sensitivity:
    return Sensitivity(op, dtype, drop, error, mse, 1000)


def test_drops_are_predicted_by_their_noise_with_one_factor_for_all() -> None:
    measured = [
        sensitivity("a", "int8", 0.001, 0.00011, 1e-5),
        sensitivity("b", "int4", 0.010, 0.00099, 1e-4),
        sensitivity("c", "int4", 0.010, -0.0020, 1e-2),  # Lost in noise, which predicts its cost.
    ]
    predicted = predicted_drops(measured, gain=0.0)
    assert predicted["b", "int4"] == predicted["c", "int4"] == pytest.approx(10 * predicted["a", "int8"])
    assert predicted["b", "int4"] == pytest.approx(0.00105, rel=0.06)


def test_drop_that_is_certainly_larger_than_its_noise_says_counts() -> None:
    measured = [sensitivity("a", "int8", 0.001, 0.0001, 1e-6), sensitivity("b", "int8", 0.001, 0.05, 1e-3)]
    assert predicted_drops(measured, gain=0.0)["b", "int8"] == pytest.approx(0.048)


def test_factor_has_a_floor_where_noise_hides_all_drops() -> None:
    assert predicted_drops([sensitivity("a", "int8", 0.001, -0.5, 1.0)], gain=0.4)["a", "int8"] == pytest.approx(0.0001)


def test_gain_is_that_of_a_binormal_model() -> None:
    import numpy as np

    from benchmarks.simulation import BinormalPair

    first, _, labels = BinormalPair(0.8, 0.01, 0.3).draw(np.random.default_rng(0), 200_000)

    class Rows:
        def read_fp32(self, rows: int) -> int:
            return rows

        def labels(self, rows: int) -> object:
            return labels[:rows]

        def fp32(self, rows: int) -> object:
            return first[:rows].astype(np.float32)

    found = gain(replace(searches.context(), rows=Rows()), 200_000)  # type: ignore[arg-type]
    # Noise of variance v costs 0.001 of AUROC: v follows from the definition of the pair, whose logits are its scores
    # times the distance of the means.
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.8)
    v = 2 * z**2 * ((z / NormalDist().inv_cdf(0.799)) ** 2 - 1)
    assert found * v == pytest.approx(0.001, rel=0.03)


def proposals(drop: Callable[[Recipe], float], tolerance: float, **space: object) -> Iterator[tuple[Recipe, Trial]]:
    made = searches.context()
    context = replace(
        made,
        tolerance=tolerance,
        space=SearchSpace(SpaceSettings(**space), tiny.ARCHITECTURE),  # type: ignore[arg-type]
    )
    strategy = budget(context)
    recipe = next(strategy)
    try:
        while True:
            trial = searches.trial(recipe, drop(recipe), tolerance=tolerance)
            yield recipe, trial
            recipe = strategy.send(trial)
    except StopIteration:
        return


def test_all_goes_to_the_smallest_dtype_when_the_tolerance_is_wide() -> None:
    recipe, trial = next(proposals(lambda recipe: 0.0, tolerance=0.5))
    assert trial.accepted
    assert set(recipe.tables) == {"int4"}
    assert set(recipe.bottom_mlp + recipe.top_mlp) == {"int8"}


def test_rejected_solutions_are_followed_by_larger_models_until_one_is_accepted() -> None:
    """Real drops exceed the predictions: int4 is never good enough."""
    seen = list(itertools.islice(proposals(lambda recipe: 0.1 * recipe.tables.count("int4"), tolerance=0.002), 40))
    accepted = [index for index, (_, trial) in enumerate(seen) if trial.accepted]
    assert accepted
    sizes = [trial.model_bytes for _, trial in seen[: accepted[0] + 1]]
    assert sizes == sorted(sizes)
    assert "int4" not in seen[accepted[0]][0].tables


def test_nothing_is_accepted_and_the_most_careful_is_tried_last() -> None:
    *_, (last, _) = proposals(lambda recipe: 1.0, tolerance=1e-4)
    assert set(last.ops.values()) == {"fp32"}


def test_no_recipe_leaves_the_space() -> None:
    space = {"tables": ("int8", "fp16"), "ops": {"top_mlp.2": ["fp32"], "tables.1": ["fp32"]}}
    for recipe, _ in proposals(lambda recipe: 0.003, tolerance=0.001, **space):
        assert recipe.top_mlp[2] == recipe.tables[1] == "fp32"
        assert set(recipe.tables) <= {"int8", "fp16", "fp32"}


def test_no_recipe_is_proposed_twice() -> None:
    seen = [recipe for recipe, _ in proposals(lambda recipe: 0.0 if recipe.tables[0] == "int8" else 1.0, 0.002)]
    assert len(seen) == len(set(seen))

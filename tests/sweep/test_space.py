"""Valid search spaces, and those that are refused with the reason."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.sweep.entries import Choices, Range
from dlrm_pl.sweep.space import Space, fitting_widths, read_space

KINDS: dict[str, tuple[type, ...]] = {
    "model.learning_rate": (int, float),
    "model.embedding_dim": (int,),
    "model.bottom_mlp": (list,),
    "model.optimizer": (str,),
    "model.dense_optimizer": (str, type(None)),
    "model.self_interaction": (bool,),
    "data.seed": (int,),
    "trainer.max_epochs": (int,),
}


def accepts(name: str, value: Any) -> str:
    is_kind = isinstance(value, KINDS[name]) and (not isinstance(value, bool) or bool in KINDS[name])
    return "" if is_kind else f"{name}: {value!r} is refused."


def space_of(**entries: Any) -> Space:
    return read_space({f"model.{name}": entry for name, entry in entries.items()}, KINDS, accepts)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({}, "states nothing to vary"),
        ({"model.learning_rates": {"low": 1, "high": 2}}, "no setting model.learning_rates; did you mean model.l"),
        ({"learning_rate": {"low": 1, "high": 2}}, "no setting learning_rate; did you mean model.learning_rate?"),
        ({"model": {"embeding_dim": {"choices": [1]}}}, "no setting model.embeding_dim; did you mean model.embedding"),
        ({"data.seed": {"choices": [1, 2]}}, "data.seed cannot vary: all trials see the same rows"),
        ({"trainer.max_epochs": {"low": 1, "high": 2}}, "trainer.max_epochs cannot vary: .*--rows_per_trial"),
        ({"model.learning_rate": 0.1}, "0.1 states nothing to choose from"),
        ({"model.learning_rate": {"low": 1}}, "model.learning_rate: has no high"),
        ({"model.learning_rate": {"low": 2, "high": 1}}, "low=2 must be below high=1"),
        ({"model.learning_rate": {"low": 1, "high": 1}}, "low=1 must be below high=1"),
        ({"model.learning_rate": {"low": 0, "high": 1, "log": True}}, "low=0 must be above 0, as log: true"),
        ({"model.learning_rate": {"low": -1, "high": 1, "log": True}}, "low=-1 must be above 0"),
        ({"model.learning_rate": {"low": "0.1", "high": 1}}, "low='0.1' must be a number"),
        ({"model.learning_rate": {"low": 0.1, "high": float("inf")}}, "high=inf must be a number"),
        ({"model.learning_rate": {"low": float("nan"), "high": 1}}, "low=nan must be a number"),
        ({"model.learning_rate": {"low": True, "high": 2}}, "low=True must be a number"),
        ({"model.learning_rate": {"low": 1, "high": 2, "log": "yes"}}, "log='yes' must be true or false"),
        (
            {"model.learning_rate": {"low": 1, "high": 2, "log": True, "step": 1}},
            "log and step, which are mutually exclusive",
        ),
        ({"model.learning_rate": {"low": 1, "high": 2, "step": 0}}, "step=0 must be above 0"),
        ({"model.learning_rate": {"low": 1, "high": 2, "step": 3}}, "step=3 must be above 0, and at most"),
        ({"model.learning_rate": {"low": 1, "hihg": 2}}, "no field 'hihg'; did you mean high?"),
        ({"model.learning_rate": {"low": 1, "high": 2, "choices": [1]}}, "has choices and low"),
        ({"model.embedding_dim": {"low": 1.5, "high": 4}}, "embedding_dim: 1.5 is refused"),
        ({"model.optimizer": {"choices": []}}, "choices is empty"),
        ({"model.optimizer": {"choices": "sgd"}}, "choices='sgd' must be a list"),
        ({"model.optimizer": {"choices": ["sgd", "sgd"]}}, "'sgd' occurs twice"),
        ({"model.optimizer": {"choices": ["sgd", 1]}}, "mixes numbers and texts"),
        ({"model.bottom_mlp": {"choices": [[1, 2], 1]}}, "mixes lists and numbers"),
        ({"model.bottom_mlp": {"choices": [[1, [2]]]}}, "cannot be a choice"),
        ({"model.bottom_mlp": {"choices": [{"a": 1}]}}, "cannot be a choice"),
        ({"model.self_interaction": {"choices": [True, 2]}}, "mixes numbers and true or false"),
        ({"model.embedding_dim": {"choices": [4, "a"]}}, "mixes numbers and texts"),
        ({"model.embedding_dim": {"choices": [4, 4.0]}}, "4.0 occurs twice"),
        ({"model.optimizer": {"choices": [None]}}, "optimizer: None is refused"),
    ],
)
def test_a_bad_space_is_refused_with_the_reason(stated: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_space(stated, KINDS, accepts)


def test_a_setting_that_is_stated_twice_is_refused() -> None:
    stated = {"model.learning_rate": {"low": 1, "high": 2}, "model": {"learning_rate": {"low": 1, "high": 3}}}
    with pytest.raises(ConfigurationError, match=r"model\.learning_rate is given twice"):
        read_space(stated, KINDS, accepts)


def test_names_may_be_nested() -> None:
    dotted = space_of(learning_rate={"low": 0.1, "high": 1, "log": True}, optimizer={"choices": ["sgd"]})
    nested = {"model": {"learning_rate": {"low": 0.1, "high": 1, "log": True}, "optimizer": {"choices": ["sgd"]}}}
    assert read_space(nested, KINDS, accepts) == dotted
    assert read_space(dotted.statement(), KINDS, accepts) == dotted


def test_numbers_are_whole_where_the_setting_takes_no_others() -> None:
    space = space_of(learning_rate={"low": 1, "high": 3}, embedding_dim={"low": 1, "high": 9, "step": 4})
    assert space.entries["model.learning_rate"] == Range(1, 3)
    assert space.entries["model.embedding_dim"] == Range(1, 9, step=4, whole=True)
    assert space.entries["model.embedding_dim"].values() == [1, 5, 9]
    assert not space.entries["model.embedding_dim"].contains(3)
    assert space.size() is None


def test_numbers_of_a_long_range_are_counted_without_a_list_of_them() -> None:
    space = space_of(embedding_dim={"low": 1, "high": 3_000_000}, learning_rate={"low": 0, "high": 1, "step": 3e-6})
    tracemalloc.start()
    try:
        assert space.size() == 3_000_000 * 333_334
        assert [entry.highest() for entry in space.entries.values()] == [3_000_000, 0.999999]  # type: ignore[union-attr]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_grid_has_every_combination_once() -> None:
    space = space_of(embedding_dim={"choices": [4, 8]}, dense_optimizer={"choices": [None, "adam"]})
    assert [tuple(values.values()) for values in space.grid()] == [(4, None), (4, "adam"), (8, None), (8, "adam")]
    assert space.size() == 4
    endless = space_of(learning_rate={"low": 0.1, "high": 1})
    with pytest.raises(ConfigurationError, match=r"model\.learning_rate is a range .* without a step"):
        next(endless.grid())


CONDITIONAL: dict[str, Any] = {
    "dense_optimizer": {"choices": [None, "adam"]},
    "embedding_dim": {"choices": [4, 8], "when": {"model.dense_optimizer": ["adam"]}},
}


def test_a_setting_varies_only_where_its_condition_holds() -> None:
    space = space_of(**CONDITIONAL)
    assert list(space.grid()) == [
        {"model.dense_optimizer": None},
        {"model.dense_optimizer": "adam", "model.embedding_dim": 4},
        {"model.dense_optimizer": "adam", "model.embedding_dim": 8},
    ]
    assert space.size() == 3
    assert read_space(space.statement(), KINDS, accepts) == space
    assert not space.contains({"model.dense_optimizer": None, "model.embedding_dim": 4})
    assert not space.contains({"model.dense_optimizer": "adam"})
    assert space.varying({"model.dense_optimizer": None, "model.embedding_dim": 4}) == {"model.dense_optimizer": None}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"model.dense_optimiser": ["adam"]}, "model.dense_optimiser is not a setting .* did you mean model.dense_opt"),
        ({"model.dense_optimizer": ["lamb"]}, "model.dense_optimizer is never 'lamb'"),
        ({}, "must name settings that come before it"),
        ("adam", "must name settings that come before it"),
        ({"model.embedding_dim": [4]}, "model.embedding_dim is not a setting with choices that comes before"),
    ],
)
def test_a_bad_condition_is_refused(when: Any, words: str) -> None:
    entries = CONDITIONAL | {"embedding_dim": {"choices": [4], "when": when}}
    with pytest.raises(ConfigurationError, match=words):
        space_of(**entries)


def test_the_bottom_mlp_ends_in_the_dimension_of_the_trial() -> None:
    assert fitting_widths({"model.embedding_dim": 8}, [13, 16, 4]) == {
        "model.embedding_dim": 8,
        "model.bottom_mlp": [13, 16, 8],
    }
    both = {"model.embedding_dim": 8, "model.bottom_mlp": [0, 4]}
    assert fitting_widths(both, [13, 16, 4])["model.bottom_mlp"] == [0, 8]
    alone = {"model.bottom_mlp": [0, 4]}
    assert fitting_widths(alone, [13, 16, 4]) == alone
    with pytest.raises(ConfigurationError, match="differ only in their last width"):
        space_of(embedding_dim={"choices": [4, 8]}, bottom_mlp={"choices": [[0, 2, 4], [0, 2, 8]]})


def test_choices_become_what_optuna_holds_and_back() -> None:
    choices = Choices(((1, 2), (3,), None))
    assert [choices.option(choices.category(value)) for value in choices.values()] == [[1, 2], [3], None]
    assert choices.contains([1, 2])

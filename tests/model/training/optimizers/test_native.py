"""The values that the native step gets from an optimizer, compared with the steps that torch takes."""

from typing import Any

import pytest
import torch
from torch import nn

from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.native import Rules, count_steps, rates_of, rules_of, state_of
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from tests.support.training import make_module


@pytest.mark.parametrize(
    ("settings", "dense", "tables"),
    [
        (OptimizerSettings("sgd", 0.5), Rates(0.5, epsilon=0.0), Rates(0.5, epsilon=0.0)),
        (OptimizerSettings("adagrad", 0.5, epsilon=1e-4), Rates(0.5, epsilon=1e-4), Rates(0.5, epsilon=1e-4)),
        (
            OptimizerSettings("rwsadagrad", 0.5, dense_optimizer="adam", dense_learning_rate=0.25),
            Rates(0.25, 1e-8, 0.9, 0.999, 0.0, 1 - 0.9, 1 - 0.999),
            Rates(0.5, epsilon=1e-10),
        ),
        (
            OptimizerSettings("sgd", 0.5, dense_optimizer="lamb", dense_betas=(0.5, 0.75), dense_weight_decay=0.1),
            Rates(0.5, 1e-6, 0.5, 0.75, 0.1, 0.5, 0.25),
            Rates(0.5, epsilon=0.0),
        ),
    ],
)
def test_rates_are_those_of_the_next_step(settings: OptimizerSettings, dense: Rates, tables: Rates) -> None:
    optimizer = make_optimizer(make_module().model, settings)
    found = rates_of(optimizer)
    assert found.dense == pytest.approx(dense, rel=1e-12)
    assert found.tables == pytest.approx(tables, rel=1e-12)
    assert rules_of(optimizer) == Rules(settings.dense_rule, settings.optimizer)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5  # As a schedule does.
    assert rates_of(optimizer).tables.learning_rate == 0.25


def test_corrections_follow_the_steps_counted_and_those_ahead() -> None:
    optimizer = make_optimizer(make_module().model, OptimizerSettings(dense_optimizer="adam"))
    count_steps(optimizer, 3)
    assert rates_of(optimizer).dense.correction1 == pytest.approx(1 - 0.9**4)
    assert rates_of(optimizer, steps_ahead=2).dense.correction2 == pytest.approx(1 - 0.999**6)


@pytest.mark.parametrize("rules", [("adagrad", "rwsadagrad"), ("adam", "sgd"), ("lamb", "adagrad"), ("sgd", "sgd")])
def test_a_state_counts_as_many_steps_as_torch_would(rules: tuple[Any, Any]) -> None:
    model = make_module().model
    optimizer = make_optimizer(model, OptimizerSettings(rules[1], dense_optimizer=rules[0]))
    count_steps(optimizer)
    counted = [float(state["step"]) for state in optimizer.state.values()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    stepped = [float(state["step"]) for state in optimizer.state.values()]
    assert stepped == [count + 1 for count in counted]
    for group, rule in zip(optimizer.param_groups, rules, strict=True):
        for parameter in group["params"]:
            tensors = state_of(optimizer, parameter, rule)
            assert len(tensors) == {"sgd": 0, "adagrad": 1, "rwsadagrad": 1}.get(rule, 2)
            assert all(tensor.is_contiguous() for tensor in tensors)


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(2))]


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (torch.optim.Adam(parameters()), "the optimizer is torch.optim.adam.Adam"),
        (torch.optim.SGD(parameters(), momentum=0.9), "the optimizer has momentum=0.9"),
        (torch.optim.SGD(parameters(), weight_decay=0.1), "the optimizer has weight_decay=0.1"),
        (torch.optim.Adagrad(parameters(), lr_decay=0.1), "the optimizer has lr_decay=0.1"),
        (
            torch.optim.SGD([{"params": parameters()}, {"params": parameters()}]),
            "the optimizer has 2 parameter groups",
        ),
    ],
)
def test_an_optimizer_of_the_user_is_named(optimizer: torch.optim.Optimizer, reason: str) -> None:
    assert rules_of(optimizer) == reason

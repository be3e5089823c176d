"""What the native step needs from an optimizer: its rules, the numbers for a step, and the tensors of its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.model.training.optimizers.optimizer import DLRMOptimizer
from dlrm_pl.model.training.optimizers.rules import STATES
from dlrm_pl.model.training.optimizers.settings import DenseRule, TableRule


class Rules(NamedTuple):
    """Update rules that make up an optimizer.

    Attributes:
        dense: rule for the MLPs.
        tables: rule for the tables.
    """

    dense: DenseRule
    tables: TableRule


class StepRates(NamedTuple):
    """Numbers for one step.

    Attributes:
        dense: numbers for the MLPs' optimizer.
        tables: numbers for the tables' optimizer.
    """

    dense: Rates
    tables: Rates


def rules_of(optimizer: torch.optim.Optimizer) -> Rules | str:
    """Return an optimizer's rules, or a clause that says why the native step does not support it."""
    if isinstance(optimizer, DLRMOptimizer):
        dense, tables = (group["rule"] for group in optimizer.param_groups)
        return Rules(dense, tables)
    kind = type(optimizer)
    if kind not in (torch.optim.SGD, torch.optim.Adagrad):
        return f"the optimizer is {kind.__module__}.{kind.__qualname__}"
    if len(optimizer.param_groups) != 1:
        return f"the optimizer has {len(optimizer.param_groups)} parameter groups"
    (group,) = optimizer.param_groups
    for name in ("momentum", "weight_decay", "lr_decay", "maximize", "differentiable"):
        if group.get(name):
            return f"the optimizer has {name}={group[name]}"
    return Rules("sgd", "sgd") if kind is torch.optim.SGD else Rules("adagrad", "adagrad")


def rates_of(
    optimizer: torch.optim.Optimizer, steps_ahead: int = 0, learning_rates: Sequence[float] | None = None
) -> StepRates:
    """Return the numbers for an optimizer's next step.

    Args:
        optimizer: an optimizer whose rules are known, see ``rules_of``.
        steps_ahead: number of steps taken since they were last counted, see ``count_steps``.
        learning_rates: learning rate of each parameter group; None: the groups' current rates.
    """
    groups = optimizer.param_groups
    rates = [group["lr"] for group in groups] if learning_rates is None else learning_rates
    dense = _rates(optimizer, groups[0], float(rates[0]), steps_ahead)
    return StepRates(dense, dense if len(groups) == 1 else _rates(optimizer, groups[-1], float(rates[-1]), steps_ahead))


def state_of(optimizer: torch.optim.Optimizer, parameter: Tensor, rule: DenseRule | TableRule) -> tuple[Tensor, ...]:
    """Return the tensors in a parameter's state that a step of a rule changes, except ``step``."""
    return tuple(optimizer.state[parameter][name] for name in STATES[rule])


def count_steps(optimizer: torch.optim.Optimizer, number: int = 1) -> None:
    """Count steps that the native step has taken, as the optimizer's own steps would have."""
    if counts := [state["step"] for state in optimizer.state.values() if "step" in state]:
        torch._foreach_add_(counts, number)


def _rates(optimizer: torch.optim.Optimizer, group: dict[str, Any], rate: float, steps_ahead: int) -> Rates:
    if group.get("rule") not in ("adam", "lamb"):
        return Rates(rate, epsilon=group.get("eps", 0.0))
    beta1, beta2 = group["betas"]
    step = float(optimizer.state[group["params"][0]]["step"]) + 1 + steps_ahead
    return Rates(
        learning_rate=rate,
        epsilon=group["eps"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        correction1=1 - beta1**step,
        correction2=1 - beta2**step,
    )

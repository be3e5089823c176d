"""One step of each optimizer over a list of parameters; torch's own functions if torch has the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from dlrm_pl.files.large_pages import on_large_pages
from dlrm_pl.model.training.optimizers.settings import DenseRule, TableRule

STATES: dict[TableRule | DenseRule, tuple[str, ...]] = {
    "sgd": (),
    "adagrad": ("sum",),
    "rwsadagrad": ("sum",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "lamb": ("exp_avg", "exp_avg_sq"),
}
"""Names of the tensors that an optimizer keeps for each parameter besides ``step``, as torch names them."""


def new_state(rule: TableRule | DenseRule, parameter: Tensor) -> dict[str, Tensor]:
    """Return a parameter's state before the first step; each tensor has the parameter's shape, or one value per row."""
    if not STATES[rule]:
        return {}
    shape = parameter.shape[:1] if rule == "rwsadagrad" else parameter.shape
    state = {
        name: on_large_pages(torch.empty(shape, dtype=parameter.dtype, device=parameter.device)).zero_()
        for name in STATES[rule]
    }
    return {"step": torch.tensor(0.0), **state}


def take_step(
    rule: TableRule | DenseRule,
    parameters: list[Tensor],
    gradients: list[Tensor],
    states: Sequence[dict[str, Any]],
    group: dict[str, Any],
) -> None:
    """Update parameters and their states with one step of an optimizer.

    Args:
        rule: name of the optimizer.
        parameters: parameters that have a gradient.
        gradients: gradients of the parameters; those of tables may be sparse.
        states: states of the parameters, see ``new_state``.
        group: ``lr``, and those of ``eps``, ``betas`` and ``weight_decay`` that the optimizer has.
    """
    kept = [[state[name] for state in states] for name in STATES[rule]]
    steps = [state["step"] for state in states] if kept else []
    rate, is_sparse = group["lr"], any(gradient.is_sparse for gradient in gradients)
    if rule == "sgd":
        sgd(
            parameters,
            gradients,
            [None] * len(parameters),
            has_sparse_grad=is_sparse,
            weight_decay=0.0,
            momentum=0.0,
            lr=rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
    elif rule == "adagrad":
        adagrad(
            parameters,
            gradients,
            kept[0],
            steps,
            has_sparse_grad=is_sparse,
            lr=rate,
            weight_decay=0.0,
            lr_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
    elif rule == "rwsadagrad":
        _rowwise_adagrad(parameters, gradients, kept[0], steps, rate, group["eps"])
    elif rule == "adam":
        adam(
            parameters,
            gradients,
            kept[0],
            kept[1],
            [],
            steps,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=rate,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
    else:
        _lamb(parameters, gradients, kept[0], kept[1], steps, group)


def _rowwise_adagrad(
    parameters: list[Tensor],
    gradients: list[Tensor],
    sums: list[Tensor],
    steps: list[Tensor],
    rate: float,
    epsilon: float,
) -> None:
    """Row-wise Adagrad: a row's sum adds up the mean squares of its gradients.

    Source: facebookresearch/dlrm, ``optim/rwsadagrad.py``.
    """
    for table, gradient, total, step in zip(parameters, gradients, sums, steps, strict=True):
        step += 1
        if not gradient.is_sparse:
            total += gradient.square().mean(dim=1)
            table.addcdiv_(gradient, (total.sqrt() + epsilon)[:, None].expand_as(table), value=-rate)
            continue
        gradient = gradient.coalesce()  # A row looked up several times gets one gradient, the sum.
        rows, values = gradient.indices()[0], gradient.values()
        sums_of_rows = total[rows] + values.square().mean(dim=1)
        total[rows] = sums_of_rows
        table.index_add_(0, rows, values / (sums_of_rows.sqrt() + epsilon)[:, None], alpha=-rate)


def _lamb(
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    group: dict[str, Any],
) -> None:
    """LAMB: a step of Adam for each tensor, scaled by the ratio of the norms of the tensor and of the step.

    Source: You et al. 2020, arXiv:1904.00962, algorithm 2, with the identity as its function phi.
    """
    beta1, beta2 = group["betas"]
    for weight, gradient, average, square, step in zip(parameters, gradients, averages, squares, steps, strict=True):
        step += 1
        average.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        count = step.item()
        direction = (average / (1 - beta1**count)) / ((square / (1 - beta2**count)).sqrt() + group["eps"])
        direction.add_(weight, alpha=group["weight_decay"])
        own, other = weight.norm(), direction.norm()
        ratio = torch.where((own > 0) & (other > 0), own / other, torch.ones_like(own))
        weight.sub_(direction * ratio, alpha=group["lr"])

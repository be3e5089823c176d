"""Convert an optimizer's state between two forms: tables in their own group, or, for torch's optimizers, in one group.

A single process trains with torch's SGD or Adagrad if they do what the settings require, and its checkpoints then have
torch's form. Sharded tables always have a group of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

_BY_GROUP = ("base_lrs", "_last_lr", "lr_lambdas")
"""Entries of a schedule's state that have a value for each group."""


def of_one_process(
    checkpoint: dict[str, Any], settings: OptimizerSettings, num_tables: int
) -> tuple[dict[str, Any], list[int]]:
    """Give a checkpoint the optimizer that a single process would have, without the state of tables.

    Args:
        checkpoint: contents that Lightning collected. Its optimizer has only those tables that each process holds as a
            whole.
        settings: optimizers of the training.
        num_tables: number of tables.

    Returns:
        The contents, and the number of each table among the optimizer's parameters.
    """
    if not checkpoint.get("optimizer_states"):
        return checkpoint, []
    saved = checkpoint["optimizer_states"][0]
    dense, tables = saved["param_groups"]
    count = len(dense["params"])
    state = {number: values for number, values in saved["state"].items() if number < count}
    if not settings.is_plain:
        numbers = list(range(count, count + num_tables))
        both = [dense, tables | {"params": numbers}]
        return checkpoint | {"optimizer_states": [{"state": state, "param_groups": both}]}, numbers
    # A DLRM's parameters begin with the tables.
    one = torchs_group(settings) | {"params": list(range(num_tables + count))}
    one |= {name: dense[name] for name in ("lr", "initial_lr") if name in dense}
    renumbered = {num_tables + number: values for number, values in state.items()}
    schedules = [_with_groups(schedule, 1) for schedule in checkpoint.get("lr_schedulers", ())]
    changed = {"optimizer_states": [{"state": renumbered, "param_groups": [one]}], "lr_schedulers": schedules}
    return checkpoint | changed, list(range(num_tables))


def with_tables_apart(checkpoint: dict[str, Any], num_tables: int) -> dict[str, Any]:
    """Give a checkpoint's optimizer a second group, for the tables, if it has none; the inverse of ``of_one_process``.

    Args:
        checkpoint: contents with one optimizer, which may have the state of the tables.
        num_tables: number of tables.
    """
    states = checkpoint.get("optimizer_states")
    if not states or len(states[0]["param_groups"]) != 1:
        return checkpoint
    (one,) = states[0]["param_groups"]
    numbers = one["params"]
    dense = len(numbers) - num_tables
    places = {number: dense + place for place, number in enumerate(numbers[:num_tables])}
    places |= {number: place for place, number in enumerate(numbers[num_tables:])}
    groups = [one | {"params": list(range(dense))}, one | {"params": list(range(dense, dense + num_tables))}]
    state = {places[number]: values for number, values in states[0]["state"].items()}
    schedules = [_with_groups(schedule, 2) for schedule in checkpoint.get("lr_schedulers", ())]
    return checkpoint | {"optimizer_states": [{"state": state, "param_groups": groups}], "lr_schedulers": schedules}


def torchs_group(settings: OptimizerSettings) -> dict[str, Any]:
    """Return the options of the torch optimizer for plain settings."""
    parameter = [nn.Parameter(torch.zeros(1))]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameter, lr=settings.learning_rate)
    else:
        optimizer = torch.optim.Adagrad(parameter, lr=settings.learning_rate, eps=settings.table_epsilon)
    group: dict[str, Any] = optimizer.state_dict()["param_groups"][0]
    return group


def _with_groups(schedule: dict[str, Any], count: int) -> dict[str, Any]:
    """Convert the state of a schedule to another number of groups, which have equal rates."""
    rates = {name: [schedule[name][0]] * count for name in _BY_GROUP if name in schedule}
    return schedule | rates

"""DLRMOptimizer: one optimizer for the MLPs and another for the embedding tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.model.training.optimizers.rules import new_state, take_step
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


class DLRMOptimizer(torch.optim.Optimizer):
    """Two optimizers in one, with two parameter groups: ``dense`` for the MLPs, and ``tables``.

    Args:
        dense: parameters of the MLPs.
        tables: embedding tables, whose gradients may be sparse.
        settings: optimizers and their hyperparameters.
    """

    def __init__(
        self, dense: Iterable[nn.Parameter], tables: Iterable[nn.Parameter], settings: OptimizerSettings
    ) -> None:
        of_mlps: dict[str, Any] = {
            "params": list(dense),
            "name": "dense",
            "rule": settings.dense_rule,
            "lr": settings.mlp_learning_rate,
            "eps": settings.mlp_epsilon,
            "betas": tuple(settings.dense_betas),
            "weight_decay": settings.dense_weight_decay,
        }
        of_tables: dict[str, Any] = {
            "params": list(tables),
            "name": "tables",
            "rule": settings.optimizer,
            "lr": settings.learning_rate,
            "eps": settings.table_epsilon,
        }
        super().__init__([of_mlps, of_tables], {})
        for group in self.param_groups:
            for parameter in group["params"]:
                if state := new_state(group["rule"], parameter):
                    self.state[parameter] = state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with both optimizers.

        Args:
            closure: function that computes the gradients and returns the loss.

        Returns:
            The value that the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if parameters:
                gradients: list[Any] = [p.grad for p in parameters]
                take_step(group["rule"], parameters, gradients, [self.state.get(p, {}) for p in parameters], group)
        return loss

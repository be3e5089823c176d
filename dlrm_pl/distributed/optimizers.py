"""One optimizer for Lightning: it updates the MLPs, and its learning rates reach the tables' fused optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from dlrm_pl.model.training.optimizers.optimizer import DLRMOptimizer
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


def fused_parameters(settings: OptimizerSettings) -> dict[str, Any]:
    """Return the arguments that configure FBGEMM's table optimizer, which updates rows in the backward pass."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType

    kinds = {
        "sgd": EmbOptimType.EXACT_SGD,
        "adagrad": EmbOptimType.EXACT_ADAGRAD,
        "rwsadagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    }
    found = {"optimizer": kinds[settings.optimizer], "learning_rate": settings.learning_rate}
    return found if settings.optimizer == "sgd" else found | {"eps": settings.table_epsilon}


class ShardedOptimizer(DLRMOptimizer):
    """Optimizer of the MLPs and of small replicated tables; the other tables follow its learning rates.

    Args:
        dense: parameters of the MLPs.
        replicated: tables that each process holds as a whole.
        settings: optimizers and their hyperparameters.
        set_rate: called with the learning rate of the tables before a step's batch is looked up.
    """

    def __init__(
        self,
        dense: list[nn.Parameter],
        replicated: list[nn.Parameter],
        settings: OptimizerSettings,
        set_rate: Callable[[float], None],
    ) -> None:
        super().__init__(dense, replicated, settings)
        self._set_rate = set_rate

    def pass_rate_on(self) -> None:
        """Give the tables the learning rate of the next step: FBGEMM reads it at the lookup of a batch."""
        self._set_rate(float(self.param_groups[-1]["lr"]))

"""Make an optimizer from settings."""

from __future__ import annotations

import torch

from dlrm_pl.files.large_pages import collapse
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.optimizers.optimizer import DLRMOptimizer
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


def make_optimizer(model: DLRM, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Make the optimizer of a model.

    Args:
        model: the model.
        settings: optimizers and their hyperparameters.

    Returns:
        A torch optimizer with all parameters in one group if the MLPs have no optimizer of their own; otherwise a
        ``DLRMOptimizer``.
    """
    for table in model.embedding_bags.parameters():
        collapse(table)
    if not torch.sparse.check_sparse_tensor_invariants.is_enabled():  # type: ignore[no-untyped-call]
        # This sets the default explicitly; otherwise torch's Adagrad warns about it, which users cannot change.
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
    if settings.is_plain:
        if settings.optimizer == "sgd":
            return torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
        adagrad = torch.optim.Adagrad(model.parameters(), lr=settings.learning_rate, eps=settings.table_epsilon)
        for table in model.embedding_bags.parameters():
            collapse(adagrad.state[table]["sum"])
        return adagrad
    tables = list(model.embedding_bags.parameters())
    of_tables = set(map(id, tables))
    return DLRMOptimizer([p for p in model.parameters() if id(p) not in of_tables], tables, settings)

"""Interface of sharded tables for training, where each of several processes holds a part of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dlrm_pl.errors import DLRMError
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


class ShardedBags(nn.Module, ABC):
    """Sharded tables, in place of a model's ``embedding_bags``.

    The tables are not parameters of the module, so that nothing averages, copies or saves them as a whole.
    """

    @abstractmethod
    def make_optimizer(self, dense: list[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
        """Make the optimizer of the MLPs, whose learning rates also reach the tables.

        Args:
            dense: parameters of the MLPs.
            settings: optimizers and their hyperparameters.
        """

    @abstractmethod
    def finish_step(self) -> None:
        """Update the tables with the accumulated gradients, before the MLPs are updated."""

    @abstractmethod
    def named_parts(self) -> list[tuple[str, Tensor]]:
        """Return the parts on this process with their names in messages."""

    @abstractmethod
    def check_all(self, error: DLRMError | None) -> None:
        """Raise on all processes an error that one of them found; all of them call this at the same point.

        Args:
            error: error that this process found; None if nothing is wrong.
        """


@runtime_checkable
class ShardsTables(Protocol):
    """A strategy that replaces a model's tables by ``ShardedBags``."""

    def shard_tables(self, module: Any) -> None:
        """Replace the tables unless that was done already; the processes are connected by now."""
        ...

    def whole_module(self, path: Path) -> AbstractContextManager[Any]:
        """Give the first process the trained module with whole tables, which are in files and take no memory.

        Args:
            path: file for the weights meanwhile, on a file system that all processes share.

        Returns:
            A context manager that yields the module; on the other processes, which wait at its end, it yields None.
        """
        ...

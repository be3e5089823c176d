"""What a training needs to know of tables that lie on several processes, each of which has a part of them."""

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
    """Tables in parts, in place of a model's ``embedding_bags``.

    They are no parameters of the module, so that nobody averages, copies or saves them as a whole.
    """

    @abstractmethod
    def make_optimizer(self, dense: list[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
        """Make the optimizer of the MLPs, whose learning rates also reach the tables.

        Args:
            dense: parameters of the MLPs.
            settings: which optimizers, and their numbers.
        """

    @abstractmethod
    def finish_step(self) -> None:
        """Change the tables by the gradients that were accumulated, before the MLPs are changed."""

    @abstractmethod
    def named_parts(self) -> list[tuple[str, Tensor]]:
        """Return the parts of this process with their names in messages."""

    @abstractmethod
    def check_all(self, error: DLRMError | None) -> None:
        """Raise on all processes what one of them found; all of them call this at the same point.

        Args:
            error: what this process found; None where nothing is wrong.
        """


@runtime_checkable
class ShardsTables(Protocol):
    """A strategy that puts ``ShardedBags`` in the place of a model's tables."""

    def shard_tables(self, module: Any) -> None:
        """Put them there, unless they are there already; the processes are connected by now."""
        ...

    def whole_module(self, path: Path) -> AbstractContextManager[Any]:
        """Give the first process the trained module with whole tables, which lie in files and take no memory.

        Args:
            path: where the weights are kept meanwhile, on a file system that all processes share.

        Returns:
            A context with the module; with None on the other processes, which wait at its end.
        """
        ...

"""Choose between the native training step and torch's autograd."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import pytorch_lightning as pl
from torch import nn

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.training.selection import training_isa
from dlrm_pl.model.training.engine.obstacles import native_precision, obstacle

log = logging.getLogger(__name__)

Engine = Literal["auto", "native", "torch"]
"""Code that trains: native code, torch's autograd, or native code where possible."""


@dataclass(frozen=True)
class Choice:
    """Code that trains a model, and why it was chosen.

    Attributes:
        engine: ``native`` or ``torch``.
        reason: clause that gives the reason.
    """

    engine: Literal["native", "torch"]
    reason: str

    def __str__(self) -> str:
        """The line of the log."""
        return f"training engine: {self.engine} ({self.reason})"


def choose(asked: Engine, module: pl.LightningModule, model: nn.Module, trainer: pl.Trainer) -> Choice:
    """Choose the engine for training, once its optimizer has been made.

    Args:
        asked: value of the setting ``model.engine``.
        module: module to train.
        model: the module's network.
        trainer: Trainer that trains the module.

    Raises:
        ConfigurationError: native code was requested, but cannot do this training.
    """
    if asked == "torch":
        return Choice("torch", "as model.engine requests")
    why_not = obstacle(module, model, trainer)
    if not why_not:
        precision = native_precision(trainer.precision_plugin)
        assert precision is not None
        return Choice("native", f"{precision}, {training_isa(precision)}")
    if asked == "native":
        raise ConfigurationError(
            f"model.engine=native: the native training step cannot be used: {why_not}. Change that, or set "
            "model.engine to torch, or to auto, which uses native code where it can."
        )
    return Choice("torch", f"not native code, because {why_not}")

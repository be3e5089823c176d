"""Trainings with each engine, and their results."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from dlrm_pl.kernels.training.selection import levels
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.training import loader, make_batches, make_module, make_trainer

needs_native = pytest.mark.skipif(not levels("fp32"), reason="the native training step was not built")


class Seen(pl.Callback):
    """Records the loss, the learning rate and the counters after each batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.steps: list[int] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        self.steps.append(trainer.global_step)


def trained(
    engine: str, *, module: dict[str, Any] | None = None, batches: Any = None, **options: Any
) -> tuple[DLRMModule, Seen]:
    """Train a small module with an engine under Lightning's own Trainer."""
    seen, made = Seen(), make_module(engine=engine, **module or {})
    callbacks = [seen, *options.pop("callbacks", [])]
    make_trainer(callbacks=callbacks, **options).fit(made, loader(make_batches(12) if batches is None else batches))
    return made, seen


def assert_close(one: DLRMModule, other: DLRMModule, *, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Check that the weights of two modules agree up to the order of sums."""
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")

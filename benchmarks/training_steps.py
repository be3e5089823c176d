"""Bare training steps of this package: plain torch and the native step, in fp32 and bf16."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.kernels.training import selection
from dlrm_pl.kernels.training.native import NativeStep
from dlrm_pl.kernels.training.steps import StepFailure
from dlrm_pl.kernels.training.weights import TrainedLayer, TrainedTable
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.losses import click_loss
from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.native import rates_of, rules_of, state_of
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Contender:
    """Which engine makes the step, and with which products."""

    name: str
    engine: Literal["torch", "native"]
    precision: selection.Precision


CONTENDERS = (
    Contender("torch_fp32", "torch", "fp32"),
    Contender("torch_bf16", "torch", "bf16"),
    Contender("native_fp32", "native", "fp32"),
    Contender("native_bf16", "native", "bf16"),
)


def native_isa() -> dict[str, str | None]:
    """Return the names of the native steps in use, by precision."""
    found: dict[str, str | None] = {}
    for precision in ("fp32", "bf16"):
        level = selection.level_in_use(precision)
        found[precision] = None if level is None else selection.levels(precision)[level]
    return found


def torch_or_native(
    contender: Contender, model: DLRM, optimizer: str, learning_rate: float, epsilon: float | None = None
) -> TorchStep | StepInPlace | str:
    """Return a contender's step, or why there is none."""
    settings = OptimizerSettings(optimizer=optimizer, learning_rate=learning_rate, epsilon=epsilon)
    made = make_optimizer(model, settings)
    if contender.engine == "torch":
        return TorchStep(model, made, contender.precision)
    if selection.level_in_use(contender.precision) is None:
        return "there is no native step for this processor"
    return StepInPlace(model, made, contender.precision)


class TorchStep:
    """Forward, backward and update as Lightning calls them, without Lightning.

    Args:
        model: network.
        optimizer: its optimizer.
        precision: fp32, or bf16 by autocast.
    """

    def __init__(self, model: DLRM, optimizer: torch.optim.Optimizer, precision: selection.Precision) -> None:
        self.model, self.optimizer, self._bf16 = model, optimizer, precision == "bf16"

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def __call__(self, batch: ClickBatch) -> float:
        """Train on a batch, and return its loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            loss = click_loss(self.model(batch), batch.known_labels, "bce")
        found = float(loss.detach())
        if not math.isfinite(found):
            raise ArithmeticError(f"the loss is {found}")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return found


class StepInPlace:
    """The native step on a model's own weights.

    Args:
        model: network.
        optimizer: its optimizer, whose state is updated too.
        precision: of the products.
    """

    def __init__(self, model: DLRM, optimizer: torch.optim.Optimizer, precision: selection.Precision) -> None:
        self.model, self.optimizer = model, optimizer
        rules = rules_of(optimizer)
        assert not isinstance(rules, str)

        def layer(linear: nn.Linear) -> TrainedLayer:
            bias = linear.bias
            return TrainedLayer(
                linear.weight.detach(),
                None if bias is None else bias.detach(),
                state_of(optimizer, linear.weight, rules.dense),
                () if bias is None else state_of(optimizer, bias, rules.dense),
            )

        def layers(mlp: nn.Module) -> list[TrainedLayer]:
            return [layer(linear) for linear in mlp.children() if isinstance(linear, nn.Linear)]

        tables = [
            TrainedTable(table.detach(), *state_of(optimizer, table, rules.tables))
            for table in model.embedding_bags.parameters()
        ]
        self._native = NativeStep(
            tables,
            layers(model.bottom_mlp),
            layers(model.top_mlp),
            cross=[] if model.cross_net is None else [(layer(one.v), layer(one.w)) for one in model.cross_net.layers],
            precision=precision,
            is_dot=model.architecture.interaction == "dot",
            dense_rule=rules.dense,
            table_rule=rules.tables,
        )

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def __call__(self, batch: ClickBatch) -> float:
        """Train on a batch, and return its loss."""
        rates = rates_of(self.optimizer)
        found = self._native.step(
            batch.dense, batch.indices, batch.offsets, batch.known_labels, rates.dense, rates.tables
        )
        if isinstance(found, StepFailure):
            raise ArithmeticError(f"the native step failed: {found}")
        return found

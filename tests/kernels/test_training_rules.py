"""Optimizers of the native step match the torch path over several steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import level_in_use
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.losses import click_loss
from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.native import rates_of
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from tests.support.native.native_steps import Trained, a_batch

pytestmark = pytest.mark.skipif(level_in_use("fp32") is None, reason="no native training here")

DOT = Architecture((30, 4, 1000), 16, (13, 40, 16), (50, 33, 1))
DCN = replace(DOT, interaction="dcn", cross_layers=2, cross_rank=12)


@pytest.mark.each_value
@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
@pytest.mark.parametrize("dense", ["sgd", "adagrad", "adam", "lamb"])
@pytest.mark.parametrize("tables", ["sgd", "adagrad", "rwsadagrad"])
@pytest.mark.parametrize("architecture", [DOT, DCN], ids=["dot", "dcn"])
def test_native_steps_are_those_of_the_torch_path(
    architecture: Architecture, tables: str, dense: str, multi_hot: bool
) -> None:
    torch.manual_seed(3)
    model = DLRM(architecture)
    trained = Trained(model, dense_rule=dense, table_rule=tables)  # type: ignore[arg-type]
    # A large epsilon: without it, the first step of these optimizers has the sign of a gradient of 1e-9.
    settings = OptimizerSettings(
        optimizer=tables,  # type: ignore[arg-type]
        dense_optimizer=dense,  # type: ignore[arg-type]
        learning_rate=0.05,
        dense_learning_rate=0.01,
        epsilon=None if tables == "sgd" else 1e-3,
        dense_epsilon=None if dense == "sgd" else 1e-3,
        dense_weight_decay=0.1 if dense in ("adam", "lamb") else 0.0,
    )
    optimizer = make_optimizer(model, settings)
    for seed in range(3):  # Later a ReLU's input may be 1e-6, with a sign that depends on the order of sums.
        batch = a_batch(architecture, 40, seed, multi_hot=multi_hot)
        rates, table_rates = rates_of(optimizer)
        trained.step(batch, Rates(*rates), Rates(*table_rates))
        optimizer.zero_grad()
        click_loss(model(batch), batch.known_labels, "bce").backward()
        optimizer.step()
    for mine, other in zip(trained.weights(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=1e-4, atol=2e-6)

"""Native training steps of small models, and the same steps with torch in float64."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.kernels.training.native import NativeStep
from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.steps import StepFailure
from dlrm_pl.kernels.training.weights import Rule, TrainedLayer, TrainedTable
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.cross_net import CrossNet
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.losses import click_loss

_STATES = {"sgd": 0, "adagrad": 1, "rwsadagrad": 1, "adam": 2, "lamb": 2}


def linears(mlp: nn.Module) -> list[nn.Linear]:
    return [module for module in mlp.modules() if isinstance(module, nn.Linear)]


def a_batch(
    architecture: Architecture, size: int, seed: int, *, multi_hot: bool = False, longest: int = 3
) -> ClickBatch:
    """Return a batch with duplicates in every table; multi-hot: also empty bags and some of ``longest`` rows."""
    rng = torch.Generator().manual_seed(seed)
    dense = torch.rand(size, architecture.bottom_mlp[0], generator=rng)
    labels = (torch.rand(size, generator=rng) < 0.4).float()
    sizes = architecture.table_sizes
    if not multi_hot:
        columns = [torch.randint(min(rows, 1 + size), (size,), generator=rng) for rows in sizes]
        return ClickBatch(dense, torch.stack(columns), None, labels)
    lengths = torch.randint(0, longest + 1, (len(sizes) * size,), generator=rng)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    counts = lengths.view(len(sizes), size).sum(1).tolist()
    indices = [torch.randint(rows, (count,), generator=rng) for rows, count in zip(sizes, counts, strict=True)]
    return ClickBatch(dense, torch.cat(indices), offsets, labels)


class Trained:
    """A model with the state of an optimizer, trained by native steps.

    The state is kept in `states`, in the order of the model's parameters.
    """

    def __init__(
        self, model: DLRM, *, dense_rule: Rule = "sgd", table_rule: Rule = "sgd", initial: float = 0.0, **options: Any
    ) -> None:
        self.model = copy.deepcopy(model)
        architecture = model.architecture
        tables = list(self.model.embedding_bags.parameters())
        self.table_states = [
            None
            if table_rule == "sgd"
            else torch.full(table.shape[:1] if table_rule == "rwsadagrad" else table.shape, initial)
            for table in tables
        ]
        count, crossed = _STATES[dense_rule], self.model.cross_net

        def layer(linear: nn.Linear) -> TrainedLayer:
            weight, bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
            return TrainedLayer(
                weight,
                bias,
                tuple(torch.full_like(weight, initial) for _ in range(count)),
                () if bias is None else tuple(torch.full_like(bias, initial) for _ in range(count)),
            )

        self.native = NativeStep(
            [
                TrainedTable(table.detach(), state, is_mean)
                for table, state, is_mean in zip(tables, self.table_states, architecture.is_mean, strict=True)
            ],
            [layer(linear) for linear in linears(self.model.bottom_mlp)],
            [layer(linear) for linear in linears(self.model.top_mlp)],
            cross=[] if crossed is None else [(layer(one.v), layer(one.w)) for one in cast(CrossNet, crossed).layers],
            is_dot=architecture.interaction == "dot",
            self_interaction=architecture.self_interaction,
            dense_rule=dense_rule,
            table_rule=table_rule,
            **options,
        )

    def step(self, batch: ClickBatch, rates: Rates, table_rates: Rates | None = None, **options: Any) -> float:
        found = self.try_step(batch, rates, table_rates, **options)
        assert not isinstance(found, StepFailure), found
        return found

    def try_step(
        self, batch: ClickBatch, rates: Rates, table_rates: Rates | None = None, **options: Any
    ) -> float | StepFailure:
        return self.native.step(
            batch.dense, batch.indices, batch.offsets, batch.known_labels, rates, table_rates or rates, **options
        )

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


def gradients(
    model: DLRM,
    batch: ClickBatch,
    loss: str = "bce",
    weights: tuple[float, float] = (1.0, 1.0),
    dtype: torch.dtype = torch.float64,
) -> Any:
    """Mean loss and dense gradients of all parameters, by autograd in ``dtype``."""
    exact = copy.deepcopy(model).to(dtype)
    value = click_loss(
        exact(batch._replace(dense=batch.dense.to(dtype))),
        batch.known_labels.to(dtype),
        loss,  # type: ignore[arg-type]
        weights,
    )
    found = torch.autograd.grad(value, list(exact.parameters()))
    return float(value.detach()), [gradient.to_dense() if gradient.is_sparse else gradient for gradient in found]


def autocast_gradients(model: DLRM, batch: ClickBatch) -> list[Tensor]:
    """Dense gradients of the torch path under bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        value = click_loss(model(batch), batch.known_labels, "bce")
    found = torch.autograd.grad(value, list(model.parameters()))
    return [gradient.to_dense() if gradient.is_sparse else gradient for gradient in found]

"""Detect a diverged loss, and the first tensor that shows the cause."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import NonFiniteError
from dlrm_pl.model.embeddings import TABLE_KEY, split_bags
from dlrm_pl.model.training.losses import Loss
from dlrm_pl.model.training.sharding import ShardedBags

LARGEST_LOSS = 1e4
"""Mean loss, in nats and for a class weight of 1, beyond which training has diverged.

An untrained model has a loss of 0.7 or less. With dense features in the thousands, as columns without a transform may
have, the first steps can have losses in the hundreds, and the model still learns.
"""


def largest_loss(loss: Loss, class_weights: tuple[float, float]) -> float:
    """Return the mean loss of a batch above which training has diverged."""
    return LARGEST_LOSS * (max(1.0, *class_weights) if loss == "wbce" else 1.0)


def divergence(model: nn.Module, batch: ClickBatch, loss: float, *, step: int, rate: float) -> NonFiniteError:
    """Make the error for a loss that is NaN, infinite or far too large.

    Args:
        model: network with the weights that produced the loss.
        batch: batch with that loss.
        loss: mean loss of the batch.
        step: number of optimizer steps before this batch.
        rate: learning rate.
    """
    text = "infinite" if math.isinf(loss) else "NaN" if math.isnan(loss) else f"{loss:.4g}, too large to recover from,"
    return NonFiniteError(
        f"The loss is {text} at step {step:,}, with a learning rate of {rate:.6g}: {_cause(model, batch)}. Earlier "
        "checkpoints are intact; the current weights were not saved. Lower --model.learning_rate, or add a warm-up "
        "with --model.lr_num_warmup_steps."
    )


@torch.no_grad()
def _cause(model: nn.Module, batch: ClickBatch) -> str:
    """Name the first tensor in the order of computation that is not finite, or the one with the largest values."""
    if (bad := _bad(batch.dense)) is not None:
        sample, feature = divmod(bad, batch.dense.shape[1])
        value = batch.dense[sample, feature].item()
        return f"dense feature {feature} of sample {sample} of the batch is {value}"
    if batch.labels is not None and (bad := _bad(batch.labels)) is not None:
        return f"the label of sample {bad} of the batch is {batch.labels[bad].item()}"
    largest, where = -1.0, "none"
    for name, weight, rows in _weights(model, batch):
        values = weight if rows is None else weight[rows]
        if (bad := _bad(values)) is not None:
            row = "" if rows is None else f"row {int(rows[bad // weight.shape[1]])} of "
            return f"{row}model.{name} is not finite"
        if values.numel() and (size := float(values.abs().max())) > largest:
            largest, where = size, name
    return f"all weights are finite, and the largest, {largest:.4g}, is in model.{where}"


def _weights(model: nn.Module, batch: ClickBatch) -> list[tuple[str, Tensor, Tensor | None]]:
    """List weights in the order of computation, with the rows that a batch looks up in each table."""
    named = dict(model.named_parameters())
    tables = [name for name in named if name.startswith("embedding_bags.")]
    rows: dict[str, Tensor] = {}
    if tables and tables == [TABLE_KEY.format(number) for number in range(len(tables))]:
        looked_up = list(batch.indices)
        if batch.offsets is not None:
            looked_up = [of_table for of_table, _ in split_bags(batch.indices, batch.offsets, len(tables))]
        rows = dict(zip(tables, looked_up, strict=True))
    order = {"bottom_mlp": 0, "embedding_bags": 1, "cross_net": 2, "top_mlp": 3}
    names = sorted(named, key=lambda name: order.get(name.partition(".")[0], 4))
    bags = getattr(model, "embedding_bags", None)
    parts = bags.named_parts() if isinstance(bags, ShardedBags) else []
    return [(name, named[name], rows.get(name)) for name in names] + [(name, part, None) for name, part in parts]


def _bad(tensor: Tensor) -> int | None:
    """Return the place of the first element that is not finite."""
    finite = torch.isfinite(tensor).flatten()
    return None if bool(finite.all()) else int((~finite).nonzero()[0])

"""Float model op by op: input and output of each op, under the names in ``Recipe.ops``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM, clamp_logits
from dlrm_pl.model.interaction import interact
from dlrm_pl.quantization.ptq.prepare import float_chains, linear_layers

Weights = Callable[[str, Tensor], Tensor]
"""Function of an op and its weight that returns the weight to compute with."""


@dataclass(frozen=True)
class FloatActivations:
    """Activations of the float model on one batch.

    Attributes:
        inputs: input of each Linear by op, float ``[B, in]``.
        outputs: output of each Linear by op, after its ReLU, float ``[B, out]``.
        dense: output of the bottom MLP, float ``[B, D]``.
        sparse: pooled embeddings, float ``[B, T, D]``.
        interacted: output of the interaction, and of the cross network if there is one, float
            ``[B, interaction_width]``.
        logits: float ``[B]``.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    dense: Tensor
    sparse: Tensor
    interacted: Tensor
    logits: Tensor


def float_activations(
    model: DLRM, batch: ClickBatch, *, sparse: Tensor | None = None, weights: Weights = lambda op, weight: weight
) -> FloatActivations:
    """Run the float model and keep the activations between its ops.

    Args:
        model: float model.
        batch: batch to score.
        sparse: pooled embeddings ``[B, T, D]`` to use instead of lookups.
        weights: function that replaces the weights of Linears, for derivatives with respect to them.
    """
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    chains, ops = float_chains(model), iter(model.architecture.linear_shapes)

    def run(part: str, x: Tensor) -> Tensor:
        for linear, relu in linear_layers(chains[part]):
            op = next(ops)
            inputs[op] = x
            x = F.linear(x, weights(op, linear.weight), linear.bias)
            x = x if relu is None else F.relu(x)
            outputs[op] = x
        return x

    dense = run("bottom_mlp", batch.dense)
    if sparse is None:
        sparse = model.embedding_bags(batch.indices, batch.offsets)
    first = interacted = interact(dense, sparse, model.architecture)
    for layer in range(model.architecture.cross_layers):
        interacted = first * run(f"cross_net.{layer}", interacted) + interacted
    logits = clamp_logits(run("top_mlp", interacted).squeeze(1), model.architecture.loss_threshold)
    return FloatActivations(inputs, outputs, dense, sparse, interacted, logits)


def squared_norm(values: Tensor) -> float:
    """Return the sum of squares in double precision."""
    return float(values.detach().double().square().sum())

"""Dense part of a training step, both MLPs and the interaction, as a CUDA graph that is replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM, clamp_logits

Dense = Callable[[Tensor, Tensor], Tensor]
"""Dense features ``[B, N]`` and pooled rows ``[B, T, D]`` -> logits ``[B]``, with gradients for rows and weights."""

Capture = Callable[["DensePart", Tensor, Tensor], Dense]
"""Records the forward and backward pass of a dense part for the shapes of two sample inputs."""


class DensePart(nn.Module):
    """Both MLPs and the interaction of a model, with which it shares the weights.

    Args:
        model: the model.
        autocast: dtype that matrix products are computed in; None: the dtype of the weights.
    """

    def __init__(self, model: DLRM, autocast: torch.dtype | None) -> None:
        super().__init__()
        # The tables are left out: they are not part of the graph.
        self._dense = DLRM.from_parts(
            model.architecture, model.bottom_mlp, nn.Identity(), model.top_mlp, model.cross_net
        )
        self._autocast = autocast

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        """Compute the logits ``[B]``, float32."""
        # The cache must be off: cached conversions of weights would stay as they were at the time of the capture.
        with torch.autocast(
            dense.device.type, dtype=self._autocast, enabled=self._autocast is not None, cache_enabled=False
        ):
            model = self._dense
            logits: Tensor = model.top_mlp(model.combine(model.bottom_mlp(dense), sparse)).squeeze(1)
        return clamp_logits(logits.float(), model.architecture.loss_threshold)


def cuda_graph(part: DensePart, dense: Tensor, sparse: Tensor) -> Dense:
    """Record a CUDA graph; each replay copies its inputs into the memory of the sample inputs."""
    with torch.autocast(dense.device.type, enabled=False):
        graph: Any = torch.cuda.make_graphed_callables(part, (dense, sparse))
    replay: Dense = graph
    return replay


class GraphedForward:
    """Forward pass for training; its dense part is replayed for batches with the first batch's shape.

    Batches of another shape, such as the last one of an epoch, and batches without gradients go through the same code
    without a graph.

    Args:
        model: the model; its weights must stay where they are.
        autocast: dtype that matrix products are computed in; None: the dtype of the weights.
        capture: function that records the graph.
    """

    def __init__(self, model: DLRM, autocast: torch.dtype | None, capture: Capture = cuda_graph) -> None:
        self._model, self._capture, self._autocast = model, capture, autocast
        self._part = DensePart(model, autocast)
        self._graph: Dense | None = None
        self._shapes: tuple[torch.Size, torch.Size] | None = None

    def __call__(self, batch: ClickBatch) -> Tensor:
        """Compute the logits ``[B]`` of a batch."""
        logits: Tensor
        if not torch.is_grad_enabled():
            logits = self._model(batch)
            return logits
        sparse = self._model.embedding_bags(batch.indices, batch.offsets)
        shapes = batch.dense.shape, sparse.shape
        if self._graph is None:
            samples = torch.zeros_like(batch.dense), torch.zeros_like(sparse).requires_grad_()
            # The capture changes the forward pass of the module that it is given, so it gets one of its own.
            self._graph = self._capture(DensePart(self._model, self._autocast), *samples)
            self._shapes = shapes
        if shapes == self._shapes:
            return self._graph(batch.dense, sparse.contiguous())
        logits = self._part(batch.dense, sparse)
        return logits

"""The float model on plain tensors, as input for exporters, quantizers and compilers of other programs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.model.dlrm import DLRM, clamp_logits


class DensePart(nn.Module):
    """Everything in a float DLRM except the lookups.

    Args:
        model: float model; its MLPs and its cross network are referenced.
    """

    def __init__(self, model: DLRM) -> None:
        super().__init__()
        self.architecture = model.architecture
        self.bottom_mlp, self.cross_net, self.top_mlp = model.bottom_mlp, model.cross_net, model.top_mlp
        vectors = self.architecture.num_tables + 1
        row, column = torch.tril_indices(vectors, vectors, offset=0 if self.architecture.self_interaction else -1)
        self.register_buffer("pairs", row * vectors + column)

    def forward(self, dense: Tensor, embeddings: Tensor) -> Tensor:
        """Score a batch.

        Args:
            dense: ``[B, N]``.
            embeddings: pooled rows, ``[B, T, D]``.

        Returns:
            Logits ``[B]``.
        """
        first = self.bottom_mlp(dense)
        return self.logits(first, torch.cat([first.unsqueeze(1), embeddings], dim=1))

    def logits(self, first: Tensor, vectors: Tensor) -> Tensor:
        """Compute logits from vectors ``[B, F, D]``, of which the first, ``[B, D]``, is the bottom MLP's output."""
        if self.architecture.interaction == "dot":
            products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.get_buffer("pairs"))
            combined = torch.cat([first, products], dim=1)
        else:
            combined = vectors.flatten(1)
        if self.cross_net is not None:
            combined = self.cross_net(combined)
        logits: Tensor = self.top_mlp(combined).squeeze(1)
        return clamp_logits(logits, self.architecture.loss_threshold)


class OneHotModel(DensePart):
    """A float DLRM that looks up one row per bag.

    Each lookup takes indices ``[B, 1]`` and gives ``[B, 1, D]``, so that one concatenation makes the vectors of the
    interaction. This needs half as many ops as lookups of ``[B]`` followed by a stack, and was measured 1.1 times as
    fast in ONNX Runtime at batch 1.

    Args:
        model: float model; everything in it is referenced.
        with_tables: whether the tables are parameters of this module; otherwise they are inputs.
    """

    def __init__(self, model: DLRM, *, with_tables: bool) -> None:
        super().__init__(model)
        self.tables = nn.ParameterList(model.embedding_bags.parameters() if with_tables else [])

    def forward(self, dense: Tensor, indices: Tensor, tables: Sequence[Tensor] | None = None) -> Tensor:
        """Score a batch.

        Args:
            dense: float32 ``[B, N]``.
            indices: int64 ``[T, B]``.
            tables: float32 ``[rows, D]`` each; None if they are parameters.

        Returns:
            Logits ``[B]``.
        """
        weights = list(self.tables) if tables is None else tables
        first = self.bottom_mlp(dense)
        rows = indices.t().chunk(self.architecture.num_tables, dim=1)
        looked_up = (F.embedding(ids, table) for ids, table in zip(rows, weights, strict=True))
        return self.logits(first, torch.cat([first.unsqueeze(1), *looked_up], dim=1))

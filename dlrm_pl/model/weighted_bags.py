"""Embedding tables with a trained weight for each row, like upstream's (facebookresearch/dlrm) weighted pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.errors import CheckpointError, ShapeError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags, split_bags
from dlrm_pl.model.parameter_names import WEIGHT_KEY

WeightedPooling = Literal["none", "fixed", "learned"]
"""``none`` and ``fixed``: all rows have weight 1. ``learned``: each row has a trained weight, which starts at 1."""

_BLOCK_BYTES = 8 << 20


class WeightedBags(EmbeddingBags):
    """Embedding tables that sum or average the weighted rows of a bag, with sparse gradients.

    A weight belongs to a row and not to a sample, so the products of the rows and their weights, see ``fold``, are
    tables that give the same pooled vectors without weights. Besides the tables, the state dict has
    ``row_weights.0.weight``, ...: ``[rows, 1]`` each.

    Args:
        bags: tables without weights, which become part of this module.
    """

    def __init__(self, bags: EmbeddingBags) -> None:
        nn.Module.__init__(self)
        self.tables = bags.tables
        self.row_weights = nn.ModuleList()
        for table in self._modules_of_tables():
            ones = torch.ones_like(table.weight[:, :1])
            self.row_weights.append(nn.Embedding(len(ones), 1, sparse=True, _weight=ones))

    def weights(self) -> list[Tensor]:
        """Return the products of the tables and their row weights, as copies."""
        pairs = zip(self._modules_of_tables(), self._modules_of_weights(), strict=True)
        return [(table.weight * weight.weight).detach() for table, weight in pairs]

    def rows(self, indices: Tensor, table: int) -> Tensor:
        """Look up weighted rows of one table without pooling: indices ``[L]`` -> ``[L, D]``."""
        rows = self._rows(indices, self._modules_of_tables()[table].weight)
        weighted: Tensor = rows * self.row_weights[table](indices)
        return weighted

    def forward(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Sum or average the weighted rows of each bag, see ``EmbeddingBags.forward``."""
        count = len(self.tables)
        if offsets is None:
            if indices.dim() != 2 or indices.shape[0] != count:
                raise ShapeError(f"{count} tables need indices of shape [T, B], got {list(indices.shape)}.")
            return torch.stack([self.rows(rows, table) for table, rows in enumerate(indices)], dim=1)
        pooled = [
            F.embedding_bag(
                torch.arange(len(rows), device=rows.device), self.rows(rows, table), starts, mode=module.mode
            )
            for table, (module, (rows, starts)) in enumerate(
                zip(self._modules_of_tables(), split_bags(indices, offsets, count), strict=True)
            )
        ]
        return torch.stack(pooled, dim=1)

    @torch.no_grad()
    def fold(self) -> EmbeddingBags:
        """Multiply the rows in place by their weights, which become 1, and return the tables without weights.

        The multiplied pages of a memory-mapped file take memory; the file does not change.
        """
        for table, weights in zip(self._modules_of_tables(), self._modules_of_weights(), strict=True):
            block = max(1, _BLOCK_BYTES // (4 * table.embedding_dim))
            for start in range(0, table.num_embeddings, block):
                factors = weights.weight[start : start + block]
                if not factors.eq(1).all():
                    table.weight[start : start + block] *= factors
            weights.weight.fill_(1)
        plain = EmbeddingBags.__new__(EmbeddingBags)
        nn.Module.__init__(plain)
        plain.tables = self.tables
        return plain

    def _modules_of_weights(self) -> list[nn.Embedding]:
        return [weights for weights in self.row_weights if isinstance(weights, nn.Embedding)]


def without_row_weights(model: DLRM) -> DLRM:
    """Return a model with the same weights and plain tables; the model itself if its tables are plain.

    Row weights are multiplied into the tables in place, see ``WeightedBags.fold``.

    Raises:
        CheckpointError: the file that the tables are memory-mapped from is corrupt.
    """
    bags = model.embedding_bags
    if not isinstance(bags, WeightedBags):
        return model
    file = model.weights_file
    if file is not None:
        for name, tensor in file.tensors.items():
            if name.startswith("embedding_bags."):
                tensor.check(name)  # Afterwards, they differ from the file.
        others = {name: tensor for name, tensor in file.tensors.items() if not name.startswith("embedding_bags.")}
        file = replace(file, tensors=others, digests={})
    plain = DLRM.from_parts(model.architecture, model.bottom_mlp, bags.fold(), model.top_mlp, model.cross_net)
    plain.weights_file, plain.trained_quantization = file, model.trained_quantization
    return plain.train(model.training)


def fit_row_weights(checkpoint: Mapping[str, Any], bags: nn.Module) -> None:
    """Check that a checkpoint has row weights if the module's tables have them.

    An imported checkpoint has none, since an import multiplies them into the tables; it gets weights of 1.

    Args:
        checkpoint: entries of the checkpoint.
        bags: tables of the module's model.

    Raises:
        CheckpointError: the checkpoint has row weights and the tables have none, or vice versa.
    """
    state, expected = checkpoint["state_dict"], isinstance(bags, WeightedBags)
    found = f"model.{WEIGHT_KEY.format(0)}" in state
    if expected and not found and not checkpoint.get("optimizer_states"):
        assert isinstance(bags, WeightedBags)
        for table, weights in enumerate(bags.row_weights):
            state[f"model.{WEIGHT_KEY.format(table)}"] = torch.ones(weights.weight.shape)  # type: ignore[arg-type]
    elif expected != found:
        stated, own = ("'learned'" if one else "'none'" for one in (found, expected))
        raise CheckpointError(
            f"The checkpoint was saved with weighted_pooling={stated}, but the model has weighted_pooling={own}. Give "
            f"the model weighted_pooling={stated}."
        )

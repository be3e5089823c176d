"""DLRM as a plain nn.Module: a ClickBatch in, logits out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError, LookupIndexError, ShapeError
from dlrm_pl.files.watched import Watch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.cross_net import CrossNet
from dlrm_pl.model.embeddings import EmbeddingBags, split_bags
from dlrm_pl.model.interaction import interact
from dlrm_pl.model.mlp import build_mlp
from dlrm_pl.model.weights_file import WeightsFile
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities, Scorer

_NO_FILE = Watch()


class DLRM(nn.Module):
    """Deep learning recommendation model (DLRM): a batch of clicks in, logits out.

    Dense features go through ``bottom_mlp``, and sparse ones through ``embedding_bags``. Their interaction (with
    ``dcn``, the output of the ``cross_net``) goes through ``top_mlp``, whose output is the logit.

    Args:
        architecture: shape of the model. Weights are initialized as in upstream (facebookresearch/dlrm).

    Raises:
        ConfigurationError: ``architecture`` is not an ``Architecture``.

    Example:
        >>> import torch
        >>> from dlrm_pl import DLRM, Architecture, ClickBatch
        >>> architecture = Architecture(table_sizes=[100, 20], embedding_dim=8, bottom_mlp=[13, 8], top_mlp=[16, 1])
        >>> model = DLRM(architecture)
        >>> batch = ClickBatch(dense=torch.zeros(4, 13), indices=torch.zeros(2, 4, dtype=torch.int64))
        >>> model(batch).shape
        torch.Size([4])

    Source: Naumov et al. 2019, arXiv:1906.00091.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if not isinstance(architecture, Architecture):
            raise ConfigurationError(
                "DLRM takes an Architecture, as in DLRM(Architecture(table_sizes=..., ...)), but got a "
                f"{type(architecture).__name__}."
            )
        self.architecture = architecture
        self.weights_file: WeightsFile | None = None
        """The file that the weights are memory-mapped from; None if they are in memory."""
        self.trained_quantization: Mapping[str, Any] | None = None
        """Recipe and ranges that the model was trained with, as plain types; None if it was trained in floats."""
        # Upstream initializes tables, bottom and top MLP in this order; TorchRec initializes the cross network before
        # the top MLP.
        self.embedding_bags: nn.Module = EmbeddingBags(
            architecture.table_sizes, architecture.embedding_dim, architecture.is_mean
        )
        self.bottom_mlp: nn.Module
        self.cross_net: nn.Module | None
        self.top_mlp: nn.Module
        self.draw_dense_weights()

    @classmethod
    def from_parts(
        cls,
        architecture: Architecture,
        bottom_mlp: nn.Module,
        embedding_bags: nn.Module,
        top_mlp: nn.Module,
        cross_net: nn.Module | None = None,
    ) -> Self:
        """Compose a model from given modules, without copying or initialising anything, so that tables are shared."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.architecture = architecture
        model.weights_file = None
        model.trained_quantization = None
        model.embedding_bags = embedding_bags
        model.bottom_mlp = bottom_mlp
        model.cross_net = cross_net
        model.top_mlp = top_mlp
        return model

    def draw_dense_weights(self) -> None:
        """Make everything except the tables, with random weights from torch; in a new model, drawn after the tables."""
        shape = self.architecture
        widths = (shape.interaction_width, *shape.top_mlp)
        self.bottom_mlp = build_mlp(shape.bottom_mlp, final_relu=True)
        self.cross_net = None
        if shape.interaction == "dcn":
            self.cross_net = CrossNet.of(width=widths[0], rank=shape.cross_rank, count=shape.cross_layers)
        self.top_mlp = build_mlp(widths, final_relu=False)

    @property
    def watch(self) -> Watch:
        """Watch the file that the weights are memory-mapped from, if there is one."""
        return _NO_FILE if self.weights_file is None else self.weights_file.watch

    def forward(self, batch: ClickBatch) -> Tensor:
        """Score a batch.

        Returns:
            Logits ``[B]``: float32, or float64 if the model is float64.

        Raises:
            ShapeError: the batch has another number of dense features or tables than the model.
        """
        inputs = self.architecture.bottom_mlp[0]
        if batch.dense.dim() != 2 or batch.dense.shape[1] != inputs:
            raise ShapeError(
                f"The bottom MLP takes {inputs} dense features, shape [B, {inputs}], but got {list(batch.dense.shape)}."
            )
        dense = self.bottom_mlp(batch.dense)
        sparse = self.embedding_bags(batch.indices, batch.offsets)
        logits: Tensor = self.top_mlp(self.combine(dense, sparse)).squeeze(1)
        if logits.dtype in (torch.bfloat16, torch.float16):
            # In half precision, many samples would get the same probability, and ties lower the AUROC.
            logits = logits.float()
        return clamp_logits(logits, self.architecture.loss_threshold)

    def combine(self, dense: Tensor, sparse: Tensor) -> Tensor:
        """Compute the interaction of the vectors, and run the cross network if there is one.

        Args:
            dense: output of the bottom MLP, float ``[B, D]``.
            sparse: pooled embeddings, same dtype, ``[B, T, D]``.

        Returns:
            Input of the top MLP, ``[B, architecture.interaction_width]``.
        """
        vectors = interact(dense, sparse, self.architecture)
        if self.cross_net is None:
            return vectors
        crossed: Tensor = self.cross_net(vectors)
        return crossed

    def predict(
        self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None, columns: Columns | None = None
    ) -> Probabilities:
        """Score rows on the model's device, see ``Scorer.predict``.

        Args:
            rows: rows to score.
            batch_size: number of rows of arrays, frames and datasets that are scored at a time.
            raw: whether frames hold raw values.
            columns: columns of the rows; None if they are not known.
        """
        num_dense, num_tables = self.architecture.bottom_mlp[0], self.architecture.num_tables
        scorer = Scorer(self._logits, num_dense, num_tables, self.watch, columns)
        return scorer.predict(rows, batch_size=batch_size, raw=raw)

    def _logits(self, batch: ClickBatch) -> Tensor:
        """Score a batch that may be on another device; an error names the index that is outside its table."""
        device = next(self.top_mlp.parameters()).device
        offsets = None if batch.offsets is None else batch.offsets.to(device)
        try:
            logits: Tensor = self(ClickBatch(batch.dense.to(device), batch.indices.to(device), offsets))
        except (IndexError, RuntimeError) as error:  # From an embedding or an embedding bag, respectively.
            if wrong := self.outside(batch):
                raise LookupIndexError(wrong) from error
            raise
        return logits

    def outside(self, batch: ClickBatch) -> str:
        """Describe the first index that is outside its table; empty if there is none."""
        sizes, ids = self.architecture.table_sizes, list(batch.indices)
        if batch.offsets is not None:
            ids = [rows for rows, _ in split_bags(batch.indices, batch.offsets, len(sizes))]
        for table, (rows, size) in enumerate(zip(ids, sizes, strict=False)):
            if len(wrong := rows[(rows < 0) | (rows >= size)]):
                return (
                    f"Table {table} has {size} rows, but the index is {int(wrong[0])}. The rows come from another "
                    "dataset than the model, or are corrupt."
                )
        return ""


def clamp_logits(logits: Tensor, threshold: float) -> Tensor:
    """Clamp logits so that the probability stays within ``threshold`` and ``1 - threshold``; 0 changes nothing.

    Upstream clamps the probability. The sigmoid is monotone, so clamping the logit at the corresponding bounds gives
    the same probability, and in both cases there is no gradient beyond them.
    """
    if threshold <= 0:
        return logits
    bound = math.log((1 - threshold) / threshold)
    return logits.clamp(-bound, bound)

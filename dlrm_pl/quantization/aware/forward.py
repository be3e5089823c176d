"""Forward pass of the int8 model in floats, with gradients for the float model's weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ShapeError
from dlrm_pl.model.dlrm import DLRM, clamp_logits
from dlrm_pl.model.embeddings import split_bags
from dlrm_pl.model.interaction import interact
from dlrm_pl.quantization.aware.rounding import (
    round_activation,
    round_rows,
    round_vectors,
    round_weight,
)
from dlrm_pl.quantization.ptq.prepare import checked_linears, float_chains
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.ptq.quantize_linear import byte_grid
from dlrm_pl.quantization.ptq.trained import TrainedQuantization


class RoundedForward:
    """Computes what a model's ``Int8DLRM`` computes, in floats and with straight-through gradients.

    Logits differ from the int8 model's only by the rounding of float32 sums, which occasionally moves an activation to
    the next of its 256 values.

    Args:
        model: float model; its current weights are read in each call.
        trained: recipe and activation ranges.

    Raises:
        CalibrationError: a range is not finite.
        ConfigurationError: the recipe has a different number of Linears than the model.
    """

    def __init__(self, model: DLRM, trained: TrainedQuantization) -> None:
        self._model = model
        self._recipe = recipe = trained.recipe
        self._is_mean = model.architecture.is_mean
        dtypes = recipe.chains
        self._linears = {
            name: list(zip(checked_linears(chain, dtypes.get(name, ()), name), dtypes.get(name, ()), strict=True))
            for name, chain in float_chains(model).items()
        }
        self._grids = {
            part: [
                byte_grid(found, recipe.activation_scheme, f"activation {i} of {part}")
                for i, found in enumerate(observed)
            ]
            for part, observed in trained.ranges.items()
        }

    def __call__(self, batch: ClickBatch) -> Tensor:
        """Score a batch: logits ``[B]``, in the dtype of the model.

        Raises:
            ShapeError: the batch has a different number of dense features or tables than the model.
        """
        inputs = self._model.architecture.bottom_mlp[0]
        if batch.dense.dim() != 2 or batch.dense.shape[1] != inputs:
            raise ShapeError(
                f"The bottom MLP takes {inputs} dense features, shape [B, {inputs}], but got {list(batch.dense.shape)}."
            )
        # Autocast would use a coarser format for what the int8 model computes exactly.
        with torch.autocast(batch.dense.device.type, enabled=False):
            dense = self._mlp("bottom_mlp", batch.dense)
            first = vectors = self._interact(dense, *self._vectors(batch))
            for layer in range(self._model.architecture.cross_layers):
                vectors = first * self._mlp(f"cross_net.{layer}", vectors) + vectors
            logits = self._mlp("top_mlp", vectors).squeeze(1)
            return clamp_logits(logits, self._model.architecture.loss_threshold)

    def _mlp(self, part: str, x: Tensor) -> Tensor:
        for index, ((linear, relu), dtype) in enumerate(self._linears[part]):
            weight, bias = linear.weight, linear.bias
            if dtype == "int8":
                x = round_activation(x, self._grids[part][index])
                x = F.linear(x, round_weight(weight, self._recipe.weight_granularity), bias)
            elif dtype == "bf16":
                half = None if bias is None else bias.bfloat16()
                x = F.linear(x.bfloat16(), weight.bfloat16(), half).to(x.dtype)
            else:
                x = F.linear(x, weight, bias)
            x = F.relu(x) if relu is not None else x
        return x

    def _interact(self, dense: Tensor, sparse: Tensor, exact: Tensor | None) -> Tensor:
        """Combine the vectors; ``exact`` marks those that are int8 already."""
        architecture = self._model.architecture
        if self._recipe.interaction == "int8":
            rounded = round_vectors(sparse)
            sparse = rounded if exact is None else torch.where(exact, sparse, rounded)
            products = interact(round_vectors(dense), sparse, architecture)[:, architecture.embedding_dim :]
            return torch.cat([dense, products], dim=1)
        if self._recipe.interaction == "bf16":
            return interact(dense.bfloat16(), sparse.bfloat16(), architecture).to(dense.dtype)
        return interact(dense, sparse, architecture)

    def _vectors(self, batch: ClickBatch) -> tuple[Tensor, Tensor | None]:
        """Pooled rows ``[B, T, D]``, and which of them a dot product takes as they are, ``[B, T, 1]``."""
        tables, dtypes = list(bags_of(self._model).parameters()), self._recipe.tables
        integers = [dtype in ("int8", "int4") for dtype in dtypes]
        if batch.offsets is None:
            if batch.indices.dim() != 2 or batch.indices.shape[0] != len(tables):
                raise ShapeError(f"{len(tables)} tables need indices of shape [T, B], got {list(batch.indices.shape)}.")
            rows = [F.embedding(ids, table, sparse=True) for ids, table in zip(batch.indices, tables, strict=True)]
            if len(set(dtypes)) == 1:
                sparse = round_rows(torch.stack(rows, dim=1), dtypes[0])
            else:
                sparse = torch.stack([round_rows(some, dtype) for some, dtype in zip(rows, dtypes, strict=True)], dim=1)
            return sparse, torch.tensor(integers, device=sparse.device)[None, :, None]
        pooled, exact = [], []
        for table, (ids, starts) in enumerate(split_bags(batch.indices, batch.offsets, len(tables))):
            rounded = round_rows(F.embedding(ids, tables[table], sparse=True), dtypes[table])
            everything = torch.arange(len(ids), device=ids.device)
            mode = "mean" if self._is_mean[table] else "sum"
            pooled.append(F.embedding_bag(everything, rounded, starts, mode=mode))
            sizes = torch.diff(starts, append=starts.new_tensor([len(ids)]))
            exact.append((sizes == 1) & integers[table])
        return torch.stack(pooled, dim=1), torch.stack(exact, dim=1)[:, :, None]

"""Estimate of how much rounding each op increases the log loss, from second derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags, split_bags
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.sensitivity.activation_error import Quantize
from dlrm_pl.quantization.sensitivity.float_activations import FloatActivations, float_activations, squared_norm
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import Int8Linear
from dlrm_pl.runtime.tables import PackedTables


def hessian_weighted_errors(
    model: DLRM, recipe: Recipe, quantize: Quantize, batches: Sequence[ClickBatch], *, seed: int, draws: int
) -> dict[str, float]:
    """Measure for each quantized op the mean Hessian diagonal of its weights times their squared rounding error.

    The Hessian is that of the float model's binary cross entropy. Only the rows of a table that the batches look up are
    differentiated, so memory does not grow with the tables. The interaction has no weights; its outputs take their
    place.

    Args:
        model: float model; not changed.
        recipe: recipe whose quantized ops are measured.
        quantize: function that makes the model of a recipe.
        batches: rows with labels.
        seed: seed of the random vectors.
        draws: number of random vectors for each op and batch; the standard error of a trace falls with its square root.

    Returns:
        Weighted error by op, in the order of ``Recipe.ops``.

    Source: Dong et al. 2020, "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", arXiv:1911.03852,
    equation 5; the trace is from Hutchinson 1990.
    """
    quantized = quantize(recipe)
    alone = None
    if recipe.interaction == "int8":
        alone = quantize(Recipe.all_float(model.architecture).with_dtype("interaction", "int8"))
    generator = torch.Generator().manual_seed(seed)
    weighted_errors = dict.fromkeys(recipe.quantized_ops, 0.0)
    rows = sum(batch.num_samples for batch in batches)
    for batch in batches:
        ops_of_batch = DifferentiableOps(model, batch)
        errors = _rounding_errors(ops_of_batch, quantized, alone, batch)
        traces = hessian_traces(ops_of_batch, list(weighted_errors), generator, draws)
        for op, trace in traces.items():
            weight = ops_of_batch.by_op[op]
            weighted_errors[op] += batch.num_samples / rows * trace / weight.numel() * errors[op]
    return weighted_errors


class DifferentiableOps:
    """Log loss of one batch as a differentiable function of each op's weights.

    Args:
        model: float model; its tensors are shared and get no gradient.
        batch: rows with labels.

    Attributes:
        by_op: tensor of each op to differentiate by: the weights ``[out, in]`` of a Linear, the rows ``[U, D]`` of a
            table that the batch looks up, each once, and the output of the interaction.
        rows: row numbers of these rows for each table, in ascending order, int64 ``[U]``.
        activations: activations of the batch.
        loss: mean binary cross entropy.
    """

    def __init__(self, model: DLRM, batch: ClickBatch) -> None:
        self.by_op: dict[str, Tensor] = {}
        self.rows: list[Tensor] = []
        with torch.enable_grad():
            sparse = self._lookups(model, batch)
            self.activations: FloatActivations = float_activations(model, batch, sparse=sparse, weights=self._variable)
            self.by_op["interaction"] = self.activations.interacted
            self.loss = F.binary_cross_entropy_with_logits(self.activations.logits, batch.known_labels)

    def _variable(self, op: str, weight: Tensor) -> Tensor:
        """Make a leaf of the graph on the same memory."""
        self.by_op[op] = weight.detach().requires_grad_()
        return self.by_op[op]

    def _lookups(self, model: DLRM, batch: ClickBatch) -> Tensor:
        """Pool embeddings, ``[B, T, D]``, with ops that can be differentiated twice."""
        bags = model.embedding_bags
        assert isinstance(bags, EmbeddingBags)  # A float model has no other kind.
        size = batch.num_samples
        pooled = []
        for index, table in enumerate(bags.weights()):
            if batch.offsets is None:
                rows, bag = batch.indices[index], torch.arange(size)
            else:
                rows, starts = split_bags(batch.indices, batch.offsets, model.architecture.num_tables)[index]
                lengths = torch.diff(starts, append=starts.new_tensor([len(rows)]))
                bag = torch.repeat_interleave(torch.arange(size), lengths)
            unique, place = torch.unique(rows, return_inverse=True)
            self.rows.append(unique)
            values = table[unique]
            if bags.nonfinite_as_zero:
                values = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
            values = self._variable(f"tables.{index}", values)
            sums = values.new_zeros(size, values.shape[1]).index_add(0, bag, values[place])
            if model.architecture.is_mean[index]:
                sums = sums / torch.bincount(bag, minlength=size).clamp_min(1)[:, None]
            pooled.append(sums)
        return torch.stack(pooled, dim=1)


def hessian_traces(
    ops_of_batch: DifferentiableOps, ops: Sequence[str], generator: torch.Generator, draws: int
) -> dict[str, float]:
    """Estimate the trace of each op's block of the Hessian by Hutchinson's method.

    The estimate is the mean of ``v . H v`` over random vectors of -1 and 1. Each op has its own vectors: with shared
    ones, the blocks off the diagonal would add noise.
    """
    with torch.enable_grad():
        tensors = [ops_of_batch.by_op[op] for op in ops]
        gradients = torch.autograd.grad(ops_of_batch.loss, tensors, create_graph=True)
    traces = {}
    for op, tensor, gradient in zip(ops, tensors, gradients, strict=True):
        total = 0.0
        for _ in range(draws):
            v = torch.randint(0, 2, tensor.shape, generator=generator).to(tensor.dtype) * 2 - 1
            (product,) = torch.autograd.grad(gradient, tensor, v, retain_graph=True, materialize_grads=True)
            total += float((v * product).sum())
        traces[op] = total / draws
    return traces


def _rounding_errors(
    ops_of_batch: DifferentiableOps, quantized: Int8DLRM, alone: Int8DLRM | None, batch: ClickBatch
) -> dict[str, float]:
    """Squared norm of the change that rounding makes to each op's tensor."""
    errors: dict[str, float] = {}
    with torch.inference_mode():
        for op, layer in quantized.layers.items():
            if isinstance(layer, Int8Linear):
                weight = layer.weight * layer.weight_scale.unsqueeze(1)
                errors[op] = squared_norm(weight - ops_of_batch.by_op[op])
        for index, packed in enumerate(_rows_of(quantized.tables, ops_of_batch.rows)):
            errors[f"tables.{index}"] = squared_norm(packed - ops_of_batch.by_op[f"tables.{index}"])
        if alone is not None:
            output = alone.interact(ops_of_batch.activations.dense.detach(), batch.indices, batch.offsets)
            errors["interaction"] = squared_norm(output - ops_of_batch.activations.interacted)
    return errors


def _rows_of(tables: PackedTables, rows: Sequence[Tensor]) -> list[Tensor]:
    """Unpack given rows of each table as floats."""
    longest = max((len(found) for found in rows), default=0)
    indices = torch.zeros(len(rows), longest, dtype=torch.int64)
    for index, found in enumerate(rows):
        indices[index, : len(found)] = found
    values = tables(indices, None)
    return [values[: len(found), index] for index, found in enumerate(rows)]

"""Errors of the outputs of quantized ops, relative to the float model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.sensitivity.float_activations import float_activations, squared_norm
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import Int8Linear, LinearChain

Quantize = Callable[[Recipe], Int8DLRM]


def activation_errors(
    model: DLRM, recipe: Recipe, quantize: Quantize, batches: Sequence[ClickBatch]
) -> dict[str, float]:
    """Measure the squared error of each quantized op's output as a share of the squared output.

    Both are measured around their means over the samples: an error that all samples share changes no ranking, and a
    large constant output would hide the noise on the part that varies. An op with a constant output has error 0.

    Each op gets the float model's inputs, so only its own error counts; with the errors of the ops before it, the last
    op would nearly always look worst. The output of an int8 Linear that feeds another counts as rounded to uint8.

    Args:
        model: float model.
        recipe: recipe whose quantized ops are measured, with its observers.
        quantize: function that makes the model of a recipe.
        batches: rows to measure on.

    Returns:
        The inverse of the signal-to-noise ratio by op, in the order of ``Recipe.ops``.
    """
    quantized = quantize(recipe)
    alone = None
    if recipe.interaction == "int8":
        # Use float tables and Linears, so that their errors do not add to the interaction's.
        alone = quantize(Recipe.all_float(model.architecture).with_dtype("interaction", "int8"))
    noise: dict[str, _Variation] = defaultdict(_Variation)
    signal: dict[str, _Variation] = defaultdict(_Variation)

    def compare(op: str, expected: Tensor, actual: Tensor) -> None:
        noise[op].add(actual - expected)
        signal[op].add(expected)

    with torch.inference_mode():
        for batch in batches:
            wanted = float_activations(model, batch)
            for op, layer in quantized.layers.items():
                if isinstance(layer, Int8Linear):
                    compare(op, wanted.outputs[op], _run_alone(layer, wanted.inputs[op]))
            looked_up = quantized.tables(batch.indices, batch.offsets)
            for index in range(model.architecture.num_tables):
                compare(f"tables.{index}", wanted.sparse[:, index], looked_up[:, index])
            if alone is not None:
                interacted = alone.interact(wanted.dense, batch.indices, batch.offsets)
                compare("interaction", wanted.interacted, interacted)
    smallest = torch.finfo(torch.float32).tiny
    return {op: noise[op].value / max(signal[op].value, smallest) for op in recipe.quantized_ops}


def logit_error(model: DLRM, quantized: Int8DLRM, batches: Sequence[ClickBatch]) -> float:
    """Return the mean squared difference between the logits of a quantized model and the float model."""
    total, rows = 0.0, 0
    with torch.inference_mode():
        for batch in batches:
            total += squared_norm(quantized(batch) - model(batch))
            rows += batch.num_samples
    return total / rows


def _run_alone(layer: Int8Linear, x: Tensor) -> Tensor:
    """Compute one layer from floats to floats with the kernel that serves it."""
    result: Tensor = LinearChain(
        [
            Int8Linear(
                layer.weight,
                layer.weight_scale,
                layer.bias,
                input_scale=layer.input_scale,
                input_zero_point=layer.input_zero_point,
                output_scale=None,
                output_zero_point=0,
                relu=layer.relu,
                quantizes_input=True,
            )
        ]
    )(x)
    if layer.output_scale is None:
        return result
    steps = (result / layer.output_scale).round() + layer.output_zero_point
    return (steps.clamp(0, 255) - layer.output_zero_point) * layer.output_scale


class _Variation:
    """Variance over the samples, summed over the features, of outputs that come batch by batch."""

    def __init__(self) -> None:
        self._rows = 0
        self._first: Tensor | None = None
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Add the outputs of a batch: float ``[B, features]`` with at least one sample."""
        values = values.double()
        if self._first is None:
            self._first = values[0].clone()
        # Relative to the first row, so that the variance of a constant is exactly 0.
        values = values - self._first
        self._rows += len(values)
        self._sum = self._sum + values.sum(dim=0)
        self._squares = self._squares + values.square().sum(dim=0)

    @property
    def value(self) -> float:
        """Variance summed over the features, 0 or more."""
        mean = torch.as_tensor(self._sum) / self._rows
        return float((torch.as_tensor(self._squares) / self._rows - mean.square()).clamp(min=0).sum())

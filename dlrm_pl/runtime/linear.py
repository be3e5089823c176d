"""Linear layers of the served model: float and int8 weights as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.dtypes import FloatDtype
from dlrm_pl.kernels.int8.rows import BLOCK_OUT, MAX_INPUTS, round_up


class Int8Linear(nn.Module):
    """Parameters of an int8 Linear: ``y = relu?(W x + b)`` with int8 weights and uint8 activations.

    It has no forward; ``LinearChain`` computes a run of such layers. The input is uint8, or float if the layer begins
    an int8 segment (``quantizes_input``). The output is uint8 for the next int8 layer, or float if the segment ends
    here (``output_scale`` is None): dequantizing the exact sum costs nothing and spares a logit the rounding to 256
    values.

    Args:
        weight: int8 ``[out, in]``, symmetric (zero point 0).
        weight_scale: float32 ``[out]`` (per channel) or ``[1]`` (per tensor).
        bias: float32 ``[out]``.
        input_scale: size of one step of the input.
        input_zero_point: byte that stands for 0 in the input.
        output_scale: size of one step of the output, or None for float32 output.
        output_zero_point: byte that stands for 0 in the output; 0 if ``output_scale`` is None.
        relu: apply ReLU before the output is quantized.
        quantizes_input: whether the input arrives as floats.

    Raises:
        ShapeError: weights, scales and bias do not fit together, or there are more inputs than the kernels sum.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor

    def __init__(
        self,
        weight: Tensor,
        weight_scale: Tensor,
        bias: Tensor,
        *,
        input_scale: float,
        input_zero_point: int,
        output_scale: float | None,
        output_zero_point: int,
        relu: bool,
        quantizes_input: bool,
    ) -> None:
        super().__init__()
        if weight.dtype != torch.int8 or weight.dim() != 2 or bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"An int8 Linear needs int8 weights [out, in] and a bias [out]; got {weight.dtype} "
                f"{list(weight.shape)} and {list(bias.shape)}."
            )
        if weight.shape[1] > MAX_INPUTS:
            raise ShapeError(
                f"An int8 Linear takes up to {MAX_INPUTS:,} inputs, but got {weight.shape[1]:,}. Choose fp32."
            )
        if weight_scale.numel() not in (1, weight.shape[0]):
            raise ShapeError(f"There are {weight_scale.numel()} weight scales for {weight.shape[0]} output channels.")
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale.float())
        self.register_buffer("bias", bias.float())
        self.input_scale = input_scale
        self.input_zero_point = input_zero_point
        self.output_scale = output_scale
        self.output_zero_point = output_zero_point
        self.relu = relu
        self.quantizes_input = quantizes_input


class LinearChain(nn.Module):
    """Consecutive int8 and bf16 Linears, computed by one op, with float32 output.

    Args:
        layers: the Linears in order. An int8 layer has uint8 output if the next one is int8, otherwise float output.

    Raises:
        ShapeError: there are no layers, one outputs another type than the next one reads, one is fp32, or one does not
            take as many inputs as the layer before it has outputs.
    """

    def __init__(self, layers: Sequence[Int8Linear | FloatLinear]) -> None:
        super().__init__()
        if not layers or any(isinstance(layer, FloatLinear) and layer.dtype != "bf16" for layer in layers):
            raise ShapeError("A chain of Linears needs at least one, and all of them int8 or bf16.")
        for index, layer in enumerate(layers):
            following = layers[index + 1] if index + 1 < len(layers) else None
            if isinstance(layer, Int8Linear) and (layer.output_scale is None) == isinstance(following, Int8Linear):
                raise ShapeError(
                    f"layer {index} of a chain of Linears: an int8 Linear must have uint8 output if an int8 one "
                    "follows it, and float output otherwise."
                )
        for index, (layer, following) in enumerate(pairwise(layers), 1):
            if layer.weight.shape[0] != following.weight.shape[1]:
                raise ShapeError(
                    f"layer {index} of a chain of Linears takes {following.weight.shape[1]} inputs, but the layer "
                    f"before it has {layer.weight.shape[0]} outputs."
                )
        self.reads_bytes = isinstance(layers[0], Int8Linear)
        # Derived from the layers, so neither parameters nor buffers.
        self._weights = [ops.pack_weight(layer.weight) for layer in layers]
        folded = [fold(layer) for layer in layers]
        self._multipliers = [multiplier for multiplier, _ in folded]
        self._biases = [bias for _, bias in folded]
        self._widths = [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)]
        self._lowest = [lowest(layer) for layer in layers]
        inputs = [
            (layer.input_scale, layer.input_zero_point) if isinstance(layer, Int8Linear) else (1.0, 0)
            for layer in layers
        ]
        self._scales, self._zero_points = [scale for scale, _ in inputs], [zero_point for _, zero_point in inputs]

    @property
    def input_scale(self) -> float:
        """Step size of the bytes that the first layer reads; 1 if it is bf16."""
        return self._scales[0]

    @property
    def input_zero_point(self) -> int:
        """Byte that stands for 0 in the first layer's input; 0 if it is bf16."""
        return self._zero_points[0]

    @property
    def kernel_arguments(
        self,
    ) -> tuple[list[float], list[int], list[Tensor], list[Tensor], list[Tensor], list[int], list[float]]:
        """Return the op's arguments: scales, zero points, packed weights, multipliers, biases, widths, minima."""
        return (
            *(self._scales, self._zero_points),
            *(self._weights, self._multipliers, self._biases, self._widths, self._lowest),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute all layers.

        Args:
            x: float32 ``[B, in]``; or, if the first layer is int8, uint8 ``[B, stride]`` with ``in`` padded to a
                multiple of 64.

        Returns:
            float32 ``[B, out]``.
        """
        result: Tensor = torch.ops.dlrm_pl.quantized_mlp(x, *self.kernel_arguments)
        return result


class FloatLinear(nn.Module):
    """``y = relu?(W x + b)`` of a layer that the recipe keeps in fp32 or bf16.

    The served model computes the bf16 ones in a ``LinearChain``, whose sums have the same order on every machine.

    Args:
        weight: float ``[out, in]``; shared if it has the dtype already.
        bias: float ``[out]``.
        relu: apply ReLU to the output.
        dtype: type of the weights and of the computation.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool, dtype: FloatDtype) -> None:
        super().__init__()
        storage = torch.bfloat16 if dtype == "bf16" else torch.float32
        self.register_buffer("weight", weight.detach().to(storage))
        self.register_buffer("bias", bias.detach().to(storage))
        self.relu = relu
        self.dtype: FloatDtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer: float32 ``[B, in]`` -> float32 ``[B, out]``."""
        result = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return (F.relu(result) if self.relu else result).float()


def segments(layers: Sequence[Int8Linear | FloatLinear]) -> list[LinearChain | FloatLinear]:
    """Join consecutive int8 and bf16 layers into chains; layers that torch computes stay single.

    Raises:
        ShapeError: an int8 layer with uint8 output has no int8 layer after it, see ``LinearChain``.
    """
    result: list[LinearChain | FloatLinear] = []
    run: list[Int8Linear | FloatLinear] = []
    for layer in layers:
        # An int8 layer may output floats to another int8 layer, which converts them to bytes again.
        if run and (_is_torchs(layer) or (_gives_floats(run[-1]) and isinstance(layer, Int8Linear))):
            result.append(LinearChain(run))
            run = []
        if isinstance(layer, FloatLinear) and _is_torchs(layer):
            result.append(layer)
        else:
            run.append(layer)
    if run:
        result.append(LinearChain(run))
    return result


def _is_torchs(layer: Int8Linear | FloatLinear) -> bool:
    """Whether torch computes a layer: fp32, or bf16 with more inputs than the kernels take."""
    return isinstance(layer, FloatLinear) and (layer.dtype == "fp32" or layer.weight.shape[1] > MAX_INPUTS)


def _gives_floats(layer: Int8Linear | FloatLinear) -> bool:
    return isinstance(layer, Int8Linear) and layer.output_scale is None


def fold(layer: Int8Linear | FloatLinear) -> tuple[Tensor, Tensor]:
    """Fold scales, zero points and bias into a multiplier for a sum of products and a number added to it.

    Both are computed in double precision and rounded once, so they are the same on every machine. Sums of a float layer
    are not multiplied, so it has no multipliers.
    """
    if isinstance(layer, FloatLinear):
        outs = layer.weight.shape[0]
        padded_bias = torch.zeros(round_up(outs, BLOCK_OUT))
        padded_bias[:outs] = layer.bias
        return torch.empty(0), padded_bias
    step = layer.weight_scale.double() * layer.input_scale
    bias = layer.bias.double() - step * layer.input_zero_point * layer.weight.sum(dim=1, dtype=torch.int64)
    if layer.output_scale is not None:
        step, bias = step / layer.output_scale, bias / layer.output_scale + layer.output_zero_point
    outs = layer.weight.shape[0]
    padded = torch.zeros(2, round_up(outs, BLOCK_OUT))
    padded[0, :outs], padded[1, :outs] = step.expand(outs).float(), bias.float()
    return padded[0].clone(), padded[1].clone()


def lowest(layer: Int8Linear | FloatLinear) -> float:
    """Return the lowest value of the output: the one that stands for 0 after a ReLU."""
    if isinstance(layer, FloatLinear) or layer.output_scale is None:
        return 0.0 if layer.relu else -torch.inf
    return float(layer.output_zero_point if layer.relu else 0)

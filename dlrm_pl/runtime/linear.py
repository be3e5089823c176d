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
    """Numbers of an int8 Linear: ``y = relu?(W x + b)`` with int8 weights and uint8 activations.

    It has no forward; ``Int8Chain`` computes a run of such layers. The input is uint8, or float if the layer begins an
    int8 segment (``quantizes_input``). The output is uint8 for the next int8 layer, or float if the segment ends here
    (``output_scale`` is None): dequantizing the exact sum costs nothing and spares a logit the rounding to 256 values.

    Args:
        weight: int8 ``[out, in]``, symmetric (zero point 0).
        weight_scale: float32 ``[out]`` (per channel) or ``[1]`` (per tensor).
        bias: float32 ``[out]``.
        input_scale: size of one step of the input.
        input_zero_point: byte that stands for 0 in the input.
        output_scale: size of one step of the output, or None for float32 output.
        output_zero_point: byte that stands for 0 in the output; 0 if ``output_scale`` is None.
        relu: apply ReLU before the output is quantized.
        quantizes_input: the input arrives as float.

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
            raise ShapeError(f"An int8 Linear takes up to {MAX_INPUTS:,} inputs, got {weight.shape[1]:,}. Choose fp32.")
        if weight_scale.numel() not in (1, weight.shape[0]):
            raise ShapeError(f"{weight_scale.numel()} weight scales for {weight.shape[0]} output channels.")
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale.float())
        self.register_buffer("bias", bias.float())
        self.input_scale = input_scale
        self.input_zero_point = input_zero_point
        self.output_scale = output_scale
        self.output_zero_point = output_zero_point
        self.relu = relu
        self.quantizes_input = quantizes_input


class Int8Chain(nn.Module):
    """Consecutive int8 Linears, computed by one op, with float32 output.

    Args:
        layers: the Linears in order; only the last has float output.

    Raises:
        ShapeError: there are no layers, another one than the last has float output, or one does not take as many inputs
            as the layer before it has outputs.
    """

    def __init__(self, layers: Sequence[Int8Linear]) -> None:
        super().__init__()
        if not layers or [layer.output_scale is None for layer in layers] != [False] * (len(layers) - 1) + [True]:
            raise ShapeError("A chain of int8 Linears needs float output of its last layer, and of no other.")
        for index, (layer, following) in enumerate(pairwise(layers), 1):
            if layer.weight.shape[0] != following.weight.shape[1]:
                raise ShapeError(
                    f"layer {index} of a chain of int8 Linears takes {following.weight.shape[1]} inputs, but the layer "
                    f"before it has {layer.weight.shape[0]} outputs."
                )
        self.input_scale = layers[0].input_scale
        self.input_zero_point = layers[0].input_zero_point
        # Derived from the layers, so neither parameters nor buffers.
        self._weights = [ops.pack_weight(layer.weight) for layer in layers]
        folded = [fold(layer) for layer in layers]
        self._multipliers = [multiplier for multiplier, _ in folded]
        self._biases = [bias for _, bias in folded]
        self._widths = [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)]
        self._lowest = [lowest(layer) for layer in layers]

    @property
    def kernel_arguments(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[int], list[float]]:
        """Packed weights, multipliers, biases, widths and least values, as ``ops.int8_mlp`` takes them."""
        return self._weights, self._multipliers, self._biases, self._widths, self._lowest

    def forward(self, x: Tensor) -> Tensor:
        """Compute all layers.

        Args:
            x: float32 ``[B, in]``, or uint8 ``[B, stride]`` with ``in`` padded to a multiple of 64.

        Returns:
            float32 ``[B, out]``.
        """
        result: Tensor = torch.ops.dlrm_pl.int8_mlp(
            x,
            self.input_scale,
            self.input_zero_point,
            self._weights,
            self._multipliers,
            self._biases,
            self._widths,
            self._lowest,
        )
        return result


class FloatLinear(nn.Module):
    """``y = relu?(W x + b)`` of a layer that the recipe keeps in fp32 or bf16.

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


def segments(layers: Sequence[Int8Linear | FloatLinear]) -> list[Int8Chain | FloatLinear]:
    """Join consecutive int8 layers into chains.

    Raises:
        ShapeError: an int8 layer with uint8 output has no int8 layer after it.
    """
    result: list[Int8Chain | FloatLinear] = []
    run: list[Int8Linear] = []
    for layer in layers:
        if isinstance(layer, FloatLinear):
            result.append(layer)
            continue
        run.append(layer)
        if layer.output_scale is None:
            result.append(Int8Chain(run))
            run = []
    if run:
        raise ShapeError("The last int8 Linear has uint8 output, but no int8 Linear follows it.")
    return result


def fold(layer: Int8Linear) -> tuple[Tensor, Tensor]:
    """Fold scales, zero points and bias into the multiplier of a sum of products, and the number added to it.

    Both are computed in double precision and rounded once, so they are the same on every machine.
    """
    step = layer.weight_scale.double() * layer.input_scale
    bias = layer.bias.double() - step * layer.input_zero_point * layer.weight.sum(dim=1, dtype=torch.int64)
    if layer.output_scale is not None:
        step, bias = step / layer.output_scale, bias / layer.output_scale + layer.output_zero_point
    outs = layer.weight.shape[0]
    padded = torch.zeros(2, round_up(outs, BLOCK_OUT))
    padded[0, :outs], padded[1, :outs] = step.expand(outs).float(), bias.float()
    return padded[0].clone(), padded[1].clone()


def lowest(layer: Int8Linear) -> float:
    """Least value of the output: the one that stands for 0 after a ReLU."""
    if layer.output_scale is None:
        return 0.0 if layer.relu else -torch.inf
    return float(layer.output_zero_point if layer.relu else 0)

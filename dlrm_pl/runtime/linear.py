"""Linear layers of the served model: plain tensors in, plain tensors out, int8 by oneDNN.

``onednn.qlinear_pointwise`` is what torch's Inductor lowers int8 Linears to. It is not documented, so this file is
the only one that calls it, and ``tests/runtime`` holds it against exact integer arithmetic.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.errors import ShapeError

FloatDtype = Literal["bf16", "fp32"]
INT8_LINEAR_OP = "onednn::qlinear_pointwise"


def quantize_activations(x: Tensor, scale: float, zero_point: int, largest: int) -> Tensor:
    """``clamp(round(x / scale) + zero_point, 0, largest)`` as uint8, in the fewest passes that eager torch allows.

    Rounding is half to even, as torch.ao's; adding the integer ``zero_point`` first does not change it except
    where the sum of floats itself rounds, which is below one step.
    """
    return torch.add(float(zero_point), x, alpha=1.0 / scale).clamp_(0, largest).round_().to(torch.uint8)


class Int8Linear(nn.Module):
    """``y = relu?(W x + b)`` with int8 weights and uint8 activations.

    The input is uint8 already, or float when the layer begins an int8 segment (``quantizes_input``). The output is
    uint8 for the next int8 layer, or float when the segment ends (``output_scale`` is None): dequantizing exactly
    what the accumulator holds is free and keeps a logit from being rounded to one of 256 values.

    Args:
        weight: int8 ``[out, in]``, symmetric (zero point 0).
        weight_scale: float32 ``[out]`` (per channel) or ``[1]`` (per tensor).
        bias: float32 ``[out]``.
        input_scale: size of one step of the input.
        input_zero_point: the uint8 value that stands for 0.
        output_scale: size of one step of the output, or None for float32 output.
        output_zero_point: of the output; 0 when ``output_scale`` is None.
        relu: apply ReLU before the output is quantized.
        quantizes_input: the input arrives as float.
        largest_input: 255, or 127 where the recipe reduces the range for processors that saturate.
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
        largest_input: int = 255,
    ) -> None:
        super().__init__()
        if weight.dtype != torch.int8 or weight.dim() != 2 or bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"An int8 Linear needs int8 weights [out, in] and a bias [out]; got {weight.dtype} "
                f"{list(weight.shape)} and {list(bias.shape)}."
            )
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
        self.largest_input = largest_input
        # Derived: oneDNN's own blocked layout of the same bytes. Not a buffer, since it cannot be stored.
        self._packed = torch.ops.onednn.qlinear_prepack(weight, None)
        self._weight_zero_point = torch.zeros(weight_scale.numel(), dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Float or uint8 ``[B, in]`` -> uint8 or float32 ``[B, out]``."""
        if self.quantizes_input:
            x = quantize_activations(x, self.input_scale, self.input_zero_point, self.largest_input)
        as_float = self.output_scale is None
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            x,
            self.input_scale,
            self.input_zero_point,
            self._packed,
            self.weight_scale,
            self._weight_zero_point,
            self.bias,
            1.0 if self.output_scale is None else self.output_scale,
            self.output_zero_point,
            torch.float32 if as_float else torch.uint8,
            "relu" if self.relu else "none",
            [],
            "",
        )
        return result


class FloatLinear(nn.Module):
    """``y = relu?(W x + b)`` for a layer that the recipe leaves in fp32 or bf16; float32 in and out."""

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
        """Float32 ``[B, in]`` -> float32 ``[B, out]``."""
        result = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return (F.relu(result) if self.relu else result).float()

"""Make an int8 Linear from a float Linear and the observed ranges of its input and output."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlrm_pl.errors import CalibrationError
from dlrm_pl.quantization.recipe import ActivationScheme, WeightGranularity
from dlrm_pl.runtime.linear import Int8Linear

_LEAST_SCALE = torch.finfo(torch.float32).eps


class Range(NamedTuple):
    """Range of the values of an activation, as an observer found it on the calibration rows.

    Attributes:
        low: smallest value to represent.
        high: largest value to represent.
    """

    low: float
    high: float


class ByteGrid(NamedTuple):
    """The 256 values that a uint8 activation can have: ``(byte - zero_point) * scale``.

    Attributes:
        scale: size of one step.
        zero_point: the byte that stands for 0.
    """

    scale: float
    zero_point: int


def byte_grid(observed: Range, scheme: ActivationScheme, place: str) -> ByteGrid:
    """Spread 256 byte values evenly over a range that includes the observed range and 0.

    Args:
        observed: the range.
        scheme: affine: from the smallest to the largest value; symmetric: with 0 in the middle.
        place: name of the activation, for errors.

    Raises:
        CalibrationError: the range is not finite, or is wider than float32 can hold.
    """
    low, high = torch.tensor(observed, dtype=torch.float32)
    if not bool(torch.isfinite(high - low)):
        raise CalibrationError(
            f"{place} has no finite range: the calibration rows gave {observed.low:g} to {observed.high:g}. Check "
            "the model and the dense features for NaN, infinity and values near the limits of float32."
        )
    low, high = low.clamp_max(0.0), high.clamp_min(0.0)
    if scheme == "symmetric":
        scale = (torch.maximum(-low, high) / 127.5).clamp_min(_LEAST_SCALE)
        return ByteGrid(float(scale), 128)
    scale = ((high - low) / 255.0).clamp_min(_LEAST_SCALE)
    return ByteGrid(float(scale), int((-torch.round(low / scale)).clamp(0, 255)))


def quantize_weight(weight: Tensor, granularity: WeightGranularity) -> tuple[Tensor, Tensor]:
    """Round weights to symmetric int8.

    Args:
        weight: float ``[out, in]``.
        granularity: one scale for each output channel, or one for the whole matrix.

    Returns:
        int8 ``[out, in]``, and float32 scales ``[out]`` or ``[1]``.
    """
    weight = weight.detach().float()
    magnitudes = weight.abs().amax(dim=1) if granularity == "per_channel" else weight.abs().amax().reshape(1)
    scale = (magnitudes / 127.5).clamp_min(_LEAST_SCALE)
    # Multiply by the rounded reciprocal, as FBGEMM and oneDNN do: a quotient would round differently in about one of
    # 10^7 cases.
    return (weight * scale.reciprocal()[:, None]).round_().clamp_(-128, 127).to(torch.int8), scale


def quantize_linear(
    linear: nn.Linear,
    input_grid: ByteGrid,
    output_grid: ByteGrid | None,
    granularity: WeightGranularity,
    *,
    relu: bool,
    quantizes_input: bool,
) -> Int8Linear:
    """Make an int8 Linear that is bit-identical to that of ``torch.ao.quantization.convert`` with the same ranges.

    Args:
        linear: the float layer; not changed.
        input_grid: byte grid of its input.
        output_grid: byte grid of its output; None: the output stays float.
        granularity: granularity of its weights' scales.
        relu: whether a ReLU follows, which becomes a part of the layer.
        quantizes_input: whether the input arrives as floats.
    """
    weight, weight_scale = quantize_weight(linear.weight, granularity)
    bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float().clone()
    scale, zero_point = (None, 0) if output_grid is None else output_grid
    return Int8Linear(
        weight,
        weight_scale,
        bias,
        input_scale=input_grid.scale,
        input_zero_point=input_grid.zero_point,
        output_scale=scale,
        output_zero_point=zero_point,
        relu=relu,
        quantizes_input=quantizes_input,
    )

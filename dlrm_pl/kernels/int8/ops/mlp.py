"""Int8 and bf16 Linears, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import check_layer, check_scale, raise_failure
from dlrm_pl.kernels.int8.ops.registration import register
from dlrm_pl.kernels.int8.rows import BF16_DEPTH, BF16_TINY, BLOCK_IN, BLOCK_OUT, MAX_INPUTS, round_up
from dlrm_pl.kernels.int8.selection import kernels


def pack_weight(weight: Tensor) -> Tensor:
    """Rearrange a weight ``[out, in]`` into the kernels' blocks, padded with zeros.

    Returns:
        ``[out / 16, in / 64, 16, 64]`` of int8; or ``[out / 16, in / 32, 16, 32]`` of bfloat16, with ``in`` padded to a
        multiple of 64, and values with a magnitude below ``BF16_TINY`` replaced by 0.
    """
    outs, ins = round_up(weight.shape[0], BLOCK_OUT), round_up(weight.shape[1], BLOCK_IN)
    padded = weight.new_zeros(outs, ins)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    if weight.dtype == torch.bfloat16:
        padded[padded.abs() < BF16_TINY] = 0
    # A line of a block holds 32 bits of inputs, 2 bfloat16 or 4 int8, for each output.
    depth, some = (BF16_DEPTH, 2) if weight.dtype == torch.bfloat16 else (BLOCK_IN, 4)
    blocks = padded.view(outs // BLOCK_OUT, BLOCK_OUT, ins // depth, depth // some, some).permute(0, 2, 3, 1, 4)
    return blocks.reshape(outs // BLOCK_OUT, ins // depth, depth // some, some * BLOCK_OUT)


def quantized_mlp(
    x: Tensor,
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    widths: Sequence[int],
    lowest: Sequence[float],
) -> Tensor:
    """Run a chain of int8 and bf16 Linears, with the same bits on every processor.

    An int8 layer sums ``x * w`` in 32 bits, multiplies by ``multiplier``, adds ``bias`` and clamps the result to at
    least ``lowest``. Before another int8 layer, it also clamps the result to at most 255 and rounds it half to even,
    which gives the next layer's input. A bf16 layer rounds its input floats, sums ``x * w`` in the order that
    ``Bf16Sums`` in ``types.h`` states, adds ``bias``, rounds to bfloat16 and clamps.

    Args:
        x: float32 ``[B, widths[0]]``; or, if the first layer is int8, uint8 ``[B, stride]`` with at least the padded
            inputs.
        input_scales: for each layer, the step of the bytes into which an int8 layer converts floats from ``x`` or from
            a bf16 layer: ``round(x / input_scale + input_zero_point)``, clamped to 0 to 255; not used for other layers.
        input_zero_points: for each layer, the byte that stands for 0 in them.
        weights: weights of each layer as ``pack_weight`` returns them; their dtype says whether the layer is int8 or
            bf16. Weights of padding are 0, and the kernels may skip them.
        multipliers: float32, one for each output of an int8 layer, padded with zeros to a multiple of 16; empty for a
            bf16 layer.
        biases: float32, one for each output, padded in the same way.
        widths: number of inputs that the first layer's weights were packed for, then number of outputs of each layer.
        lowest: lowest value of each layer's output; -inf for no bound.

    Returns:
        float32 ``[B, widths[-1]]``.

    Raises:
        NonFiniteError: a float ``x`` has NaN, infinity, or, if a bf16 layer reads it, a number that is infinite in
            bfloat16; the message names sample and feature. Or an output of a bf16 layer, or a value that one reads, is
            infinite; the message names sample and layer.
        ShapeError: the tensors do not fit together.
    """
    if x.dim() != 2 or x.dtype not in (torch.float32, torch.uint8):
        raise ShapeError(f"An MLP takes float32 or uint8 [B, in], got {x.dtype} {list(x.shape)}.")
    layers = (input_scales, input_zero_points, weights, multipliers, biases, widths[1:], lowest)
    lengths = [len(each) for each in layers]
    if not weights or not widths or len(set(lengths)) > 1:
        raise ShapeError(
            "An MLP needs scales, zero points, weights, multipliers, biases, widths and least values for each of its "
            f"layers, got {lengths} of them."
        )
    inputs, outputs = widths[0], widths[1:]
    types = [weight.dtype for weight in weights]
    if x.dtype == torch.float32:
        if x.shape[1] != inputs:
            raise ShapeError(f"The weights of the MLP were packed for {inputs} inputs, got {list(x.shape)}.")
    elif types[0] != torch.int8:
        raise ShapeError(f"A bf16 Linear takes float32 [B, in], got {x.dtype} {list(x.shape)}.")
    elif x.shape[1] < round_up(inputs, BLOCK_IN):
        raise ShapeError(f"uint8 inputs must be padded to {round_up(inputs, BLOCK_IN)}, got {list(x.shape)}.")
    last = len(weights) - 1
    for index, (weight, multiplier, bias, width) in enumerate(zip(weights, multipliers, biases, outputs, strict=True)):
        if not 1 <= inputs <= MAX_INPUTS or width < 1:
            raise ShapeError(
                f"layer {index}: an int8 or bf16 Linear takes 1 to {MAX_INPUTS} inputs and has at least one output, "
                f"got {inputs} and {width}."
            )
        gives_bytes = index < last and types[index] == types[index + 1] == torch.int8
        if not 0 <= lowest[index] <= 255 and (gives_bytes or math.isnan(lowest[index])):
            raise ShapeError(
                f"layer {index}: the least value of its output must be from 0 to 255, got {lowest[index]}."
            )
        reads_floats = x.dtype == torch.float32 if index == 0 else types[index - 1] != torch.int8
        if types[index] == torch.int8 and reads_floats:
            check_scale(input_scales[index], input_zero_points[index])
        check_layer(f"layer {index}", inputs, width, weight, multiplier, bias)
        inputs = width
    out = torch.empty(x.shape[0], widths[-1])
    raise_failure(kernels().mlp(x.contiguous(), *layers[:5], widths, lowest, out))
    return out


def _fake(
    x: Tensor,
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    widths: Sequence[int],
    lowest: Sequence[float],
) -> Tensor:
    return x.new_empty(x.shape[0], widths[-1], dtype=torch.float32)


QUANTIZED_MLP = register(
    "quantized_mlp(Tensor x, float[] input_scales, int[] input_zero_points, Tensor[] weights, Tensor[] multipliers, "
    "Tensor[] biases, int[] widths, float[] lowest) -> Tensor",
    quantized_mlp,
    _fake,
)

"""Round values to those of the int8 model, with straight-through gradients.

Each function computes in floats, on any device, the numbers that the kernels compute in integers
(``dlrm_pl/kernels/int8``). Rounding has no useful derivative, so gradients pass through it unchanged (Bengio et al.
2013, arXiv:1308.3432). They are 0 only where a value lies outside the range of an activation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrm_pl.quantization.ptq.quantize_linear import ByteGrid, quantize_weight
from dlrm_pl.quantization.recipe import WeightGranularity
from dlrm_pl.runtime.tables import TableDtype

_TINY = 1e-30  # As in the kernels: rows without a larger magnitude become zeros.


class _StraightThrough(torch.autograd.Function):
    """The value of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rounded: Tensor, passes: Tensor | None) -> Tensor:
        ctx.passes = passes
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0]
        return (gradient if ctx.passes is None else gradient * ctx.passes), None, None


def straight_through(value: Tensor, rounded: Tensor, passes: Tensor | None = None) -> Tensor:
    """Return ``rounded`` with its gradient passed to ``value``.

    Args:
        value: the float values.
        rounded: the rounded values, of the same shape and dtype.
        passes: where gradients pass; None: everywhere.
    """
    result: Tensor = _StraightThrough.apply(value, rounded, passes)  # type: ignore[no-untyped-call]
    return result


def round_activation(x: Tensor, grid: ByteGrid) -> Tensor:
    """Round an activation to the 256 values of its grid; beyond the grid, gradients are 0."""
    with torch.no_grad():
        # Multiply by the rounded reciprocal, then clamp and round, in the same order as the kernels.
        steps = x * torch.tensor(1.0 / grid.scale, dtype=x.dtype) + float(grid.zero_point)
        passes = (steps >= -0.5) & (steps <= 255.5)
        rounded = (steps.clamp_(0.0, 255.0).round_() - grid.zero_point) * grid.scale
    return straight_through(x, rounded, passes)


def round_weight(weight: Tensor, granularity: WeightGranularity) -> Tensor:
    """Round the weights ``[out, in]`` of an int8 Linear."""
    with torch.no_grad():
        integers, scale = quantize_weight(weight, granularity)
        rounded = integers.to(weight.dtype) * scale.to(weight.dtype)[:, None]
    return straight_through(weight, rounded)


def round_vectors(x: Tensor) -> Tensor:
    """Round each vector ``[..., D]`` to int8 with its own scale, as in rows of int8 tables and int8 dot products."""
    with torch.no_grad():
        largest = x.abs().amax(dim=-1, keepdim=True)
        steps = torch.full_like(largest, 127.0)
        some = largest > _TINY
        rounded = (x * torch.where(some, steps / largest, 0.0)).round_() * torch.where(some, largest / steps, 0.0)
    return straight_through(x, rounded)


def round_rows(rows: Tensor, dtype: TableDtype) -> Tensor:
    """Round looked-up rows ``[..., D]`` of a float table to the values that the packed table gives."""
    if dtype == "fp32":
        return rows
    if dtype == "int8":
        return round_vectors(rows)
    with torch.no_grad():
        rounded = rows.half().to(rows.dtype) if dtype == "fp16" else _int4(rows)
    return straight_through(rows, rounded)


def _int4(rows: Tensor) -> Tensor:
    """Values of rows packed in four bits with a bfloat16 scale, rounded up, and a zero point."""
    low = rows.amin(dim=-1, keepdim=True).clamp_max_(0.0)
    high = rows.amax(dim=-1, keepdim=True).clamp_min_(0.0)
    bits = ((high - low) / torch.full_like(high, 15.0)).float().view(torch.int32)
    scale = ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32).to(rows.dtype)
    some = scale > _TINY
    inverse = torch.where(some, scale.reciprocal(), 0.0)
    zero = (-low * inverse).clamp_(0.0, 15.0).round_()
    nibbles = ((rows * inverse).round_() + zero).clamp_(0.0, 15.0)
    return (nibbles - zero) * torch.where(some, scale, 0.0)

"""Clip gradients if some are sparse; torch and Lightning only clip dense ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float, by: Literal["norm", "value"]) -> None:
    """Clip gradients as ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_`` would if all were dense.

    Args:
        parameters: parameters to clip; those without a gradient are skipped.
        limit: largest norm over all gradients together, or largest magnitude of each value.
        by: whether ``limit`` bounds the norm or each value.
    """
    values = [_values(parameter) for parameter in parameters if parameter.grad is not None]
    if by == "norm":
        total = torch.nn.utils.get_total_norm(values)
        factor = torch.clamp(limit / (total + 1e-6), max=1.0)
        for part in values:
            part.mul_(factor)
    else:
        for part in values:
            part.clamp_(-limit, limit)


def _values(parameter: nn.Parameter) -> Tensor:
    """Return a dense gradient itself, or the values of a sparse one after adding up entries of the same row."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()

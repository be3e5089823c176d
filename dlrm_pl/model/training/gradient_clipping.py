"""Clip gradients of which some are sparse; torch and Lightning clip dense ones only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float, by: Literal["norm", "value"]) -> None:
    """Clip as ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_`` do, as if all gradients were dense.

    Args:
        parameters: those without a gradient are left out.
        limit: of the norm over all gradients together, or of each value.
        by: which of the two.
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
    """The gradient itself; of a sparse one the values, with those of a row added up before they are measured."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()

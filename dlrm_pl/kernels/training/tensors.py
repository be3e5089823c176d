"""Check tensors whose addresses are passed to native code."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError


def check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Refuse a tensor with another dtype or shape, with gaps, or outside CPU memory.

    Raises:
        ShapeError: the tensor is refused; the message names it.
    """
    if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ShapeError(
            f"{name} must be contiguous {dtype} {list(shape)} on the CPU, got {tensor.dtype} {list(tensor.shape)} on "
            f"{tensor.device}{'' if tensor.is_contiguous() else ', with gaps'}."
        )

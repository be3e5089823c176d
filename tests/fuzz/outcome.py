"""Outcomes of calls, for comparing two implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlrm_pl.errors import DLRMError

Rng = np.random.Generator

HUGE = (-1, -(2**31), -(2**63), 2**31, 2**32, 2**40, 2**62, 2**63 - 1)
"""Invalid values of an index, an offset or a size."""


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call as plain bytes, or the kind and message of its error."""
    try:
        return plain(call())
    except DLRMError as error:
        return type(error).__name__, str(error)


def plain(value: Any) -> Any:
    """Return arrays as bytes with type and shape, and all NaNs as the same bits."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            value = np.where(np.isnan(value), np.array(np.nan, value.dtype), value)
        return value.dtype.str, value.shape, value.tobytes()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def vague(result: Any) -> Any:
    """Replace an error by a constant, because the message may name any one of several faults."""
    return "an error" if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str) else result

"""What a call ended in, so that two implementations can be held against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlrm_pl.errors import DLRMError

Rng = np.random.Generator

HUGE = (-1, -(2**31), -(2**63), 2**31, 2**32, 2**40, 2**62, 2**63 - 1)
"""Numbers that an index, an offset or a size may be by mistake."""


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns as plain bytes, or its error: the kind and the message."""
    try:
        return plain(call())
    except DLRMError as error:
        return type(error).__name__, str(error)


def plain(value: Any) -> Any:
    """Bytes and shapes; a NaN is a NaN, whatever its bits."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            value = np.where(np.isnan(value), np.array(np.nan, value.dtype), value)
        return value.dtype.str, value.shape, value.tobytes()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def vague(found: Any) -> Any:
    """Of an error only that it is one: which of several is named may differ."""
    return "an error" if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], str) else found

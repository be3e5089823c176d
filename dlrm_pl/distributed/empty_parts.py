"""FBGEMM lookups for processes that have no rows of a row-wise sharded table."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def keep_apart(lookups: Iterable[nn.Module]) -> None:
    """Make FBGEMM treat parts without rows as separate tables.

    On CPUs it tells tables apart by the number of rows before each. One without rows it takes for another feature of
    the next table, which row-wise Adagrad then updates by another loop: slower, and with the squares of a gradient
    added up in another order. Behind the last table it even reads a size from memory that is not its own. A part that
    counts as one row is a table that is never looked up; weights and their places do not follow these numbers.

    Args:
        lookups: modules that have FBGEMM's tables, on CPUs, somewhere inside.
    """
    for lookup in lookups:
        for module in lookup.modules():
            starts = getattr(module, "hash_size_cumsum", None)
            if starts is not None and starts.device.type == "cpu":
                starts[1:] = torch.cumsum(starts.diff().clamp(min=1), 0)

"""FBGEMM lookups for processes that have no rows of a row-wise sharded table."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def keep_apart(lookups: Iterable[nn.Module]) -> None:
    """Make FBGEMM treat parts without rows as separate tables.

    On CPUs, FBGEMM tells tables apart by the number of rows before each. It takes a table without rows for another
    feature of the next table, which row-wise Adagrad then updates with another loop: slower, and adding up the squares
    of a gradient in another order. After the last table, it even reads a size from memory beyond its array. If an empty
    part counts as one row, it is a table that is never looked up. Weights and their positions do not depend on these
    counts.

    Args:
        lookups: modules that contain FBGEMM's tables, on CPUs, at any depth.
    """
    for lookup in lookups:
        for module in lookup.modules():
            starts = getattr(module, "hash_size_cumsum", None)
            if starts is not None and starts.device.type == "cpu":
                starts[1:] = torch.cumsum(starts.diff().clamp(min=1), 0)

"""Hyperparameters as plain values, and the architecture that follows from them and the columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dlrm_pl.columns.column import Pooling
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import plain_number


def with_inputs(bottom_mlp: Sequence[int], columns: Columns | None) -> tuple[int, ...]:
    """Return the widths of the bottom MLP, with a leading 0 replaced by the number of dense columns."""
    first, *others = bottom_mlp or (1,)
    return (first or (columns or Columns.criteo()).num_dense, *others) if bottom_mlp else ()


def pooling_of(columns: Columns | None, num_tables: int) -> tuple[Pooling, ...]:
    """Return the pooling of each table; empty if the columns do not match the tables, which is refused later."""
    if columns is None or columns.num_sparse != num_tables:
        return ()
    return tuple(column.pooling for column in columns.sparse)


def plain_list(values: Any) -> Any:
    """Return an array, tensor or sequence as a list of Python numbers, and other values unchanged, to be refused."""
    if isinstance(values, np.ndarray | Tensor):
        values = values.tolist()
    return [plain_number(value) for value in values] if isinstance(values, list | tuple) else values

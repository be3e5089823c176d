"""Days in TorchRec's format: the bags of MLPerf's synthetic data, and which rows make which split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def lookup_tables(sizes: Sequence[int], bags: Sequence[int], distribution: str) -> list[Any]:
    """Whole tables ``[rows, ids of a bag]``, one after the other from the stream of seed 0."""
    np.random.seed(0)
    tables = []
    for rows, bag in zip(sizes, bags, strict=True):
        own = np.arange(rows)[:, np.newaxis]
        if distribution == "uniform":
            drawn = np.random.randint(0, rows, size=(rows, bag - 1))
        else:
            with np.errstate(invalid="ignore"):
                drawn = np.random.pareto(a=0.25, size=(rows, bag - 1)).astype(np.int32) % rows
        tables.append(np.concatenate((own, drawn), axis=-1).astype(np.int32))
    return tables


def bags_of_day(ids: Any, sizes: Sequence[int], tables: Sequence[Any]) -> list[Any]:
    """Of each table the bags of a day's rows, which have single ids."""
    return [tables[table][ids[:, table] % rows] for table, rows in enumerate(sizes)]


def split_of(rows: Sequence[int], split: str) -> list[tuple[int, int]]:
    """Day and row of each row of a split."""
    last = len(rows) - 1
    if split == "train":
        return [(day, row) for day in range(last) for row in range(rows[day])]
    half = rows[last] // 2 + rows[last] % 2
    return [(last, row) for row in (range(half) if split == "val" else range(half, rows[last]))]

"""Days in TorchRec's format: the bags of MLPerf's synthetic data, and how rows are assigned to splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def lookup_tables(sizes: Sequence[int], bags: Sequence[int], distribution: str) -> list[Any]:
    """Return whole tables ``[rows, ids of a bag]``, drawn one after the other from the stream of seed 0."""
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
    """Return, for each table, the bags of a day's rows, which have single ids."""
    return [tables[table][ids[:, table] % rows] for table, rows in enumerate(sizes)]


def split_of(rows: Sequence[int], split: str) -> list[tuple[int, int]]:
    """Return the day and row of each row of a split."""
    last = len(rows) - 1
    if split == "train":
        return [(day, row) for day in range(last) for row in range(rows[day])]
    half = rows[last] // 2 + rows[last] % 2
    return [(last, row) for row in (range(half) if split == "val" else range(half, rows[last]))]


def preprocessed(days: Sequence[Sequence[str]], num_dense: int, threshold: int = 0) -> list[dict[str, Any]]:
    """Return dense values, labels and ids of days' lines: the first two of TorchRec's scripts."""
    parsed, found = [[line.split("\t") for line in lines] for lines in days], []
    for rows in parsed:
        numbers = np.array([[int(field or "0") for field in row[1 : 1 + num_dense]] for row in rows], np.int32)
        found.append(
            {
                "dense": np.log(numbers - (numbers.min() - 2), dtype=np.float32),
                "labels": np.array([[int(row[0] or "0")] for row in rows], np.int32),
                "sparse": np.zeros((len(rows), len(rows[0]) - 1 - num_dense), np.int64),
            }
        )
    for column in range(found[0]["sparse"].shape[1]):
        values = [[int(row[1 + num_dense + column] or "0", 16) for row in rows] for rows in parsed]
        counts: dict[int, int] = {}
        for value in (value for day in values for value in day):
            counts[value] = counts.get(value, 0) + 1
        ids: dict[int, int] = {}
        frequent = 0
        for day, day_values in enumerate(values):
            for row, value in enumerate(day_values):
                if value not in ids:
                    rare = threshold > 1 and counts[value] < threshold
                    ids[value] = 1 if rare else 2 + frequent
                    frequent += not rare
                found[day]["sparse"][row, column] = ids[value]
    return found


def shuffled(days: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return them with the rows of all days but the last shuffled: the third script."""
    ends = np.cumsum([len(day["labels"]) for day in days[:-1]])
    # All columns are one float32 array, so large ids are rounded.
    parts = [np.concatenate([day[part] for day in days[:-1]]) for part in ("dense", "sparse", "labels")]
    whole = np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
    np.random.seed(seed)
    np.random.shuffle(whole)
    width = days[0]["dense"].shape[1]
    return [
        {
            "dense": rows[:, :width],
            "sparse": rows[:, width:-1].astype(np.int32),
            "labels": rows[:, -1:].astype(np.int32),
        }
        for rows in np.split(whole, ends[:-1])
    ] + [days[-1]]

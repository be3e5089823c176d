"""Folders of days in TorchRec's format, written with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (7, 50, 3, 11)
BAGS = (3, 1, 2, 20)
ROWS = (30, 41, 27)


@dataclass(frozen=True)
class DaysWritten:
    """The contents of a folder's files, for each day.

    Attributes:
        dense: float32 ``[n, N]``.
        labels: int32 ``[n, 1]``.
        ids: single ids ``[n, T]``; empty if there are bags.
        bags: int32 ``[n, width]`` for each table; empty if there are single ids.
    """

    dense: list[Any]
    labels: list[Any]
    ids: list[Any]
    bags: list[list[Any]]


def write_days(
    folder: Path,
    rows: Sequence[int] = ROWS,
    *,
    bags: Sequence[int] | None = None,
    sizes: Sequence[int] = SIZES,
    num_dense: int = 3,
    seed: int = 0,
) -> DaysWritten:
    """Write days with single ids, which exceed the table sizes, or with bags, which do not."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, written = np.random.default_rng(seed), DaysWritten([], [], [], [])
    for day, count in enumerate(rows):
        written.dense.append(rng.standard_normal((count, num_dense)).astype(np.float32))
        written.labels.append(rng.integers(0, 2, (count, 1)).astype(np.int32))
        np.save(folder / f"day_{day}_dense.npy", written.dense[-1])
        np.save(folder / f"day_{day}_labels.npy", written.labels[-1])
        if bags is None:
            # TorchRec's scripts write the last day as int64.
            kind = np.int64 if day == len(rows) - 1 else np.int32
            written.ids.append(rng.integers(0, 10 * max(sizes), (count, len(sizes))).astype(kind))
            np.save(folder / f"day_{day}_sparse.npy", written.ids[-1])
        else:
            pairs = zip(sizes, bags, strict=True)
            written.bags.append([rng.integers(0, size, (count, bag)).astype(np.int32) for size, bag in pairs])
            named = {str(table): values for table, values in enumerate(written.bags[-1])}
            np.savez(folder / f"day_{day}_sparse_multi_hot.npz", **named)  # type: ignore[arg-type]
    return written

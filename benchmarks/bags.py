"""Measure how fast batches of MLPerf's multi-hot data are made, from bags drawn for single ids and from stored bags.

First writes days of random rows with the columns of Criteo's logs: tables have MLPerf's sizes, capped at --cap (lookup
tables take 0.58 GB for each million; 23 GB without a cap), and bags have MLPerf's sizes, 214 ids in each row. Then one
thread makes batches one after the other from files in memory. Speeds are rows per second of processor time, which other
programs on the machine change less than time on the clock. With --reference, what torchrec_dlrm does instead takes
turns with this: one embedding call of torch for each table (`Multihot`).

    python benchmarks/bags.py --folder /tmp/bags --cap 10000000
    python benchmarks/bags.py --folder /tmp/bags --cap 10000000 --reference
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from machine import machine

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.loading.dataset import ClickDataset

SETTINGS = yaml.safe_load((Path(__file__).parents[1] / "configs" / "data" / "mlperf_v2.yaml").read_text())
NUM_DENSE = 13


def write_days(folder: Path, sizes: list[int], rows: int, *, bags: list[int] | None) -> None:
    """Write a day to train on and one to score."""
    folder.mkdir(parents=True, exist_ok=True)
    for day, count in enumerate((rows, 100)):
        rng = np.random.default_rng(day)
        np.save(folder / f"day_{day}_dense.npy", rng.random((count, NUM_DENSE), np.float32))
        np.save(folder / f"day_{day}_labels.npy", rng.integers(0, 2, (count, 1), np.int32))
        if bags is None:
            ids = np.stack([rng.integers(0, size, count, np.int32) for size in sizes], axis=1)
            np.save(folder / f"day_{day}_sparse.npy", ids)
        else:
            named = {
                str(table): rng.integers(0, size, (count, bag), np.int32)
                for table, (size, bag) in enumerate(zip(sizes, bags, strict=True))
            }
            np.savez(folder / f"day_{day}_sparse_multi_hot.npz", **named)


def reading(rows: ClickDataset, size: int, order: str) -> Callable[[int], None]:
    """Return a function that reads a number of batches from a stream, which a thread makes."""

    def read(count: int) -> None:
        rng = np.random.default_rng(3)
        starts = rng.integers(0, len(rows) - size, count).tolist()
        selections: Any = (slice(start, start + size) for start in starts)
        if order == "row":
            selections = (rng.integers(0, len(rows), size) for _ in range(count))
        for _ in rows.stream(selections):
            pass

    return read


def referring(folder: Path, sizes: list[int], bags: list[int], size: int) -> Callable[[int], None]:
    """Return what makes bags as torchrec_dlrm does: torch looks up tables with the id itself in front."""
    ids = np.load(folder / "day_0_sparse.npy", mmap_mode="r")
    tables = []
    for table, (rows, bag) in enumerate(zip(sizes, bags, strict=True)):
        own = np.arange(rows, dtype=np.int32)[:, None]
        drawn = (
            np.load(folder / "multi_hot_tables" / f"table_{table}.npy") if bag > 1 else np.empty((rows, 0), np.int32)
        )
        tables.append(torch.from_numpy(np.concatenate([own, drawn], axis=1)))
    rng = np.random.default_rng(3)

    def make(count: int) -> None:
        for _ in range(count):
            first = int(rng.integers(0, len(ids) - size))
            batch = torch.from_numpy(np.ascontiguousarray(ids[first : first + size].T))
            values = [
                torch.nn.functional.embedding(one, table).reshape(-1) for one, table in zip(batch, tables, strict=True)
            ]
            torch.cat(values)

    return make


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the days are written, and kept")
    parser.add_argument("--cap", type=int, default=1_000_000, help="largest number of rows of a table")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the day")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 16384], help="rows of a batch")
    parser.add_argument("--repeats", type=int, default=9, help="turns")
    parser.add_argument("--reference", action="store_true", help="measure torch's lookups as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes, bags = [min(size, options.cap) for size in SETTINGS["table_sizes"]], SETTINGS["multi_hot_sizes"]
    single, stored = options.folder / f"single-{options.cap}", options.folder / f"stored-{options.cap}"
    if not single.exists():
        write_days(single, sizes, options.rows, bags=None)
        write_days(stored, sizes, min(options.rows, 1_000_000), bags=bags)
    began = time.perf_counter()
    stated = StatedTables(tuple(sizes), tuple(bags), draws=True)
    drawn = ClickDataset.of_split(DatasetFolder.open(single, stated=stated), "train")
    opened_s = time.perf_counter() - began
    of_files = ClickDataset.of_split(DatasetFolder.open(stored, stated=stated), "train")
    results: dict[str, Any] = {}
    for size in options.sizes:
        ways = {
            "drawn": reading(drawn, size, "none"),
            "drawn, rows in random order": reading(drawn, size, "row"),
            "stored": reading(of_files, size, "none"),
        }
        if options.reference:
            ways["torch's lookups"] = referring(single, sizes, bags, size)
        count = max(4, 400_000 // size)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.repeats + 1):
            for name, way in ways.items():
                began = time.process_time()
                way(count)
                if turn:
                    times[name].append((time.process_time() - began) / count)
        results[str(size)] = {name: round(size / statistics.median(taken)) for name, taken in times.items()}
        for name, speed in results[str(size)].items():
            print(f"{size:>6,} rows  {speed:>12,} rows/s  {name}", flush=True)
    print(json.dumps({"cap": options.cap, "opened_s": opened_s, "rows_per_s": results, "machine": machine()}))


if __name__ == "__main__":
    main()

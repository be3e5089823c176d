"""Measure how long a checkpoint blocks training, and its memory: with torch.save, while training waits, and meanwhile.

Tables in memory are changed row by row at random, as the lookups of batches do, while a checkpoint of them is saved. As
in click logs, few categories are frequent (half of the lookups are in a sixteenth of the rows); with --uniform all are
equally frequent, which is the worst case for a snapshot: each lookup copies a page. In each round the contenders take
turns: torch.save, as Lightning does without this package; a checkpoint that training waits for; and one by a second
process. Memory is the drop in the machine's available memory while the checkpoint is written; file contents that the
system caches do not count.

    python benchmarks/checkpoints.py
    python benchmarks/checkpoints.py --gb 4 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine
from scratch import scratch_folder
from torch import Tensor

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.files.atomic import atomic_file

DIM = 128
TABLES = 26
BATCH = 2048


def large_pages(rows: int) -> Tensor:
    """Return a table on pages of 2 MiB, as tables trained by native code are."""
    page, size = 2 << 20, rows * DIM * 4
    memory = mmap.mmap(-1, size + page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    first = -whole.data_ptr() % page
    return whole[first : first + size].view(torch.float32).view(rows, DIM)


def available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    raise AssertionError


class Steps:
    """Changes the rows that batches look up, one batch at a time."""

    def __init__(self, tables: list[Tensor], power: float) -> None:
        self.tables, self.power = tables, power
        self.random = torch.Generator().manual_seed(0)
        self.change = torch.full((1, DIM), 1e-3).expand(BATCH, DIM)

    def take(self) -> float:
        """Change the rows of a batch; return the seconds."""
        started = time.perf_counter()
        for table in self.tables:
            places = torch.rand(BATCH, generator=self.random, dtype=torch.float64) ** self.power
            table.index_add_(0, (places * len(table)).long(), self.change)
        return time.perf_counter() - started


class Memory:
    """The least memory that was available in a block."""

    def __enter__(self) -> Memory:
        self.before = self.least = available()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.ended.wait(0.02):
            self.least = min(self.least, available())

    def __exit__(self, *_: Any) -> None:
        self.ended.set()
        self.thread.join()
        self.taken = max(0, self.before - self.least)


def by_torch(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_file(path, "wb") as handle:
        torch.save(checkpoint, handle)


def measure(save: Callable[[], None], poll: Callable[[], bool], steps: Steps) -> dict[str, float]:
    """Save a checkpoint between two steps, and train on until it is complete."""
    usual = statistics.median(steps.take() for _ in range(10))
    with Memory() as memory:
        started = time.perf_counter()
        save()
        blocked = time.perf_counter() - started
        meanwhile = []
        while poll():
            meanwhile.append(steps.take())
        total = time.perf_counter() - started
    afterwards = statistics.median(steps.take() for _ in range(10))
    return {
        "blocked_s": blocked,
        "longest_step_s": max(meanwhile, default=0.0),
        "total_s": total,
        "steps_meanwhile": len(meanwhile),
        "lost_s": total - len(meanwhile) * usual,
        "memory_bytes": memory.taken,
        "step_afterwards": afterwards / usual,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=4.0, help="size of the tables in units of 10^9 bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="folder on the disk to be measured")
    parser.add_argument("--uniform", action="store_true", help="look up all rows equally often")
    parser.add_argument("--no-torch", action="store_true", help="leave out torch.save")
    options = parser.parse_args()
    rows = int(options.gb * 1e9 / TABLES / DIM / 4)
    tables = [large_pages(rows).uniform_(-0.1, 0.1) for _ in range(TABLES)]
    checkpoint = {"state_dict": {f"tables.{number}": table for number, table in enumerate(tables)}, "step": 0}
    steps = Steps(tables, 1 if options.uniform else 4)
    found: dict[str, list[dict[str, float]]] = {}
    with scratch_folder(options.folder) as folder:
        path = Path(folder) / "a.ckpt"
        at_once, meanwhile = AtomicCheckpointIO(), AtomicCheckpointIO(asynchronous=True)

        def pending() -> bool:
            meanwhile.poll()
            return meanwhile.pending is not None

        def restored() -> None:
            while meanwhile._pages is not None:
                meanwhile.poll()

        def never() -> bool:
            return False

        contenders: dict[str, tuple[Callable[[], None], Callable[[], bool]]] = {
            "torch.save": (lambda: by_torch(checkpoint, path), never),
            "at once": (lambda: at_once.save_checkpoint(checkpoint, path), never),
            "meanwhile": (lambda: meanwhile.save_checkpoint(checkpoint, path), pending),
        }
        if options.no_torch:
            contenders.pop("torch.save")
        for number in range(options.rounds):
            for name, (save, poll) in contenders.items():
                checkpoint["step"] = number
                found.setdefault(name, []).append(measure(save, poll, steps))
                path.unlink(missing_ok=True)
                restored()
    medians = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in found.items()
    }
    for name, values in medians.items():
        print(f"{name:<11}" + ", ".join(f"{key} {value:,.3f}" for key, value in values.items()))
    result = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "gb": options.gb,
        "uniform": options.uniform,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result | {"medians": medians}))


if __name__ == "__main__":
    main()

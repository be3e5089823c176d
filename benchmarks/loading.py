"""Measure how fast a loader without workers reads batches of a dataset folder; also against another checkout.

The file is already in memory. Nothing is computed between two batches, so a thread that reads ahead only helps if there
is a second core. With --against, processes of both checkouts take turns, and the ratio within each turn counts.

    python benchmarks/loading.py --data datasets/quickstart
    python benchmarks/loading.py --data datasets/quickstart --shuffle row
    python benchmarks/loading.py --data datasets/quickstart --against ../dlrm_pl-before --repeats 21
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

_CHILD = """
import itertools, sys, time
import torch
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.resumable_loader import ClickLoader
from dlrm_pl.data.loading.sampling import EpochSampler
torch.set_num_threads(1)
rows = ClickDataset.of_split(DatasetFolder.open(sys.argv[1]), "train")
for line in sys.stdin:
    size = min(int(line), len(rows))
    count = max(1, min(len(rows), 100_000) // size)
    loader = ClickLoader(rows, EpochSampler(len(rows), size, sys.argv[2]))
    began = time.perf_counter()
    for batch in itertools.islice(loader, count):
        pass
    print((time.perf_counter() - began) / count, flush=True)
"""


class Loader:
    """A process that reads batches with the code of a checkout."""

    def __init__(self, checkout: Path, data: Path, shuffle: str) -> None:
        command = [sys.executable, "-c", _CHILD, str(data.resolve()), shuffle]
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
        self._process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def batch_s(self, size: int) -> float:
        """Return the mean time of a batch."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(size, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(loaders: list[Loader], size: int, repeats: int) -> dict[str, float]:
    """Return medians over turns; the checkout that goes first alternates."""
    times: list[list[float]] = [[] for _ in loaders]
    for turn in range(repeats + 1):
        for index in range(len(loaders)) if turn % 2 else reversed(range(len(loaders))):
            seconds = loaders[index].batch_s(size)
            if turn:  # The first turn reads the file into memory.
                times[index].append(seconds)
    found = {"batch_us": statistics.median(times[0]) * 1e6, "rows_per_s": size / statistics.median(times[0])}
    if len(loaders) > 1:
        found["times_as_fast"] = statistics.median(other / ours for ours, other in zip(times[0], times[1], strict=True))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--against", type=Path, help="another checkout of this repository, which can read the dataset")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 256, 2048, 16384], help="rows of a batch")
    parser.add_argument("--shuffle", choices=("none", "batch", "row"), default="batch", help="order of the rows")
    parser.add_argument("--repeats", type=int, default=11, help="turns")
    options = parser.parse_args()
    checkouts = [Path(__file__).parents[1], *([options.against] if options.against else [])]
    loaders = [Loader(checkout, options.data, options.shuffle) for checkout in checkouts]
    results = {}
    for size in options.sizes:
        results[str(size)] = found = measure(loaders, size, options.repeats)
        print(f"{size:>6,} rows  " + "  ".join(f"{name} {value:,.2f}" for name, value in found.items()), flush=True)
    for loader in loaders:
        loader.stop()
    print(json.dumps({"data": str(options.data), "shuffle": options.shuffle, "batches": results, "machine": machine()}))


if __name__ == "__main__":
    main()

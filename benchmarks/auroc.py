"""Compare the time and extra memory of our exact AUROC and of torchmetrics' on the same scores, in turn.

python benchmarks/auroc.py --rows 10000000 --repeats 3
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torchmetrics.functional.classification import binary_auroc

from dlrm_pl.metrics.ranking import exact_auroc

# A process's peak memory covers its whole life, so each method is measured in a process of its own.
_METHODS = {
    "ours": lambda scores, labels: exact_auroc(scores, labels),
    "torchmetrics": lambda scores, labels: float(binary_auroc(torch.from_numpy(scores), torch.from_numpy(labels))),
}


def clicks(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Make float32 scores and int8 labels with 3.3 % clicks and an AUROC near 0.8."""
    rng = np.random.default_rng(0)
    scores, labels = np.empty(rows, np.float32), np.empty(rows, np.int8)
    for start in range(0, rows, 1_000_000):  # In pieces, so that making them is not the peak of memory.
        part = slice(start, min(start + 1_000_000, rows))
        size = part.stop - part.start
        labels[part] = rng.random(size, dtype=np.float32) < 0.033
        logits = rng.standard_normal(size, dtype=np.float32) + 1.2 * labels[part]
        scores[part] = 1 / (1 + np.exp(3.5 - logits))
    return scores, labels


def peak_extra_mib(method: str, rows: int) -> float:
    """Return the peak memory of a fresh process above its memory before the call."""
    command = [sys.executable, __file__, "--rows", str(rows), "--peak-of", method]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def peak_kib() -> int:
    """Return the peak resident memory of this process."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak-of", choices=list(_METHODS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores, labels = clicks(options.rows)
    if options.peak_of:
        # Subtract the peak so far: a child process begins with the peak of its parent.
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_kib()
        _METHODS[options.peak_of](scores, labels)
        print((peak_kib() - before) / 1024)
        return
    seconds: dict[str, list[float]] = {name: [] for name in _METHODS}
    values = {}
    for _ in range(options.repeats):
        for name, method in _METHODS.items():
            began = time.perf_counter()
            values[name] = method(scores, labels)
            seconds[name].append(time.perf_counter() - began)
    result = {
        "rows": options.rows,
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "spread": {name: [round(min(times), 3), round(max(times), 3)] for name, times in seconds.items()},
        "ratio": round(
            statistics.median(b / a for a, b in zip(seconds["ours"], seconds["torchmetrics"], strict=True)), 1
        ),
        "peak_extra_mib": {name: round(peak_extra_mib(name, options.rows)) for name in _METHODS},
        "auroc": values,
        "machine": machine(),
    }
    for name in _METHODS:
        print(f"{name:<14}{result['seconds'][name]} s, {result['peak_extra_mib'][name]} MiB more")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

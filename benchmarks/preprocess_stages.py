"""Time the stages and calls of ``preprocess``, and the gain of two threads on this machine.

    python benchmarks/preprocess_stages.py --raw logs/day --workers 1 2 --repeats 5

Every run is a process of its own. Stages are wall time from its start, and calls are sums over all threads; both are
medians of runs in turn. The gain of two threads is measured with copies of 64 MiB, which memory limits, and with
checksums of 64 KiB, which stay in the cache. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.cli.main import main as cli
from dlrm_pl.data.preprocessing import bucket_merge, log_run, merge
from dlrm_pl.data.preprocessing.engine.native import NativeEngine
from dlrm_pl.data.preprocessing.engine.native_tables import NativeTablePipeline
from dlrm_pl.data.preprocessing.scatter import stage, text
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage

_MIB = 1 << 20
# Stages of a run in order; each ends where the next begins.
STAGES = ("start", "reading and numbering", "writing", "end")
CALLS: dict[str, tuple[Any, str]] = {
    "reading the text": (text.ChunkReader, "load"),
    "parsing": (NativeEngine, "parse"),
    "numbering": (NativeTablePipeline, "number"),
    "scattering": (NativeEngine, "scatter"),
    "writing buckets": (NativeEngine, "append"),
    "sorting buckets": (NativeEngine, "order"),
    "collecting records": (NativeEngine, "take"),
    "checksum of train": (bucket_merge, "part_at"),
    "vocabulary": (VocabularyStage, "save"),
    "halves of the last day": (merge.Merge, "half"),
    "report": (log_run.LogRun, "_report"),
}


def timed(began: float, arguments: list[str]) -> dict[str, dict[str, float]]:
    """Run the command in this process; ``began`` is when the process was started."""
    marks, calls, lock = {"begin": began}, defaultdict(float), threading.Lock()

    def around(owner: Any, name: str, note: Callable[[float, float], None]) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.time()
            try:
                return real(*args, **kwargs)
            finally:
                note(start, time.time())

        setattr(owner, name, staticmethod(call) if name == "load" else call)

    for label, (owner, name) in CALLS.items():

        def add(start: float, end: float, label: str = label) -> None:
            with lock:
                calls[label] += end - start

        around(owner, name, add)
    around(stage.Scatter, "run", lambda start, end: marks.update(scatter=start))
    around(merge.Merge, "train", lambda start, end: marks.update(merge=start, end=end))
    if cli(["preprocess", *arguments]):
        sys.exit(1)
    points = [began, marks["scatter"], marks["merge"], marks["end"], time.time()]
    stages = {stage: stop - start for stage, start, stop in zip(STAGES, points, points[1:], strict=False)}
    return {"stages": stages, "calls": dict(calls)}


def medians_of(runs: Sequence[Mapping[str, Mapping[str, float]]], kind: str) -> dict[str, float]:
    """Return the median seconds by name."""
    return {name: round(statistics.median(run[kind][name] for run in runs), 3) for name in runs[0][kind]}


def gain_of_two(work: Callable[[], None]) -> float:
    """Return how many times as much two threads do as one in the same time; the median of five."""

    def seconds(count: int) -> float:
        threads = [threading.Thread(target=work) for _ in range(count)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    return statistics.median(2 * seconds(1) / seconds(2) for _ in range(5))


def copy_much() -> None:
    """Copy memory that is larger than the processor's caches."""
    source, target = np.ones(64 * _MIB, np.uint8), np.zeros(64 * _MIB, np.uint8)
    for _ in range(40):
        np.copyto(target, source)


def hash_little() -> None:
    """Compute checksums of memory that fits into the nearest caches."""
    block = bytes(64 << 10)
    for _ in range(6000):
        sha256(block).digest()


def main() -> None:
    """Run the measurements and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="prefix of the day files")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(timed(float(args.child[0]), args.child[1:])))
        return
    found: dict[int, list[dict[str, dict[str, float]]]] = {workers: [] for workers in args.workers}
    with tempfile.TemporaryDirectory(dir=args.raw.parent) as folder:
        for number in range(args.repeats):
            for workers in args.workers:
                output = Path(folder) / f"{number}-{workers}"
                options = ["--raw", str(args.raw), "--output", str(output), "--threads", str(workers)]
                command_line = [sys.executable, __file__, "--raw", str(args.raw), "--child", str(time.time()), *options]
                done = subprocess.run(command_line, check=True, stdout=subprocess.PIPE, text=True)
                found[workers].append(json.loads(done.stdout.splitlines()[-1]))
                subprocess.run(["rm", "-r", str(output)], check=True)
    medians = {workers: {kind: medians_of(runs, kind) for kind in runs[0]} for workers, runs in found.items()}
    for kind in ("stages", "calls"):
        print(f"\n{kind}, s".ljust(28) + "".join(f"{workers} workers".rjust(12) for workers in args.workers))
        for name in medians[args.workers[0]][kind]:
            print(f"{name:<27}" + "".join(f"{medians[workers][kind][name]:12.3f}" for workers in args.workers))
    from machine import machine  # Not in the children: it loads torch.

    gains = {"copies": round(gain_of_two(copy_much), 2), "checksums": round(gain_of_two(hash_little), 2)}
    print(f"\ntwo threads beside one: copies of 64 MiB {gains['copies']} times, checksums {gains['checksums']} times")
    print(json.dumps({**{str(w): found for w, found in medians.items()}, "two_threads": gains, "machine": machine()}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()

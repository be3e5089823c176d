"""Measure what ``preprocess --cluster local`` takes beyond ``preprocess`` on the same machine.

python benchmarks/preprocess_cluster.py --rows 20000000 --repeats 3
python benchmarks/preprocess_cluster.py --rows 2000000 --days 4 --repeats 1

A cluster of one node does the same work as one process, and more: Ray starts, each file gets its own vocabulary, these
are merged, and ids are replaced while the records are written. The time to start Ray and its processes is measured with
a log of a few rows and reported separately, as it does not grow with the log. Every run is a process of its own, and
the two kinds take turns. The files of both are compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scratch import scratch_folder

ROOT = Path(__file__).resolve().parents[1]
FEW_ROWS = 2_000
KINDS = ("one_machine", "cluster")


def cli(*arguments: str) -> float:
    """Run a command; returns the seconds it took."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr[-4000:]}\nExit status {done.returncode}: {' '.join(arguments)}")
    return time.perf_counter() - began


def synthesize(folder: Path, rows: int, days: int) -> Path:
    cli("synthesize", "--format", "raw", "--rows", str(rows), "--days", str(days), "--output", str(folder))
    return folder / "day"


def preprocess(raw: Path, output: Path, threads: int, kind: str) -> float:
    """Preprocess a log; returns the seconds it took."""
    options = ["--raw", str(raw), "--output", str(output), "--threads", str(threads)]
    return cli("preprocess", *options, *(["--cluster", "local"] if kind == "cluster" else []))


def differences(one: Path, other: Path) -> Iterator[str]:
    """Name the files that differ; archives, which hold the time they were written, are compared by their contents."""
    for name in sorted({path.name for folder in (one, other) for path in folder.iterdir()}):
        paths = one / name, other / name
        if not all(path.is_file() for path in paths):
            yield f"{name} is missing"
        elif name.endswith(".npz"):
            with np.load(paths[0]) as first, np.load(paths[1]) as second:
                if any(not np.array_equal(first[key], second[key]) for key in first.files):
                    yield f"{name} differs"
        elif subprocess.run(["cmp", "-s", *paths]).returncode:
            yield f"{name} differs"


def measure(raw: Path, folder: Path, threads: int, repeats: int) -> dict[str, list[float]]:
    """Run both kinds in turn, after one run that fills the page cache, and compare what they write."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(-1, repeats):
        for kind in KINDS if number >= 0 else KINDS[:1]:
            taken = preprocess(raw, folder / kind, threads, kind)
            print(f"{kind}: {taken:.2f} s{'' if number >= 0 else ', not counted'}", flush=True)
            if number >= 0:
                seconds[kind].append(taken)
        if number >= 0 and (found := list(differences(folder / KINDS[0], folder / KINDS[1]))):
            sys.exit("\n".join(["The files of one machine and of the cluster differ:", *found]))
        for kind in KINDS:
            shutil.rmtree(folder / kind, ignore_errors=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; default: the system's")
    options = parser.parse_args()
    with scratch_folder(options.folder) as temporary:
        folder = Path(temporary).resolve()
        few = synthesize(folder / "few", FEW_ROWS, options.days)
        starts = measure(few, folder, options.threads, options.repeats)
        raw = synthesize(folder / "raw", options.rows, options.days)
        seconds = measure(raw, folder, options.threads, options.repeats)
    start = {kind: statistics.median(taken) for kind, taken in starts.items()}
    pairs = list(zip(seconds["cluster"], seconds["one_machine"], strict=True))
    whole = sorted(cluster / one - 1 for cluster, one in pairs)
    working = sorted((cluster - start["cluster"]) / (one - start["one_machine"]) - 1 for cluster, one in pairs)
    print(f"\nwith {FEW_ROWS:,} rows: {start['one_machine']:.1f} s, and {start['cluster']:.1f} s on the cluster")
    for name, shares in (("overhead of the whole run", whole), ("beyond what few rows take", working)):
        print(f"{name}: {statistics.median(shares):+.1%} ({shares[0]:+.1%} to {shares[-1]:+.1%} in pairs of runs)")
    result = {
        "rows": options.rows,
        "days": options.days,
        "threads": options.threads,
        "seconds": {kind: [round(each, 2) for each in taken] for kind, taken in seconds.items()},
        "seconds_of_few_rows": {kind: round(taken, 2) for kind, taken in start.items()},
        "overhead": round(statistics.median(whole), 4),
        "overhead_beyond_start": round(statistics.median(working), 4),
        "same_bytes": True,
    }
    # Imports torch, so only after the last run.
    from machine import machine

    print(json.dumps(result | {"machine": machine()}))


if __name__ == "__main__":
    main()

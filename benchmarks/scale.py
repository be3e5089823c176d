"""Time training with sharded tables on one and two processes, beside one machine's native step.

All contenders train MLPerf's model, with tables of fewer rows, on the same random rows with the same global batch,
through ``DLRMTrainer.fit``: the sharded engine in one process, with as many threads as the next contender has
processes; in that many processes with one thread each; and the native engine in one process. They take turns, each in
processes of its own, again for each round. Processor time is that of all processes together, and hardly depends on what
else the machine does. Bytes are those that the kernel counts on the connections, including gloo's headers; memory is
the peak of the resident set. After the run, weights of the tables and MLPs are compared with those of one process.

    python benchmarks/scale.py
    python benchmarks/scale.py --rows 2000 --scales 1 --batch-size 512 --steps 6 --rounds 1   # small

Prints tables, where the time of the sharded engine goes, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from machine import machine
from scale_worker import BOTTOM, DIM, MEMORY, TABLES, TOP

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.model.architecture import Architecture

_WORKER = Path(__file__).with_name("scale_worker.py")


def run(args: argparse.Namespace, contender: str, ranks: int, threads: int, rows: int, **flags: bool) -> dict[str, Any]:
    """Run a contender's processes; returns what each measured, and its weights if requested."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        number = port.getsockname()[1]
        port.close()
        command = [sys.executable, str(_WORKER), contender, folder, "--threads", str(threads)]
        command += ["--rows", str(rows), "--batch-size", str(args.batch_size), "--steps", str(args.steps)]
        command += [f"--{name}" for name, given in flags.items() if given]
        processes = [
            subprocess.Popen(
                command,
                env=os.environ
                | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(number), "OMP_NUM_THREADS": str(threads)}
                | {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "OMP_WAIT_POLICY": "PASSIVE"}
                | {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "scale"},
            )
            for rank in range(ranks)
        ]
        if any([process.wait() for process in processes]):
            raise SystemExit(f"{contender} on {ranks} processes failed.")
        found: dict[str, Any] = {
            "ranks": [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(ranks)]
        }
        if flags.get("weights"):
            found["weights"] = whole([torch.load(Path(folder, f"{rank}.pt")) for rank in range(ranks)], rows)
        return found


def whole(saved: list[dict[str, Any]], rows: int) -> dict[str, torch.Tensor]:
    """Put the parts of all processes together."""
    tables = {f"table {table}": torch.full((rows, DIM), torch.nan) for table in range(TABLES)}
    for one in saved:
        for table, row, column, values in one["parts"]:
            tables[f"table {table}"][row : row + values.shape[0], column : column + values.shape[1]] = values
    return tables | saved[0]["mlps"]


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of two models' weights."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def measure(args: argparse.Namespace, scale: int) -> dict[str, Any]:
    """Measure all contenders with tables of one size."""
    rows, ranks = args.rows * scale, args.processes
    contenders = {
        "1": ("table_wise", 1, ranks),
        str(ranks): (args.sharding, ranks, 1),
        "native": ("native", 1, ranks),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    peaks: dict[str, list[int]] = {}
    sent: list[int] = []
    weights = {}
    for turn in range(args.rounds):
        for name, (contender, count, threads) in contenders.items():
            found = run(args, contender, count, threads, rows, weights=turn == 0)
            if turn == 0:
                weights[name] = found["weights"]
            speeds[name].append(min(rank["samples_per_s"] for rank in found["ranks"]))
            processor[name].append(sum(rank["processor_s"] for rank in found["ranks"]))
            peaks[name] = [rank["peak_rss_mb"] for rank in found["ranks"]]
            if count > 1:
                sent = [rank["sent_bytes"] for rank in found["ranks"]]
    architecture = Architecture(
        table_sizes=(rows,) * TABLES, embedding_dim=DIM, bottom_mlp=tuple(BOTTOM), top_mlp=tuple(TOP)
    )
    plan = make_plan(
        Workload(architecture, batch_size=args.batch_size // ranks), Hosts(1, ranks, MEMORY), args.sharding
    )
    differences = {name: largest_difference(weights["1"], weights[name]) for name in contenders if name != "1"}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "rows_of_a_table": rows,
        "table_bytes": 4 * rows * DIM * TABLES,
        "samples_per_s": {name: round(value) for name, value in medians.items()},
        "of_rounds": {name: [round(value) for value in values] for name, values in speeds.items()},
        "x_one_process": round(medians[str(ranks)] / medians["1"], 3),
        "x_native": round(medians[str(ranks)] / medians["native"], 3),
        "processor_s_per_step": {name: round(min(values), 4) for name, values in processor.items()},
        "peak_rss_mb": peaks,
        "planned_peak_mb": [round(rank.memory.total / 1e6) for rank in plan.ranks],
        "bytes_sent_per_step": sent,
        "formula": [rank.sent_bytes for rank in plan.ranks],
        "weights_equal": differences[str(ranks)] <= 1e-6,
        "largest_difference": differences,
    }


def show(found: dict[str, Any], ranks: int) -> None:
    """Print what was measured with tables of one size."""
    print(f"\n26 tables of {found['rows_of_a_table']:,} rows, {found['table_bytes'] / 1e9:.2f} GB")
    names = {"1": f"1 process, {ranks} threads", str(ranks): f"{ranks} processes, 1 thread each", "native": "native"}
    for name, label in names.items():
        peaks = ", ".join(f"{peak:,}" for peak in found["peak_rss_mb"][name])
        speed, processor = found["samples_per_s"][name], found["processor_s_per_step"][name]
        print(f"  {label:<28}{speed:>10,} samples/s{processor:>9.3f} s of processors a step   peak memory, MB: {peaks}")
    print(f"  {ranks} processes: {found['x_one_process']:.2f} x one process, {found['x_native']:.2f} x native")
    print(f"  planned peak, MB: {', '.join(f'{peak:,}' for peak in found['planned_peak_mb'])}")
    for rank, (counted, formula) in enumerate(zip(found["bytes_sent_per_step"], found["formula"], strict=True)):
        print(f"  process {rank} sends {counted:,} bytes a step; formula {formula:,} ({counted / formula - 1:+.2%})")
    print(f"  largest difference of a weight to one process: {found['largest_difference']}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of each of the 26 tables at scale 1")
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 10], help="factors that multiply the rows")
    parser.add_argument("--batch-size", type=int, default=4096, help="rows of a step, in all processes together")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sharding", default="table_wise")
    args = parser.parse_args()
    results = {f"x{scale}": measure(args, scale) for scale in args.scales}
    for found in results.values():
        show(found, args.processes)
    profiled = {
        str(ranks): run(args, args.sharding, ranks, threads, args.rows, profile=True)["ranks"][0]["profile"]
        for ranks, threads in ((1, args.processes), (args.processes, 1))
    }
    print("\nseconds of operators in the first process, by the profiler; exchange includes waiting for the others")
    for ranks, seconds in profiled.items():
        whole_s = sum(seconds.values())
        shares = ", ".join(f"{kind} {value:.2f} ({value / whole_s:.0%})" for kind, value in seconds.items())
        print(f"  processes {ranks}: {shares}")
    settings = {name: getattr(args, name) for name in ("batch_size", "steps", "rounds", "processes", "sharding")}
    first = results[f"x{args.scales[0]}"]
    keys = ("samples_per_s", "x_one_process", "peak_rss_mb", "bytes_sent_per_step", "formula", "weights_equal")
    summary = {key: first[key] for key in keys} | {"scales": results, "profile_s": profiled}
    print(json.dumps(summary | settings | {"machine": machine()}))


if __name__ == "__main__":
    main()

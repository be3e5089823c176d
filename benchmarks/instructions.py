"""Count the instructions of a sample with callgrind; a busy machine does not change the count.

Valgrind knows neither AVX-512 nor AMX, so this counts the AVX2 code of torch, oneDNN and the int8 kernels: it guards
against instructions that creep in around them and does not measure speed. Needs `valgrind`, and about a minute for each
contender.

    python benchmarks/instructions.py --batch-size 256
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CONTENDERS = ("fp32", "int8")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DLRM_PL_ISA": "avx2",
}


def count(contender: str, batch_size: int, calls: int) -> float:
    """Count instructions per sample in a process of its own under callgrind."""
    child = [sys.executable, __file__, "--child", contender, "--batch-size", str(batch_size), "--calls", str(calls)]
    with tempfile.TemporaryDirectory() as folder:
        callgrind = [
            *("valgrind", "--tool=callgrind", "--instr-atstart=no"),
            f"--callgrind-out-file={Path(folder) / 'out'}",
        ]
        done = subprocess.run(
            [*callgrind, *child], env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None or found[1] == "0":
        sys.exit(f"callgrind counted nothing (exit status {done.returncode}):\n{done.stderr[-2000:]}")
    return int(found[1]) / (batch_size * calls)


def run_child(contender: str, batch_size: int, calls: int) -> None:
    """Build a small model of MLPerf's layers, and count only its forward passes."""
    import torch
    from inference import build

    from dlrm_pl.benchmark.rows import random_batch

    torch.set_num_threads(1)
    model, int8, _ = build(rows=1000, seed=0, calibration_rows=64)
    batch = random_batch(model.architecture, batch_size, seed=1)
    scorer = {"fp32": model, "int8": int8}[contender]
    with torch.inference_mode():
        scorer(batch)
        instrument("on")
        for _ in range(calls):
            scorer(batch)
        instrument("off")


def instrument(state: str) -> None:
    subprocess.run(["callgrind_control", "-i", state, str(os.getpid())], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.child, options.batch_size, options.calls)
        return
    counts = {name: round(count(name, options.batch_size, options.calls)) for name in CONTENDERS}
    for name, instructions in counts.items():
        print(f"{name:<6}{instructions:>12,} instructions a sample")
    ratio = round(counts["fp32"] / counts["int8"], 2)
    print(json.dumps({"batch_size": options.batch_size, "isa": "avx2", "instructions": counts, "x_fp32": ratio}))


if __name__ == "__main__":
    main()

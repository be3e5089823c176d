"""Time exported models beside the int8 model that they were made from: MLPerf's shape, random weights and random rows.

They all take turns in one process, each in the program for its format. The last line is JSON: samples per second by
batch size, and the largest difference of a logit from the int8 model.

    python benchmarks/exported.py
    python benchmarks/exported.py --rows 20000 --batch-sizes 2048 --seconds 1 --targets onnx
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from inference import build
from machine import machine

from dlrm_pl.benchmark.rows import random_rows
from dlrm_pl.benchmark.timer import Scorer, time_in_turn
from dlrm_pl.export.export import TARGETS
from dlrm_pl.export.numbers import numbers_of
from dlrm_pl.kernels.int8.selection import isa


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2048])
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds for each model and batch size")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _, int8, calibration = build(options.rows, seed=0)
    scorers: dict[str, Scorer] = {"int8": int8}
    with tempfile.TemporaryDirectory() as name:
        for target in options.targets:
            folder = Path(name) / target
            folder.mkdir()
            TARGETS[target].write(numbers_of(int8), folder, calibration[0])
            scorers[target] = TARGETS[target].logits_of(folder, options.threads)
        with torch.inference_mode():
            wanted = int8(calibration[1])
            difference = {
                target: float((scorers[target](calibration[1]) - wanted).abs().max()) for target in options.targets
            }
        rows, speeds = random_rows(int8.architecture, 0), {}
        for size in sorted(options.batch_sizes):
            timings = time_in_turn(scorers, rows(size), baseline="int8", seconds=options.seconds)
            speeds[str(size)] = {target: round(timing.samples_per_s) for target, timing in timings.items()}
            for target, timing in timings.items():
                print(
                    f"batch {size:>6,}  {target:<10}{timing.samples_per_s:>12,.0f} samples/s{timing.p50_ms:>10.3f} ms"
                )
    result = {"isa": isa(), "threads": options.threads, "samples_per_s": speeds, "largest_difference": difference}
    print(json.dumps(result | {"machine": machine()}))


if __name__ == "__main__":
    main()

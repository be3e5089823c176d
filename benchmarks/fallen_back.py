"""Time int8 models with one op of another type, beside the model whose ops are all int8.

Makes models of MLPerf's first shape from random weights: all int8, int4 tables, and each Linear in bf16. They take
turns on the same rows, so both medians of a ratio are from the same minutes. Prints a table, and JSON as the last line.

    taskset -c 0 python benchmarks/fallen_back.py
    python benchmarks/fallen_back.py --batch-sizes 1 2048 --threads 2 --rows 20000
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from machine import machine
from shapes import architecture, columns

from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.int8_dlrm import Int8DLRM


def models(rows: int) -> dict[str, Int8DLRM]:
    """Return the models by name; ``int8`` is the one whose ops are all int8."""
    torch.manual_seed(0)
    shape = architecture(rows, "v1")
    model = DLRM(shape).eval()
    int8 = Recipe.starting_from(RecipeStart(), shape)
    recipes = {"int8": int8, "int4 tables": Recipe.starting_from(RecipeStart(tables="int4"), shape)}
    linears = [op for op in int8.ops if "mlp" in op]
    recipes |= {f"{op} in bf16": int8.with_dtype(op, "bf16") for op in linears}
    calibration = [random_batch(shape, 512, seed=0, columns=columns(rows, "v1"))]
    return {name: quantize(model, recipe, calibration, table_packer(model)) for name, recipe in recipes.items()}


def main() -> None:
    """Measure, print, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[2048])
    parser.add_argument("--rounds", type=int, default=41, help="turns of each model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    contenders = models(options.rows)
    found: dict[str, dict[str, float]] = {}
    for size in options.batch_sizes:
        batch = random_batch(contenders["int8"].architecture, size, 1, columns(options.rows, "v1"))
        times: dict[str, list[float]] = {name: [] for name in contenders}
        with torch.inference_mode():
            for turn in range(options.rounds + 1):
                for name, model in contenders.items():
                    began = time.perf_counter()
                    model(batch)
                    if turn:  # The first turn warms up.
                        times[name].append(time.perf_counter() - began)
        print(f"batch {size:,}, {options.threads} thread{'s' * (options.threads > 1)}, {isa()}")
        ratios = {}
        for name, spent in times.items():
            each = [one / int8 for one, int8 in zip(spent, times["int8"], strict=True)]
            quartiles = statistics.quantiles(each, n=4)
            ratios[name] = round(statistics.median(each), 3)
            milliseconds = statistics.median(spent) * 1e3
            print(
                f"  {name:<22}{milliseconds:>9.3f} ms{ratios[name]:>8.3f} times int8's time, quartiles "
                f"{quartiles[0]:.3f} to {quartiles[2]:.3f}"
            )
        found[str(size)] = ratios
    print(json.dumps({"x_int8_time": found, "threads": options.threads, "isa": isa(), "machine": machine()}))


if __name__ == "__main__":
    main()

"""Time a server's requests of a few rows, beside the same rows through torch's dispatcher.

Makes int8 models of MLPerf's two shapes from random weights and scores batches of a few rows, one-hot and with the
second model's bags, in one thread: with the model as ``predict`` calls it, and with the calls that ``serve`` prepares.
Both take turns, and their bits are compared.

    taskset -c 0 python benchmarks/few_rows.py
    python benchmarks/few_rows.py --shapes v2 --repeats 300
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import machine
from shapes import SHAPES, architecture, columns

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.scoring import probabilities_of


def int8_model(rows: int, shape: str) -> Int8DLRM:
    """Return a model of int8 layers and tables."""
    torch.manual_seed(0)
    model = DLRM(architecture(rows, shape)).eval()
    recipe = Recipe.starting_from(RecipeStart(), model.architecture)
    calibration = [random_batch(model.architecture, 512, seed=0, columns=columns(rows, shape))]
    return quantize(model, recipe, calibration, table_packer(model))


def timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compared(model: Int8DLRM, batch: ClickBatch, repeats: int) -> dict[str, float] | None:
    """Return median microseconds of both ways; None where a batch is too large for the prepared calls."""
    direct = DirectModel.of(model)
    assert direct is not None
    if (few := direct.few(batch)) is None:
        return None
    with torch.inference_mode():
        assert np.array_equal(few[1], probabilities_of(model(batch)))
        times: dict[str, list[float]] = {"model": [], "prepared": []}
        for _ in range(repeats):
            times["model"].append(timed(lambda: probabilities_of(model(batch))))
            times["prepared"].append(timed(lambda: direct.few(batch)))
    microseconds = {f"{name}_us": 1e6 * statistics.median(values) for name, values in times.items()}
    return microseconds | {"share": microseconds["prepared_us"] / microseconds["model_us"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--table_rows", type=int, default=20_000, help="rows of each table")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--repeats", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, float] | None] = {}
    for shape in options.shapes:
        model = int8_model(options.table_rows, shape)
        for kind in ("one-hot", "bags")[: 2 if shape == "v2" else 1]:
            drawn = columns(options.table_rows, shape) if kind == "bags" else None
            for rows in options.batch_sizes:
                batch = random_batch(model.architecture, rows, seed=rows, columns=drawn)
                found = compared(model, batch, options.repeats)
                name = f"{shape}, {kind}, {rows} rows"
                results[name] = None if found is None else {key: round(value, 3) for key, value in found.items()}
                print(f"{name}: {results[name]}", flush=True)
    print(json.dumps({**results, "table_rows": options.table_rows, "machine": machine()}))


if __name__ == "__main__":
    main()

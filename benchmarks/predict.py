"""Measure rows a second of ``predict`` from the binary format and from raw text, beside the bare model: MLPerf's shape.

Networks 13-512-256-128 and 479-1024-1024-512-256-1, dimension 128, random weights. The rows are synthetic, and their
dictionaries have up to ``--max_table_size`` values. ``bare`` scores batches that are already in memory. The others do
what ``predict`` does after its start: read, look up, score, and write CSV, .npy or Parquet. Each is measured several
times in turn, and the best is reported with its share of ``bare``. The last line is JSON.

    python benchmarks/predict.py
    python benchmarks/predict.py --rows 200000 --threads 1 --repeats 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine

from dlrm_pl.benchmark.rows import random_batch
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.loading.raw_dataset import RawLogDataset
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.files.watched import Watch
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.scoring import Scorer
from dlrm_pl.serving.output import write_predictions


def scorer_of(folder: DatasetFolder) -> Scorer:
    """Return an int8 model of MLPerf's shape for a dataset, with random weights."""
    torch.manual_seed(0)
    shape = Architecture(folder.table_sizes, 128, (13, 512, 256, 128), (1024, 1024, 512, 256, 1))
    model = DLRM(shape).eval()
    calibration = [random_batch(shape, 2048, seed=-1 - number) for number in range(2)]
    recipe = Recipe.starting_from(RecipeStart(), shape)
    int8 = quantize(model, recipe, calibration, table_packer(model))
    return Scorer(int8, 13, shape.num_tables, Watch())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the log, of which half are scored")
    parser.add_argument("--max_table_size", type=int, default=1_000_000)
    parser.add_argument("--batch_size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        synthesize(temporary / "log", rows=options.rows, days=2, max_table_size=options.max_table_size, format="raw")
        preprocess(temporary / "log" / "day", temporary / "data")
        folder, log = DatasetFolder.open(temporary / "data"), temporary / "log" / "day_0"
        scorer, encoder = scorer_of(folder), folder.encoder
        rows = ClickDataset.of_split(folder, "train")
        in_memory = list(rows.batches(options.batch_size))

        def written(ending: str, source: Callable[[], object]) -> Callable[[], int]:
            return lambda: write_predictions(temporary / f"p.{ending}", scorer.stream(source()))  # type: ignore[arg-type]

        def binary() -> object:
            return rows.batches(options.batch_size)

        def text() -> object:
            return RawLogDataset(log, encoder, options.batch_size)

        runs: dict[str, Callable[[], int]] = {
            "bare": lambda: sum(len(part) for part in scorer.stream(in_memory)),
            "binary": written("npy", binary),
            "binary_csv": written("csv", binary),
            "binary_parquet": written("parquet", binary),
            "text": written("npy", text),
            "text_csv": written("csv", text),
            "decode_text_alone": lambda: sum(batch.num_samples for batch in RawLogDataset(log, encoder, 2048)),
        }
        best = dict.fromkeys(runs, 0.0)
        for _ in range(options.repeats):
            for name, run in runs.items():
                began = time.perf_counter()
                count = run()
                best[name] = max(best[name], count / (time.perf_counter() - began))
    for name, speed in best.items():
        print(f"{name:<18}{speed:>12,.0f} rows/s{speed / best['bare']:>8.0%} of bare")
    result = {
        "isa": isa(),
        "threads": options.threads,
        "batch_size": options.batch_size,
        "rows": count,
        "table_rows": sum(folder.table_sizes),
        "rows_per_s": {name: round(speed) for name, speed in best.items()},
        "share_of_bare": {name: round(speed / best["bare"], 3) for name, speed in best.items()},
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Measure the search: drop of all-int8, rows per trial, bytes that ``budget`` reaches, trials a minute, error rates.

Makes synthetic clicks (4 million to train on, 2 million each of val and test) and fits a DLRM of dimension 128 to
them, unless the folder has both from an earlier run. Trials are scored on val without its first 128,000 rows, which are
for calibration.

    python benchmarks/tuning.py --folder runs/tuning
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from simulation import BinormalPair, ErrorRates, error_rates

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from dlrm_pl.runtime.int8_dlrm import fp32_bytes

ROOT = Path(__file__).resolve().parents[1]
ROWS = 8_000_000  # Over two days: the second is test and val.
BATCH = 256
STEPS = ROWS // 2 // BATCH
PARTS = ("int8", "search", "pace", "errors")
CONFIDENCE = 0.95

# The trials of (e): clicks as rare as in the Terabyte logs, and the tolerance of MLPerf's 99.9 %.
CLICK_RATE, AUROC, TOLERANCE, SIMULATED_ROWS = 0.033, 0.81, 0.0008, 250_000
NOISES = {"normal": (0.0, 1.0), "3 rows in 1000 with 1000 times the variance": (0.003, 1000.0)}
FACTORS = (0.5, 1.5)
_CHUNKS = 4


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make dataset folder and checkpoint on the command line if they are missing."""
    data, checkpoint = folder / "clicks", folder / "model.ckpt"
    if not data.exists():
        cli("synthesize", "--output", data, "--rows", ROWS, "--days", 2, "--max_table_size", 40_000)
    if not checkpoint.exists():
        saved = {"dirpath": str(folder), "filename": "model", "enable_version_counter": False}
        callback = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": saved}
        options: dict[str, Any] = {
            "seed_everything": 2024,
            "data.folder": data,
            "data.batch_size": BATCH,
            "model.embedding_dim": 128,
            "model.bottom_mlp": [13, 512, 256, 128],
            "model.top_mlp": [512, 256, 1],
            "model.learning_rate": 1.0,
            "model.lr_num_warmup_steps": 500,
            "model.lr_decay_start_step": 8000,
            "model.lr_num_decay_steps": STEPS - 8000,
            "trainer.accelerator": "cpu",
            "trainer.max_epochs": 1,
            "trainer.num_sanity_val_steps": 0,
            "trainer.logger": "false",
            "trainer.enable_model_summary": "false",
            "trainer.default_root_dir": folder / "fit",
            "trainer.callbacks+": json.dumps(callback),
        }
        cli("fit", *(word for name, value in options.items() for word in (f"--{name}", value)))
    return data, checkpoint


def cli(*words: object) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, ROOT / "cli.py", *map(str, words)], check=True)


def all_int8(model: DLRM, data: DLRMDataModule, packer: TablePacker) -> dict[str, Any]:
    """(a) Measure the drop of an all-int8 model on all tuning rows."""
    ranges = ActivationRanges(model, data.calibration_dataloader())
    candidate = quantize(model, Recipe.starting_from(RecipeStart(), model.architecture), ranges, packer)
    evaluation = AUROCEvaluation(data.tuning_dataloader())
    fp32, int8 = evaluation.score(model), evaluation.score(candidate)
    pair = paired_auroc_difference(fp32.logits, int8.logits, fp32.labels)
    return {
        "fp32_auroc": pair.first,
        "best_possible_auroc_of_val": data.best_possible_auroc("val"),
        "int8_drop_relative": pair.difference / pair.first,
        "int8_drop_interval": [bound / pair.first for bound in pair.interval(CONFIDENCE)],
        "int8_bytes_share": candidate.model_bytes / fp32_bytes(model),
        "rows": fp32.rows,
    }


def search(
    model: DLRM, data: DLRMDataModule, packer: TablePacker, strategy: str, relative: float, max_trials: int
) -> TuningResult:
    """Run a search to its end."""
    settings = TuningSettings(
        criterion=Criterion(relative=relative, confidence=CONFIDENCE),
        strategy=strategy,
        stop_at="budget",
        max_trials=max_trials,
    )
    evaluation = AUROCEvaluation(data.tuning_dataloader())
    result = tune(model, data.calibration_dataloader(), evaluation, settings, packer=packer)
    for trial in result.trials:
        print("  " + trial.describe(), flush=True)
    return result


def described(result: TuningResult, model: DLRM, rows: int) -> dict[str, Any]:
    """Return the numbers of a search."""
    return {
        "accepted": result.accepted,
        "bytes_share": result.best.model_bytes / fp32_bytes(model),
        "drop_relative": result.best.drop / result.best.verdict.baseline,  # type: ignore[union-attr]
        "recipe": result.best.recipe.describe(),
        "trials": len(result.trials),
        "rows_shares": [round(trial.rows / rows, 4) for trial in result.trials],
        "median_rows_share": statistics.median(trial.rows for trial in result.trials) / rows,
        "bound_relative": result.best.bound / result.best.verdict.baseline,  # type: ignore[union-attr]
        "seconds": round(sum(trial.seconds for trial in result.trials), 1),
    }


def pace(model: DLRM, data: DLRMDataModule, packer: TablePacker, recipes: list[Recipe]) -> dict[str, Any]:
    """(d) Judge the same recipes by as many rows as needed and by all rows, in turn."""
    evaluation = AUROCEvaluation(data.tuning_dataloader())
    ranges = ActivationRanges(model, data.calibration_dataloader())
    judges = {
        "sequential": Judge(model, evaluation, Criterion(relative=0.001, confidence=CONFIDENCE)),
        "full": Judge(model, evaluation, Criterion(relative=0.001, confidence=None)),
    }
    for judge in judges.values():  # fp32 is scored once for all trials, so it counts for neither.
        judge.baseline()
        if judge.sequential:
            judge.rows.read_fp32(sys.maxsize)  # type: ignore[union-attr]
    for recipe in recipes:  # And so are packed tables and ranges of activations.
        quantize(model, recipe, ranges, packer)
    seconds: dict[str, list[float]] = {name: [] for name in judges}
    for recipe in recipes:
        for name, judge in judges.items():
            began = time.perf_counter()
            judge.judge(quantize(model, recipe, ranges, packer), lambda look: None)
            seconds[name].append(time.perf_counter() - began)
    per_min = {name: 60 * len(times) / sum(times) for name, times in seconds.items()}
    return {
        "trials_per_min": per_min["sequential"],
        "trials_per_min_full": per_min["full"],
        "ratio": per_min["sequential"] / per_min["full"],
        "recipes": len(recipes),
        "seconds": {name: [round(value, 3) for value in times] for name, times in seconds.items()},
    }


def simulate(task: tuple[BinormalPair, int, int]) -> ErrorRates:
    """Simulate some trials of (e) with a seed of their own."""
    pair, trials, seed = task
    return error_rates(
        pair,
        tolerance=TOLERANCE,
        confidence=CONFIDENCE,
        first_block=16_384,
        rows=SIMULATED_ROWS,
        trials=trials,
        seed=seed,
    )


def errors(trials: int) -> dict[str, Any]:
    """(e) Measure how often verdicts are wrong."""
    cases = [(noise, factor) for noise in NOISES for factor in FACTORS]
    tasks = []
    for noise, factor in cases:
        share, size = NOISES[noise]
        pair = BinormalPair(AUROC, factor * TOLERANCE, CLICK_RATE, outlier_share=share, outlier_factor=size)
        tasks += [(pair, trials // _CHUNKS, 1000 * len(tasks) + chunk) for chunk in range(_CHUNKS)]
    # Spawned, since a fork does not work with the threads of torch.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        done = list(pool.map(simulate, tasks))
    report: dict[str, Any] = {}
    for index, (noise, factor) in enumerate(cases):
        parts = done[_CHUNKS * index : _CHUNKS * (index + 1)]
        count = sum(part.trials for part in parts)
        report[f"{noise}, {factor} of the tolerance"] = {
            "trials": count,
            "wrong": sum(part.wrong for part in parts),
            "open": sum(part.open for part in parts),
            "wrong_rate": sum(part.wrong for part in parts) / count,
            "median_rows": float(np.median([rows for part in parts for rows in part.rows])),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/tuning"), help="folder of dataset and checkpoint")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--trials", type=int, default=200, help="number of simulated trials for each error rate")
    parser.add_argument("--pace-recipes", type=int, default=6)
    options = parser.parse_args()
    dataset, checkpoint = prepare(options.folder)
    model = load_dlrm(checkpoint)
    data = DLRMDataModule(str(dataset))
    packer = table_packer(model)
    rows = data.row_ranges["tuning"].stop - data.row_ranges["tuning"].start
    architecture = model.architecture
    result: dict[str, Any] = {
        "embedding_dim": architecture.embedding_dim,
        "table_rows": sum(architecture.table_sizes),
        "bottom_mlp": list(architecture.bottom_mlp),
        "top_mlp": list(architecture.top_mlp),
        "fp32_bytes": fp32_bytes(model),
        "tuning_rows": rows,
    }
    print(json.dumps(result), flush=True)

    def add(values: dict[str, Any]) -> None:
        print(json.dumps(values), flush=True)
        result.update(values)

    if "int8" in options.parts:
        add(all_int8(model, data, packer))
    if {"search", "pace"} & set(options.parts):
        searches = {
            "basic 0.001": search(model, data, packer, "basic", 0.001, 20),
            "budget 0.001": search(model, data, packer, "budget", 0.001, 30),
            "budget 0.003": search(model, data, packer, "budget", 0.003, 30),
        }
        trials = [trial for found in searches.values() for trial in found.trials]
        add(
            {
                "median_rows_share": statistics.median(trial.rows for trial in trials) / rows,
                "bytes_share_at_0.001": searches["budget 0.001"].best.model_bytes / fp32_bytes(model),
                "bytes_share_at_0.003": searches["budget 0.003"].best.model_bytes / fp32_bytes(model),
                "searches": {name: described(found, model, rows) for name, found in searches.items()},
            }
        )
        if "pace" in options.parts:
            # Evenly spaced over all trials, so that both easy and hard ones are among them.
            chosen = [trials[index] for index in np.linspace(0, len(trials) - 1, options.pace_recipes).astype(int)]
            add(pace(model, data, packer, [trial.recipe for trial in chosen]))
    if "errors" in options.parts:
        found = errors(options.trials)
        by_factor = {f: max(v["wrong_rate"] for k, v in found.items() if f" {f} of" in k) for f in FACTORS}
        add(
            {
                "wrong_verdict_rate": max(by_factor.values()),
                **{f"wrong_verdict_rate_at_{factor}": rate for factor, rate in by_factor.items()},
                "simulations": found,
            }
        )
    print(json.dumps(result | {"threads": torch.get_num_threads(), "machine": machine()}))


if __name__ == "__main__":
    main()

"""Measure which settings of a training matter, each alone and all together, compared with the noise between seeds.

For each setting of the usual space, runs a grid over its values, with the others as configured, and then the best value
and the configured one with other seeds. Then sweeps all settings with TPE. Everything uses the command `sweep`, in this
process; an interrupted run continues from its folder.

    python benchmarks/sweep.py --folder sweeps/quickstart --config quickstart --synthesize 1000000 --rows 100000
    python benchmarks/sweep.py --folder sweeps/small --config small_log --synthesize 100000
    python benchmarks/sweep.py --folder sweeps/sample --config small_log --raw day_0.tsv --layout kaggle

Prints a table, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import yaml
from machine import machine

from dlrm_pl.cli.main import main

RATES: dict[str, list[float]] = {
    "sgd": [0.03, 0.1, 0.3, 1.0, 2.0],
    "adagrad": [0.002, 0.005, 0.01, 0.02, 0.05],
}
ADAM_RATES = [0.0003, 0.001, 0.003, 0.01]


def settings_of(optimizer: str) -> dict[str, dict[str, Any]]:
    """The space of the grid over each setting alone, around a configuration with an optimizer."""
    adam = {"model.dense_optimizer": ["adam"]}
    return {
        "learning rate": {"model.learning_rate": {"choices": RATES[optimizer]}},
        "optimizer, with its learning rate": {
            "model.optimizer": {"choices": ["sgd", "adagrad", "rwsadagrad"]},
            "model.learning_rate": {"choices": [0.01, 0.03, 0.1, 0.3, 1.0]},
        },
        "Adam for the MLPs, with its learning rate": {
            "model.dense_optimizer": {"choices": [None, "adam"]},
            "model.dense_learning_rate": {"choices": ADAM_RATES, "when": adam},
        },
        "embedding dimension": {"model.embedding_dim": {"choices": [4, 8, 16, 32, 64]}},
        "bottom MLP": {
            "model.bottom_mlp": {"choices": [[0, 16], [0, 64, 16], [0, 128, 64, 16], [0, 512, 256, 64, 16]]}
        },
        "top MLP": {"model.top_mlp": {"choices": [[1], [64, 1], [128, 64, 1], [256, 128, 1], [512, 256, 1]]}},
        "batch size": {"data.batch_size": {"choices": [32, 64, 128, 256, 512]}},
    }


def sweep(args: argparse.Namespace, folder: Path, space: dict[str, Any] | None, *options: object) -> dict[str, Any]:
    """Run `sweep` in a folder, and return what it reports."""
    command = ["sweep", "-c", args.config, "--data.folder", str(args.folder / "dataset"), "--output", str(folder)]
    if space is not None:
        stated = args.folder / f"{folder.name}.yaml"
        stated.write_text(yaml.safe_dump({"space": space}, sort_keys=False))
        command += ["-c", str(stated)]
    if args.rows:
        command += ["--rows_per_trial", str(args.rows)]
    command += ["--validations", str(args.validations), "--repeats", str(args.repeats), "--json", *map(str, options)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main([*command, *args.option])
    assert status == 0, f"{command} ended with {status}"
    return dict(json.loads(output.getvalue()))


def summary(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """What one sweep found, in a few numbers."""
    trials = report["trials"]
    complete = {
        trial["number"]: trial["scores"][max(trial["scores"], key=int)]
        for trial in trials
        if trial["state"] == "complete"
    }
    best = report["best"]
    return {
        "setting": name,
        "trials": len(trials),
        "pruned": sum(trial["state"] == "pruned" for trial in trials),
        "failed": sum(trial["state"] == "failed" for trial in trials),
        "given": complete.get(1),
        "best": best["auroc"],
        "worst": min(complete.values()),
        "values": best["values"],
        "repeats": report["repeats"],
        "all": [[trial["values"], complete.get(trial["number"]), trial["state"]] for trial in trials],
    }


def measured() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the dataset and the sweeps")
    parser.add_argument("--config", default="quickstart", help="configuration, as of `fit -c`")
    parser.add_argument("--synthesize", type=int, help="make a dataset of this number of synthetic rows")
    parser.add_argument("--raw", help="make a dataset of this raw log")
    parser.add_argument("--layout", default="kaggle", help="layout of the raw log")
    parser.add_argument("--days", type=int, help="days to divide the raw log into")
    parser.add_argument("--rows", type=int, help="rows of each trial; all if not given")
    parser.add_argument("--validations", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24, help="trials of the sweep over all settings")
    parser.add_argument("--only", help="measure only the settings whose names begin with this")
    parser.add_argument("--option", nargs="*", default=[], help="further options of `sweep`")
    return parser.parse_args()


def make_dataset(args: argparse.Namespace) -> None:
    folder = args.folder / "dataset"
    args.folder.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        return
    if args.raw:
        command = ["preprocess", "--raw", args.raw, "--layout", args.layout, "--output", str(folder)]
        command += ["--days", str(args.days)] if args.days else []
    else:
        command = ["synthesize", "--rows", str(args.synthesize), "--output", str(folder)]
    assert main([*command, "-q"]) == 0


def run() -> None:
    args = measured()
    make_dataset(args)
    began = time.time()
    optimizer = "sgd" if args.config == "quickstart" else "adagrad"
    results = []
    for name, space in settings_of(optimizer).items():
        if args.only and not name.startswith(args.only):
            continue
        folder = args.folder / name.partition(",")[0].replace(" ", "_")
        results.append(summary(name, sweep(args, folder, space, "--sampler", "grid", "--pruner", "none")))
    if not args.only:
        results.append(summary("all, TPE", sweep(args, args.folder / "all", None, "--max_trials", args.trials)))
    print(f"{'setting':44} {'trials':>6} {'given':>7} {'best':>7} {'worst':>7}   gain with other seeds   best values")
    for result in results:
        repeats = result["repeats"]
        gain = "                  -" if repeats is None else f"{repeats['gain']:+.4f} +- {repeats['half_width']:.4f}"
        given = "      -" if result["given"] is None else f"{result['given']:7.4f}"
        scores = f"{given} {result['best']:7.4f} {result['worst']:7.4f}"
        print(f"{result['setting']:44} {result['trials']:6} {scores}   {gain:21}   {result['values']}")
    print(json.dumps({"machine": machine(), "seconds": time.time() - began, "results": results}))


if __name__ == "__main__":
    run()
